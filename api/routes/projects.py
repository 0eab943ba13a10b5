"""`/v1/api/projects` and `/v1/api/project/...`: Compose projects, ours and others'.

Reading shows every project the Engine was last seen to run. Acting writes an intent and
waits for its outcome: what the action means (an override on a stack Moored manages, one
action on any other project) is decided by the reconciler. When the Engine is down the intent
is kept, and a caller whose patience ends first is told that it was accepted.

A name may exist on several Docker contexts. The local one wins; a name that is only
elsewhere is found there, and `context` chooses where that is ambiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api import wire
from api.errors import ApiError, wrong_method
from api.intents import idempotency_key, new_run, submit
from api.listing import container_row
from api.params import TIMEOUT, Param, flag, integer, text
from api.routing import Call, Operation, Order, Route, refuse_method
from state.model import DEFAULT_CONTEXT, IntentKind, Run, RunStatus, Stack, StackKey, StackOutcome, Trigger
from state.observed import ObservedContext


@dataclass(frozen=True, slots=True)
class Action:
    """The words and the intent of one action."""

    kind: IntentKind
    done: str
    accepted: str
    failed: str
    swapped: bool = True
    """The cause of a failure is in `error`, the fixed text in `content`."""
    zero_is_no_limit: bool = False

    def answer(self, run: Run | None, name: str, job_id: str) -> wire.Answer:
        """What the caller is told."""
        if run is None:
            return wire.success(f"{self.accepted}: {name}", job_id, 202)
        if run.status is not RunStatus.FAILED:
            return wire.success(f"{self.done}: {name}", job_id)
        cause = _cause(run, self.failed)
        if self.swapped:
            return wire.failure(500, cause, self.failed, job_id)
        return wire.failure(500, f"{self.failed}: {name}", cause, job_id)


def _cause(run: Run, fixed: str) -> str:
    """Why a run failed, whichever of its texts says it."""
    texts = (text for text in (run.content, run.error, run.message) if text and not text.startswith(fixed))
    return next(texts, fixed)


ACTIONS = {
    "start": Action(
        IntentKind.PROJECT_START,
        "project started",
        "project start accepted",
        "failed to start project",
        zero_is_no_limit=True,
    ),
    "stop": Action(IntentKind.PROJECT_STOP, "project stopped", "project stop accepted", "failed to stop project"),
    "restart": Action(
        IntentKind.PROJECT_RESTART, "project restarted", "project restart accepted", "failed to restart project"
    ),
}
REMOVE = Action(
    IntentKind.PROJECT_REMOVE,
    "project removed",
    "project removal accepted",
    "failed to remove project",
    swapped=False,
)
CLEAR = Action(
    IntentKind.OVERRIDE_CLEAR,
    "override cleared",
    "override clearing accepted",
    "failed to clear override",
    swapped=False,
)


async def list_projects(call: Call) -> wire.Answer:
    contexts = list(call.services.observed.values())
    unseen = [context for context in contexts if not context.synced]
    if unseen and len(unseen) == len(contexts):
        raise ApiError(500, _unseen_cause(unseen[0]), "failed to get projects")
    projects = call.server.projects.encoded(contexts, all_states=call.query["all"])
    if not projects:
        raise ApiError(404, "no projects found")
    return wire.success_encoded(projects, call.job_id)


async def get_project(call: Call) -> wire.Answer:
    name = call.path["name"]
    lookup = name.lower()
    for context in _contexts(call):
        containers = context.project(lookup)
        if containers:
            now = datetime.now(UTC)
            return wire.success([container_row(context, container, now) for container in containers], call.job_id)
    raise _not_found(call, name)


async def act_on_project(call: Call) -> wire.Answer:
    """Order of checks: key, query, project, action, method."""
    name, action_name = call.path["name"], call.path["action"]
    target = await _target(call, name)
    if action_name == "override":
        if call.method != "DELETE":
            raise wrong_method("requires method: DELETE", "DELETE")
        if target.stack is None:
            raise ApiError(404, f"no override found: {name}", "the project is not managed by Moored")
        return await _carry_out(call, CLEAR, target, name, {})
    action = ACTIONS.get(action_name)
    if action is None:
        raise ApiError(400, "invalid action", f"action not supported: {action_name}")
    if call.method != "POST":
        raise refuse_method(call.route)
    gone = target.stack is not None and target.stack.overrides.removed is not None
    if gone and action_name == "restart" and not any(context.project(target.key.name) for context in _contexts(call)):
        raise ApiError(404, f"project not found: {name}")
    return await _carry_out(call, action, target, name, {})


async def remove_project(call: Call) -> wire.Answer:
    name = call.path["name"]
    target = await _target(call, name, leftovers=True)
    options = {"volumes": call.query["volumes"], "images": call.query["images"]}
    return await _carry_out(call, REMOVE, target, name, options)


@dataclass(frozen=True, slots=True)
class Target:
    """The project an action is for."""

    key: StackKey
    stack: Stack | None
    """None: not managed by Moored."""


async def _target(call: Call, name: str, *, leftovers: bool = False) -> Target:
    """The project of this name, also one that is gone by an earlier call under the same key: that is
    answered like the first."""
    try:
        return await find_project(call, name, leftovers=leftovers)
    except ApiError:
        key, lookup = idempotency_key(call), name.lower()
        earlier = await call.services.store.find_intent(key) if key else None
        if earlier is None or earlier.payload.get("name") != lookup:
            raise
        return Target(StackKey(str(earlier.payload["context"]), lookup), None)


async def find_project(call: Call, name: str, *, leftovers: bool = False) -> Target:
    """The project of this name; raises `ApiError` when nobody knows it or the name says too little.

    `leftovers`: one of which only networks or volumes are left counts, too.
    """
    lookup = name.lower()
    wanted = call.query.get("context") or ""
    found: dict[str, Stack | None] = {
        context.name: None
        for context in _contexts(call)
        if context.project(lookup) or (leftovers and context.leftovers(lookup))
    }
    for stack in await call.services.store.list_stacks():
        if stack.key.name == lookup and wanted in ("", stack.key.context):
            found[stack.key.context] = stack
    if not found:
        raise _not_found(call, name)
    if len(found) > 1 and DEFAULT_CONTEXT not in found:
        places = ", ".join(sorted(found))
        raise ApiError(409, f"project is on several docker contexts: {name}", f"choose with 'context': {places}")
    context_name = DEFAULT_CONTEXT if DEFAULT_CONTEXT in found else next(iter(found))
    return Target(StackKey(context_name, lookup), found[context_name])


def _contexts(call: Call) -> list[ObservedContext]:
    """The contexts to search, the local one first."""
    wanted = call.query.get("context") or ""
    contexts = [context for name, context in call.services.observed.items() if wanted in ("", name)]
    return sorted(contexts, key=lambda context: context.name != DEFAULT_CONTEXT)


def _not_found(call: Call, name: str) -> ApiError:
    unseen = [context for context in _contexts(call) if not context.synced]
    if unseen:
        return ApiError(500, f"failed to get project: {name}", _unseen_cause(unseen[0]))
    return ApiError(404, f"project not found: {name}")


def _unseen_cause(context: ObservedContext) -> str:
    return context.error or f'Docker context "{context.name}" is not connected yet'


async def _carry_out(call: Call, action: Action, target: Target, name: str, options: dict[str, Any]) -> wire.Answer:
    key, stack = target.key, target.stack
    payload = {"context": key.context, "name": key.name, "timeout": call.query["timeout"], **options}
    run = new_run(
        call.job_id,
        Trigger.API,
        RunStatus.ACCEPTED,
        repository=stack.repository if stack is not None else "",
        stacks=(StackOutcome(key.name, key.context, RunStatus.ACCEPTED),),
    )
    idempotency = idempotency_key(call)
    if not call.query["wait"]:
        job_id, _ = await submit(call, action.kind, payload, run, key=idempotency)
        return action.answer(None, name, job_id)
    with call.server.waits.slot():
        job_id, _ = await submit(call, action.kind, payload, run, key=idempotency)
        outcome = await call.server.waits.run(call.services.store, job_id, _patience(call, action))
    return action.answer(outcome, name, job_id)


def _patience(call: Call, action: Action) -> float:
    """How long to wait for the outcome: the action's own time and some grace."""
    options = call.services.options
    timeout: int = call.query["timeout"]
    if timeout < 0 or (timeout == 0 and action.zero_is_no_limit):
        return options.max_wait
    return min(timeout + options.action_grace, options.max_wait)


