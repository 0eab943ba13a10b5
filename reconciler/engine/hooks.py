"""Lifecycle hooks: commands inside a running container, and `pre_start` containers.

Commands run attached; their exit status counts, and what they wrote is in the error. A
`pre_start` container that fails stays for inspection; the next attempt removes it first.
It is removed without its volumes, because they may be the anonymous ones of the service.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from reconciler.engine.client import filters, segment
from reconciler.engine.errors import HookFailed, NotFound, Refused
from reconciler.engine.output import demultiplex, indented, last_lines, log_tail
from reconciler.engine.work import Log, Work
from reconciler.planner.hooks import hook_specs
from reconciler.planner.model import Action
from reconciler.planner.specs import ExecSpec
from state.observed import LABEL_PROJECT, LABEL_SERVICE

LABEL_HOOK = "com.docker.compose.hook"
HOOK_DEADLINE = 600.0
"""For hooks of a stack whose policy is not at hand."""
REMOVE_DEADLINE = 30.0


async def run_commands(
    work: Work, container_id: str, name: str, kind: str, specs: Sequence[ExecSpec], log: Log
) -> None:
    """Run `post_start` or `pre_stop` commands one after another; the first failure ends it."""
    deadline = work.desired.policy.timeout if work.desired is not None else HOOK_DEADLINE
    for spec in specs:
        created = await work.engine.call("exec.create", "POST", f"containers/{container_id}/exec", body=spec.body)
        start = {"Detach": False, "Tty": spec.tty}
        async with work.engine.stream(
            "exec.start", "POST", f"exec/{created['Id']}/start", body=start, deadline=deadline
        ) as response:
            content = await response.read()
        output = last_lines(content if spec.tty else demultiplex(content))
        for line in output:
            await log(line)
        answer = await work.engine.call("exec.inspect", "GET", f"exec/{created['Id']}/json")
        if answer.get("ExitCode"):
            raise HookFailed(
                f"{kind}[{spec.index}] in container {name} ended with exit code {answer['ExitCode']}{indented(output)}"
            )


async def run_hook(work: Work, action: Action, log: Log) -> None:
    """RUN_HOOK: one `pre_start` container, to its end."""
    desired, engine = work.wanted, work.engine
    index = int(action.params["index"])
    lender = await work.container_id(action)
    specs = hook_specs(
        desired,
        action.service,
        container_id=lender,
        engine=work.facts,
        references=await work.reference_ids(action),
        peers=action.params.get("peers"),
    )
    spec = next(spec for spec in specs if spec.index == index)
    if index == min(spec.index for spec in specs):
        await _remove_retained(work, action.service)
    hook = f"service {action.service} pre_start[{index}]"
    created = await engine.call("container.create", "POST", "containers/create", body=spec.body)
    hook_id = str(created["Id"])
    keep = False
    try:
        for network, endpoint in spec.connects:
            body = {"Container": hook_id, "EndpointConfig": endpoint}
            await engine.call("network.connect", "POST", f"networks/{segment(network)}/connect", body=body)
        async with engine.stream(
            "container.wait",
            "POST",
            f"containers/{hook_id}/wait",
            params={"condition": "next-exit"},
            deadline=desired.policy.timeout,
            write=False,
        ) as response:
            await engine.call("container.start", "POST", f"containers/{hook_id}/start")
            await response.read()
        inspect = await engine.call("container.inspect", "GET", f"containers/{hook_id}/json")
        output = await log_tail(engine, hook_id, tty=bool(inspect["Config"].get("Tty")))
        for line in output:
            await log(line)
        code = int(inspect["State"].get("ExitCode") or 0)
        if code != 0:
            keep = True
            raise HookFailed(
                f"{hook} ended with exit code {code} (its container {hook_id[:12]} is kept for inspection)"
                f"{indented(output)}"
            )
    finally:
        if not keep:
            with anyio.move_on_after(REMOVE_DEADLINE, shield=True):
                # The service container still holds what both share, so only the hook's own go.
                await _remove(work, hook_id, volumes=True)


async def _remove_retained(work: Work, service: str) -> None:
    labels = [f"{LABEL_PROJECT}={work.plan.key.name}", f"{LABEL_SERVICE}={service}", LABEL_HOOK]
    params: dict[str, str | bool] = {"all": True, "filters": filters(label=labels)}
    for entry in await work.engine.call("container.list", "GET", "containers/json", params=params):
        await _remove(work, entry["Id"], volumes=False)


async def _remove(work: Work, container_id: str, *, volumes: bool) -> None:
    try:
        await work.engine.call(
            "container.remove", "DELETE", f"containers/{container_id}", params={"force": True, "v": volumes}
        )
    except NotFound:
        return
    except Refused as error:
        work.warnings.append(f"hook container {container_id[:12]} is left: {error.message}")
