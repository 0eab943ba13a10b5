"""`/v1/api/stacks` and `/v1/api/stack/...`: Swarm stacks.

Off a Swarm manager they answer 409, which says more than the 500 of Doco-CD. This version
does not deploy to Swarm; on a manager it says so (501) instead of showing half of it.
"""

from __future__ import annotations

from api import wire
from api.errors import ApiError
from api.params import TIMEOUT, flag, integer, text
from api.routing import Call, Operation, Order, Route, refuse_method
from state.model import DEFAULT_CONTEXT

NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


def require_manager(call: Call, error: str, fixed: str = "") -> ApiError:
    """Why nothing can be said of Swarm stacks; `fixed` is the text of swapped answers."""
    context = call.services.observed.get(DEFAULT_CONTEXT)
    if context is None or context.engine is None:
        cause = context.error if context is not None and context.error else "the Docker Engine is not connected yet"
        return ApiError(500, cause, fixed) if fixed else ApiError(500, error, cause)
    if not context.engine.swarm_manager:
        return ApiError(409, "not a swarm manager", NOT_A_MANAGER)
    return ApiError(501, "swarm stacks are not supported", "this version of Moored manages Compose projects only")


async def list_stacks(call: Call) -> wire.Answer:
    raise require_manager(call, "", "failed to get stacks")


async def get_stack(call: Call) -> wire.Answer:
    raise require_manager(call, f"failed to get stack: {call.path['name']}")


async def remove_stack(call: Call) -> wire.Answer:
    raise require_manager(call, f"failed to remove stack: {call.path['name']}")


async def act_on_stack(call: Call) -> wire.Answer:
    refusal = require_manager(call, f"failed to get stack: {call.path['name']}")
    if call.method != "POST" and refusal.status != 500:
        raise refuse_method(call.route)
    raise refusal


_REFUSALS = {409: "Failure", 500: "Failure", 501: "Failure"}

ROUTES = (
    Route(
        "/v1/api/stacks",
        Order.METHOD_FIRST,
        {"GET": Operation(list_stacks, "Swarm stacks and their services", _REFUSALS)},
        tag="swarm",
        wrong_method="requires GET method",
    ),
    Route(
        "/v1/api/stack/<name>",
        Order.KEY_FIRST,
        {
            "GET": Operation(get_stack, "The services of a Swarm stack", _REFUSALS),
            "DELETE": Operation(remove_stack, "Remove a Swarm stack", _REFUSALS),
        },
        tag="swarm",
    ),
    Route(
        "/v1/api/stack/<name>/<action>",
        Order.HANDLER,
        {
            "POST": Operation(
                act_on_stack,
                "Scale, restart or run services of a Swarm stack",
                {400: "Failure", **_REFUSALS},
                params=(
                    text("service", "Short name of a service; all without it."),
                    flag("wait", True, "Wait until the service has converged."),
                    integer("replicas", None, "How many replicas (scale)."),
                    TIMEOUT,
                ),
            )
        },
        tag="swarm",
        wrong_method="requires method: POST",
    ),
)
