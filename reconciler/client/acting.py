"""Commands that change something: `poll`, `start`, `stop`, `restart`, `remove`, `override`.

Each asks the agent to begin (`wait=false`, so the id of the run is known at once) and then
watches the run. So a broken connection, Ctrl-C or the end of the wait never ends the work, and
one can come back to it by its id.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from reconciler.client.connection import Agent, Answer
from reconciler.client.exits import Exit
from reconciler.client.following import follow, going_on
from reconciler.client.printing import Printer, visible
from reconciler.client.reading import show_outcome


def poll(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    given = {"source": options.source, "reference": options.reference, "target": options.target}
    target = {name: value for name, value in given.items() if value}
    body = [{"url": url, **target} for url in options.url]
    return _conclude(agent.change("POST", "/v1/api/poll/run", {"wait": False}, body), options, agent, printer)


def start(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    return _project(options, agent, printer, "POST", "/start", {"timeout": options.timeout})


def stop(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    return _project(options, agent, printer, "POST", "/stop", {"timeout": options.timeout})


def restart(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    return _project(options, agent, printer, "POST", "/restart", {"timeout": options.timeout})


def remove(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    query = {"timeout": options.timeout, "volumes": options.volumes, "images": options.images}
    return _project(options, agent, printer, "DELETE", "", query)


def override(options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    return _project(options, agent, printer, "DELETE", "/override", {})


def _project(
    options: argparse.Namespace, agent: Agent, printer: Printer, method: str, action: str, query: Mapping[str, Any]
) -> int:
    path = f"/v1/api/project/{quote(options.name, safe='')}{action}"
    answer = agent.change(method, path, {**query, "wait": False, "context": options.docker_context})
    return _conclude(answer, options, agent, printer)


def _conclude(answer: Answer, options: argparse.Namespace, agent: Agent, printer: Printer) -> int:
    """Wait for the outcome of what was accepted, if asked to."""
    if answer.status != 202 or not options.wait:
        if printer.for_eyes:
            printer.line(visible(answer.content))
            printer.fields([("run", answer.job_id)])
        else:
            printer.data({"job_id": answer.job_id, "content": answer.content})
        return Exit.OK
    try:
        run = follow(agent, answer.job_id, printer, options.wait_timeout)
    except KeyboardInterrupt:
        printer.remark(f"interrupted; {going_on(answer.job_id)}")
        return Exit.INTERRUPTED
    show_outcome(run, printer)
    return Exit.FAILED if run["status"] == "failed" else Exit.OK
