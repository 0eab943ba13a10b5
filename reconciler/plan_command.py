"""`moored plan`: what a deployment would do to the Engine, without doing it.

For a folder with Compose files (a checkout, or any project): the project is loaded as a
deployment of that folder would load it, the Engine is looked at, and the plan is printed,
as text or JSON. With `--stack`, or `--all`, it is a stack of the agent whose settings are
in the environment: what its store wants, against what the Engine has. Nothing is written
to the Engine. The exit status is that of `diff`: 0 when nothing is to be done, 1 when
something is, 2 for an error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.planner import Plan

NOTHING, SOMETHING, ERROR = 0, 1, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moored plan", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("directory", nargs="?", default=".", help="folder with the Compose files (default: this one)")
    parser.add_argument("-f", "--file", action="append", default=[], help="Compose file; may be given again")
    parser.add_argument("-p", "--project-name", default=None)
    parser.add_argument("--env-file", action="append", default=[])
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--context", default="default", help="Docker context")
    parser.add_argument("--keep-orphans", action="store_true", help="leave containers of unknown services alone")
    parser.add_argument("--stack", action="append", default=[], help="a stack of the agent, [CONTEXT/]NAME")
    parser.add_argument("--all", action="store_true", help="all stacks of the agent")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser


def plan_command(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    options.directory = str(Path(options.directory).resolve())
    import anyio

    from reconciler.compose import ComposeError
    from reconciler.engine.errors import EngineError
    from reconciler.planner import PlanError
    from reconciler.settings import SettingsError
    from state.errors import StateError

    try:
        return anyio.run(_plan_stacks if options.stack or options.all else _plan_folder, options)
    except (ComposeError, EngineError, PlanError, SettingsError, StateError, UnknownStack) as error:
        print(error, file=sys.stderr)
        return ERROR


class UnknownStack(Exception):
    """The agent has no stack of that name."""


async def _plan_stacks(options: argparse.Namespace) -> int:
    """Plans of stacks that the store knows."""
    from reconciler.deployments.desired import desired_of
    from reconciler.engine.client import open_engine
    from reconciler.engine.endpoint import resolve_endpoint
    from reconciler.engine.snapshot import observe_project
    from reconciler.planner import plan
    from reconciler.settings import load_settings
    from state.model import DEFAULT_CONTEXT, StackKey
    from state.observed import ObservedContext
    from state.store import open_store

    settings = load_settings(os.environ)
    found = []
    async with open_store(settings.database_url.reveal()) as store:
        stacks = {stack.key: stack for stack in await store.list_stacks()}
    wanted = list(stacks)
    if not options.all:
        wanted = []
        for text in options.stack:
            context, _, name = text.rpartition("/")
            key = StackKey(context or DEFAULT_CONTEXT, name)
            if key not in stacks:
                raise UnknownStack(f"no stack {text}; known: {', '.join(map(str, stacks)) or 'none'}")
            wanted.append(key)
    for key in wanted:
        desired = desired_of(stacks[key], fresh=stacks[key].observed_generation < stacks[key].generation)
        async with open_engine(resolve_endpoint(key.context, os.environ), key.context) as engine:
            found.append(plan(desired, await observe_project(engine, ObservedContext(key.context), desired)))
    return _show(found, options.format)


def _show(plans: Sequence[Plan], form: str) -> int:
    from reconciler.planner import as_json, describe

    if form == "json":
        print(json.dumps([as_json(plan) for plan in plans] if len(plans) != 1 else as_json(plans[0]), indent=2))
    else:
        print("\n".join(map(describe, plans)))
    return SOMETHING if any(not plan.empty for plan in plans) else NOTHING


async def _plan_folder(options: argparse.Namespace) -> int:
    """The plan of a project on disk."""
    from reconciler.compose import DiskReader, LoadRequest, load_project
    from reconciler.deployments.content import RepositoryFiles, content_digests
    from reconciler.engine.client import open_engine
    from reconciler.engine.endpoint import resolve_endpoint
    from reconciler.engine.snapshot import observe_project
    from reconciler.planner import DesiredStack, Policy, plan
    from state.model import StackKey
    from state.observed import ObservedContext

    directory = options.directory
    project = load_project(
        LoadRequest(
            working_dir=directory if not options.file else None,
            files=tuple(options.file),
            environment=dict(os.environ),
            project_name=options.project_name,
            env_files=tuple(options.env_file),
            profiles=tuple(options.profile),
            cwd=directory,
        ),
        DiskReader(None),
    )
    # Without Git there are no object ids, so nothing is said about changed content of mounted files.
    files = RepositoryFiles(
        root=directory,
        objects={},
        read=lambda path: Path(path).read_bytes(),
        exists=os.path.exists,
        resolve=os.path.realpath,
    )
    _, warnings = content_digests(project, files, key=b"")
    desired = DesiredStack(
        key=StackKey(options.context, project.name),
        project=project,
        policy=Policy(remove_orphans=not options.keep_orphans),
    )
    observed = ObservedContext(options.context)
    async with open_engine(resolve_endpoint(options.context, os.environ), options.context) as engine:
        seen = await observe_project(engine, observed, desired)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return _show([plan(desired, seen)], options.format)
