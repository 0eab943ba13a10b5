"""Watching a run until it has finished.

The agent streams what happens; each action, each line of a build or pull is printed when it
comes. A stream that breaks (a proxy, a restart of the agent) is taken up where it ended, for
the work goes on meanwhile. An agent that has no stream to give (too many listeners) is asked
for the run again and again instead. Either way the run record has the last word.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from reconciler.client.connection import Agent, Dropped, Event
from reconciler.client.exits import Failed, Unreachable, WaitEnded
from reconciler.client.printing import Printer, lasted, one_line, visible

SILENCE = 45.0
"""Seconds without a sign of life (the agent gives one every 15) after which a stream is taken up anew."""
PATIENCE = 60.0
"""Seconds that an agent may be away while it is waited for."""
PAUSE = 1.0
ENDED = frozenset(("succeeded", "failed", "skipped"))
SLOW = frozenset(("pull-image", "build-image", "wait-service", "run-hook"))
"""Actions of which the beginning is worth a line, too."""


def get_run(agent: Agent, job_id: str) -> dict[str, Any]:
    """A run record."""
    found: dict[str, Any] = agent.get(f"/v1/api/run/{quote(job_id, safe='')}")
    return found


def follow(agent: Agent, job_id: str, printer: Printer, limit: float | None = None) -> dict[str, Any]:
    """Print what happens in a run until it has finished, and return its record.

    Raises `WaitEnded` when `limit` seconds pass before, `Unreachable` when the agent stays away.
    """
    film = Film(printer)
    deadline = None if limit is None else time.monotonic() + limit
    heard = time.monotonic()
    while True:
        # Whatever keeps a stream from being given or from going on, the record is asked next.
        with contextlib.suppress(Dropped, Unreachable, Failed):
            ended = False
            for event in agent.events(job_id, film.last, _remaining(deadline, SILENCE, job_id)):
                heard = time.monotonic()
                # The agent closes the stream after the last event; who waits for it leaves in good order.
                if ended:
                    break
                ended = film.show(event)
                _remaining(deadline, SILENCE, job_id)
        try:
            run = get_run(agent, job_id)
        except Unreachable as error:
            if time.monotonic() - heard > PATIENCE:
                raise Unreachable(f"{error}\n{going_on(job_id)}") from None
        else:
            heard = time.monotonic()
            if run.get("status") in ENDED:
                return run
        time.sleep(_remaining(deadline, PAUSE, job_id))


def _remaining(deadline: float | None, most: float, job_id: str) -> float:
    """Seconds to wait at most; raises `WaitEnded`."""
    if deadline is None:
        return most
    left = deadline - time.monotonic()
    if left <= 0:
        raise WaitEnded(f"the wait is over; {going_on(job_id)}")
    return min(left, most)


def going_on(job_id: str) -> str:
    return f"the work goes on: moored run {job_id} --follow"


@dataclass
class Film:
    """The events of a run, each printed once."""

    printer: Printer
    last: str = ""
    """Number of the newest event seen."""
    _seen: set[tuple[str, str]] = field(default_factory=set)
    _started: dict[str, str] = field(default_factory=dict)

    def show(self, event: Event) -> bool:
        """Print an event; whether it says that the run has finished."""
        self.last = event.number or self.last
        if event.kind == "action":
            self._action(event.data)
        elif event.kind == "log":
            text = event.data.get("line") or event.data.get("message") or ""
            for line in visible(text).splitlines():
                self.printer.progress(self.printer.paint(f"   | {line}", "dim"))
        return event.kind == "status" and event.data.get("status") in ENDED

    def _action(self, action: Mapping[str, Any]) -> None:
        identity, status = str(action.get("id", "")), str(action.get("status", ""))
        if (identity, status) in self._seen:
            return
        self._seen.add((identity, status))
        now = str(action.get("time", ""))
        if status == "running":
            self._started[identity] = now
            if action.get("kind") in SLOW:
                self.printer.progress(self.printer.paint(f"..  {what(action)}", "dim"))
        elif status in ("succeeded", "failed"):
            start = str(action.get("started_at") or self._started.get(identity, ""))
            took = lasted(start, str(action.get("finished_at") or now))
            mark = self.printer.word("ok" if status == "succeeded" else "FAILED")
            told = f"{mark}  {what(action)}" + (f"  {took}" if took else "")
            because = one_line(action.get("error") or why(action))
            self.printer.progress(f"{told}  {self.printer.paint(because, 'dim')}" if because else told)


def what(action: Mapping[str, Any]) -> str:
    return one_line(f"{action.get('kind', '')} {action.get('target', '')}")


def why(action: Mapping[str, Any]) -> str:
    """The reasons of an action: which field, from what, to what."""
    texts = []
    for reason in action.get("reasons") or ():
        changes = [
            f"{change.get('field', '')}: {change.get('from', change.get('old', '')) or '(none)'}"
            f" → {change.get('to', change.get('new', '')) or '(none)'}"
            for change in reason.get("changes") or ()
        ]
        texts.append("; ".join(changes) or str(reason.get("message") or reason.get("code", "")))
    return "; ".join(texts)
