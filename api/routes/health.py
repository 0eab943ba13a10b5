"""`/v1/health`: can Moored do its work?

Healthy means that the store can be written and that the local Engine is heard. Other
Docker contexts do not count: were one remote host down, a platform that restarts unhealthy
containers would take Moored away from all the others. Nothing is asked of the Engine here,
so the answer comes at once even when it hangs.
"""

from __future__ import annotations

import anyio

from api import wire
from api.routing import Call, Operation, Order, Route
from api.services import ApiServices
from state.errors import StoreUnavailable
from state.model import DEFAULT_CONTEXT

STORE_DEADLINE = 3.0


async def store_trouble(services: ApiServices) -> str:
    """Why the store cannot be written, or nothing."""
    try:
        with anyio.fail_after(STORE_DEADLINE):
            await services.store.check()
    except StoreUnavailable as error:
        return str(error)
    except TimeoutError:
        return f"the store did not answer within {STORE_DEADLINE:g} s"
    return ""


def engine_trouble(services: ApiServices) -> str:
    """Why the Engine that counts is not heard, or nothing."""
    default = services.observed.get(DEFAULT_CONTEXT)
    contexts = [default] if default is not None else list(services.observed.values())
    causes = [
        context.error or f'Docker context "{context.name}" is not connected yet'
        for context in contexts
        if not context.connected
    ]
    return "\n".join(causes)


async def get_health(call: Call) -> wire.Answer:
    cause = engine_trouble(call.services)
    if cause:
        place = "host" if call.services.options.docker_host else "socket"
        return wire.failure(503, f"failed to connect to docker {place}", cause, call.job_id)
    cause = await store_trouble(call.services)
    if cause:
        return wire.failure(503, "failed to write to the state store", cause, call.job_id)
    return wire.success("healthy", call.job_id)


ROUTES = (
    Route(
        "/v1/health",
        Order.OPEN,
        {
            "*": Operation(
                get_health,
                "Whether Moored can write its store and hears the Engine",
                {200: "Text", 405: "Failure", 503: "Failure"},
            )
        },
        tag="health",
        wrong_method="requires a known method",
    ),
)
