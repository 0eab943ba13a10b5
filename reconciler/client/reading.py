"""Commands that only look: `status`, `stacks`, `projects`, `project`, `runs`, `run`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from reconciler.client.connection import Agent
from reconciler.client.exits import Exit, Failed
from reconciler.client.following import follow, get_run, why
from reconciler.client.printing import Printer, age, lasted, moment

Json = Mapping[str, Any]


def status(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    content = _status(agent, options.stack)
    if printer.for_eyes:
        printer.line(f"moored {content['version']} at {agent.server}")
        if content["stacks"]:
            printer.line()
            _stack_table(printer, content["stacks"])
        if content["sources"]:
            printer.line()
            printer.table(
                ("SOURCE", "REFERENCE", "REVISION", "READY", "CHECKED", "NEXT", "FAILURES", "MESSAGE"),
                [_source_row(source) for source in content["sources"]],
            )
        printer.line()
        printer.table(
            ("DOCKER", "STATE", "ENGINE", "CONTAINERS", "MESSAGE"), [_context_row(item) for item in content["contexts"]]
        )
    else:
        printer.data(content)
    return Exit.FAILED if options.check and not _all_well(content) else Exit.OK


def stacks(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    found = _status(agent, "")["stacks"]
    if not printer.for_eyes:
        printer.data(found)
    elif found:
        _stack_table(printer, found)
    else:
        printer.remark("no stacks")
    return Exit.OK


def projects(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    try:
        found = agent.get("/v1/api/projects", {"all": options.all})
    except Failed as error:
        # The API says 404 for an empty list, as Doco-CD does; to a person none is no fault.
        if error.status != 404:
            raise
        found = []
    if not printer.for_eyes:
        printer.data(found)
    elif found:
        printer.table(("NAME", "CONTEXT", "STATUS", "FILES"), [_project_row(row) for row in found])
    else:
        printer.remark("no projects")
    return Exit.OK


def project(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    found = agent.get(f"/v1/api/project/{quote(options.name, safe='')}", {"context": options.docker_context})
    if printer.for_eyes:
        rows = [(row["Name"], row["Service"], row["Status"], _ports(row), row["Image"]) for row in found]
        printer.table(("CONTAINER", "SERVICE", "STATUS", "PORTS", "IMAGE"), sorted(rows))
    else:
        printer.data(found)
    return Exit.OK


def runs(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    query = {name: getattr(options, name) for name in ("limit", "status", "trigger", "stack", "before")}
    found = agent.get("/v1/api/runs", query)
    if not printer.for_eyes:
        printer.data(found)
    elif found:
        printer.table(("RUN", "AGE", "TRIGGER", "STATUS", "TOOK", "REPOSITORY", "MESSAGE"), map(_run_row, found))
    else:
        printer.remark("no runs")
    return Exit.OK


def run(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    if options.follow:
        found = get_run(agent, options.job_id)
        found = follow(agent, options.job_id, printer, options.timeout)
        show_outcome(found, printer)
        return Exit.FAILED if found["status"] == "failed" else Exit.OK
    found = get_run(agent, options.job_id)
    if printer.for_eyes:
        _show_run(found, printer)
    else:
        printer.data(found)
    return Exit.OK


def show_outcome(run: Json, printer: Printer) -> None:
    """How a run ended, after it was watched."""
    if not printer.for_eyes:
        printer.data(run)
        return
    for warning in run.get("warnings") or ():
        printer.remark(f"warning: {warning}")
    if run.get("stacks"):
        printer.table(
            ("STACK", "CONTEXT", "STATUS", "MESSAGE"),
            [(s["stack"], s["context"], s["status"], s["message"]) for s in run["stacks"]],
        )
    printer.fields(
        [
            ("run", run["job_id"]),
            ("status", run["status"]),
            ("took", lasted(run.get("started_at", ""), run.get("finished_at", ""))),
            ("message", run.get("message", "")),
            ("cause", _cause(run)),
        ]
    )


def _cause(run: Json) -> str:
    """What a run says beyond its message."""
    message = run.get("message", "")
    texts = dict.fromkeys(text for text in (run.get("error", ""), run.get("content", "")) if text)
    return "\n".join(text for text in texts if text not in message)


def _show_run(run: Json, printer: Printer) -> None:
    printer.fields(
        [
            ("run", run["job_id"]),
            ("trigger", run["trigger"]),
            ("status", run["status"]),
            ("repository", run.get("repository", "")),
            ("target", run.get("target", "")),
            ("revision", run.get("revision", "")),
            ("created", f"{run['created_at']} ({age(run['created_at'])} ago)"),
            ("took", lasted(run.get("started_at", ""), run.get("finished_at", ""))),
            ("joined", run.get("joined_job_id", "")),
            ("message", run.get("message", "")),
            ("cause", _cause(run)),
            ("warnings", "\n".join(run.get("warnings") or ())),
        ]
    )
    if run.get("stacks"):
        printer.line()
        printer.table(
            ("STACK", "CONTEXT", "STATUS", "GENERATION", "MESSAGE"),
            [(s["stack"], s["context"], s["status"], s.get("generation", ""), s["message"]) for s in run["stacks"]],
        )
    if run.get("actions"):
        printer.line()
        printer.table(
            ("ACTION", "TARGET", "STATUS", "TOOK", "REASON"), [_action_row(action) for action in run["actions"]]
        )


def _action_row(action: Json) -> Sequence[object]:
    return (
        action["kind"],
        action["target"],
        action["status"],
        lasted(action.get("started_at", ""), action.get("finished_at", "")),
        action.get("error") or why(action),
    )


def _run_row(run: Json) -> Sequence[object]:
    return (
        run["job_id"],
        age(run["created_at"]),
        run["trigger"],
        run["status"],
        lasted(run.get("started_at", ""), run.get("finished_at", "")),
        run.get("repository") or ", ".join(stack["stack"] for stack in run.get("stacks") or ()),
        run.get("message", ""),
    )


def _status(agent: Agent, stack: str) -> dict[str, Any]:
    content: dict[str, Any] = agent.get("/v1/api/status", {"stack": stack})
    if stack and not content["stacks"]:
        raise Failed(f"stack not found: {stack}", 404)
    return content


def _stack_table(printer: Printer, found: Sequence[Json]) -> None:
    printer.table(
        ("STACK", "CONTEXT", "STATE", "GENERATION", "REVISION", "CONTAINERS", "SINCE", "MESSAGE"),
        map(_stack_row, found),
    )


def _stack_row(stack: Json) -> Sequence[object]:
    state, condition = stack_state(stack)
    generation = str(stack["generation"])
    if stack["observed_generation"] != stack["generation"]:
        generation = f"{stack['observed_generation']} of {generation}"
    message = condition.get("message", "")
    replicas = ", ".join(f"{service}={count}" for service, count in stack["overrides"]["replicas"].items())
    return (
        stack["name"],
        stack["context"],
        state,
        generation,
        stack["revision"][:12],
        ", ".join(f"{count} {name}" for name, count in stack["containers"].items()),
        age(condition.get("since", "")),
        f"{message} (set by hand: {replicas})" if replicas else message,
    )


def stack_state(stack: Json) -> tuple[str, Json]:
    """The word for a stack's state, and the condition that says so."""
    holding = {condition["type"]: condition for condition in stack["conditions"] if condition["status"]}
    ready: Json = next((condition for condition in stack["conditions"] if condition["type"] == "Ready"), {})
    if stack["overrides"]["removed"]:
        return "removed", holding.get("Suspended", ready)
    if stack["deleting"]:
        return "deleting", holding.get("Reconciling", ready)
    if stack["overrides"]["stopped"]:
        return "stopped", holding.get("Suspended", ready)
    for kind in ("Blocked", "Degraded", "Suspended", "Reconciling"):
        if kind in holding and not (kind == "Reconciling" and "Ready" in holding):
            return kind.lower(), holding[kind]
    if "Ready" in holding:
        return "ready", ready
    return ("not ready" if ready else "unknown"), ready


