"""`GET /v1/api/run/{jobID}/events`: follow a run, as server-sent events.

A run that is being worked on is told from the hub: first what happened already, then each
event as it happens (`action`, `log`, `condition`, `status`, with the hub's number as `id`, so
that a browser which reconnects misses nothing). What the hub never heard of, because the
process was started later, is told from the store: actions, and how the run ended. Either
way the last event is a `status` that says how the run ended, and the stream is complete.

The store has the last word on whether a run has finished: should its final status never
come by way of the hub, the stream still ends.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from api import wire
from api.params import TIMEOUT, to_integer
from api.routes.runs import action_json, find_run, run_json
from api.routing import Call, Operation, Order, Route
from api.services import ApiServices
from state.model import Run

Write: TypeAlias = Callable[[bytes], Awaitable[None]]

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, for proxies that cut idle connections."""
LAST_WORDS = 2.0
"""Seconds that the hub gets to tell the end of a run that the store knows to be finished."""
COMMENT = b": still here\n\n"


def message(kind: str, data: Mapping[str, Any], number: int | None = None) -> bytes:
    """One server-sent event."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str)
    identity = f"id: {number}\n" if number is not None else ""
    return f"{identity}event: {kind}\ndata: {text}\n\n".encode("utf-8", "replace")


def final_status(run: Run) -> bytes:
    shown = run_json(run)
    shown.pop("actions", None)
    return message("status", shown)


async def follow_run(call: Call) -> wire.Answer | None:
    services, waits = call.services, call.server.waits
    with waits.slot():
        run = await find_run(call)
        after = max(0, to_integer(call.header("Last-Event-ID")) or 0)
        response = await call.request.respond(
            wire.Answer(
                status=200,
                content_type="text/event-stream; charset=utf-8",
                headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
            )
        )
        if response is None:
            raise RuntimeError("Sanic made no response to stream to")
        async with waits.until_closed():
            known = services.hub.knows(run.job_id)
            if not known:
                for action in run.actions:
                    await response.send(message("action", action_json(action)))
            if run.status.finished and not known:
                await response.send(final_status(run))
            else:
                await _live(services, run.job_id, after, response.send)
        await response.eof()
    return None


async def _live(services: ApiServices, job_id: str, after: int, write: Write) -> None:
    """Write the messages of a run under way, to its end."""
    send, receive = anyio.create_memory_object_stream[bytes](64)
    async with anyio.create_task_group() as group, receive:
        group.start_soon(_tell, services, job_id, after, send)
        while True:
            piece = COMMENT
            with anyio.move_on_after(KEEP_ALIVE):
                try:
                    piece = await receive.receive()
                except anyio.EndOfStream:
                    return
            await write(piece)


async def _tell(services: ApiServices, job_id: str, after: int, sink: MemoryObjectSendStream[bytes]) -> None:
    """Send all messages of a run, the final status last, and close `sink`."""
    told = anyio.Event()

    async def film() -> None:
        async for event in services.hub.follow(job_id, after):
            data = {"time": wire.timestamp(event.time), **event.data}
            await sink.send(message(event.kind, data, event.seq))
            if event.last:
                told.set()

    async with sink:
        async with anyio.create_task_group() as group:
            group.start_soon(film)
            run = await services.store.wait_run(job_id)
            with anyio.move_on_after(LAST_WORDS if services.hub.knows(job_id) else 0):
                await told.wait()
            group.cancel_scope.cancel()
        if run is not None and not told.is_set():
            await sink.send(final_status(run))


ROUTES = (
    Route(
        "/v1/api/run/<job_id>/events",
        Order.METHOD_FIRST,
        {
            "GET": Operation(
                follow_run,
                "Follow a run as server-sent events",
                {200: "EventStream", 400: "Failure", 404: "Failure", 503: "Failure"},
                params=(TIMEOUT,),
            )
        },
        tag="runs",
        wrong_method="requires method: GET",
    ),
)