CONTEXT = text("context", "Docker context to look on; the local one comes first without it.")
WAIT = flag("wait", True, "Answer with the outcome.")
GRACE = integer("timeout", 30, "Seconds a container gets to stop; 0: kill at once, negative: no limit.")


def _acting(handler: Any, summary: str, *params: Param, ok: int = 200) -> Operation:
    failures = dict.fromkeys((400, 404, 409, 500, 503), "Failure")
    return Operation(
        handler,
        summary,
        {ok: "Text", 202: "Text", **failures},
        params=(*params, WAIT, CONTEXT),
        idempotent=True,
    )


ROUTES = (
    Route(
        "/v1/api/projects",
        Order.METHOD_FIRST,
        {
            "GET": Operation(
                list_projects,
                "All Compose projects",
                {200: "ProjectList", 400: "Failure", 404: "Failure", 500: "Failure"},
                params=(flag("all", False, "Also projects of which nothing runs."), TIMEOUT),
            )
        },
        tag="projects",
        wrong_method="requires GET method",
    ),
    Route(
        "/v1/api/project/<name>",
        Order.KEY_FIRST,
        {
            "GET": Operation(
                get_project,
                "The containers of a Compose project",
                {200: "ContainerList", 400: "Failure", 404: "Failure", 500: "Failure"},
                params=(TIMEOUT, CONTEXT),
            ),
            "DELETE": _acting(
                remove_project,
                "Take a Compose project down",
                GRACE,
                flag("volumes", True, "Remove its volumes, external ones excepted."),
                flag("images", True, "Remove the images of its services."),
            ),
        },
        tag="projects",
    ),
    Route(
        "/v1/api/project/<name>/<action>",
        Order.HANDLER,
        {
            "POST": _acting(
                act_on_project,
                "Start, stop or restart a Compose project",
                integer(
                    "timeout",
                    30,
                    "start: seconds until all must be running and healthy; stop, restart: seconds a container gets to "
                    "stop (0: kill at once, negative: no limit).",
                ),
            )
        },
        tag="projects",
        wrong_method="requires method: POST",
        documented={
            "/v1/api/project/<name>/override": {
                "DELETE": _acting(
                    act_on_project,
                    "End what was set over the API: Git alone says again what runs",
                    integer("timeout", 30, "Seconds to wait for the outcome."),
                )
            }
        },
    ),
)