def _source_row(source: Json) -> Sequence[object]:
    condition = _source_ready(source)
    return (
        source["repository"],
        source["reference"],
        source["revision"][:12],
        "" if not condition else "yes" if condition["status"] else "no",
        age(source.get("last_checked", "")),
        age(source.get("next_check", "")),
        source["failures"],
        condition.get("message", ""),
    )


def _source_ready(source: Json) -> Json:
    return next((condition for condition in source["conditions"] if condition["type"] == "SourceReady"), {})


def _context_row(context: Json) -> Sequence[object]:
    stale = moment(context.get("stale_since", ""))
    message = context.get("error", "") or (f"not heard of for {age(context['stale_since'])}" if stale else "")
    engine = context.get("engine", {}).get("version", "")
    return (
        context["name"],
        "connected" if context["connected"] else "away",
        engine,
        context["containers"],
        message,
    )


def _all_well(content: Json) -> bool:
    """Whether everything is as it should be; what a person stopped or removed is."""
    return (
        all(stack_state(stack)[0] in ("ready", "stopped", "removed", "suspended") for stack in content["stacks"])
        and all(_source_ready(source).get("status", True) for source in content["sources"])
        and all(context["connected"] for context in content["contexts"])
    )


def _project_row(row: Json) -> Sequence[object]:
    return row["Name"], row.get("Context", "default"), row["Status"], row["ConfigFiles"]


def _ports(row: Json) -> str:
    return ", ".join(
        (f"{port['URL']}:{port['PublishedPort']}->" if port["PublishedPort"] else "")
        + f"{port['TargetPort']}/{port['Protocol']}"
        for port in row["Publishers"]
    )
