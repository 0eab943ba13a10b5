"""The command `moored`.

Each command is a function of its arguments that returns an exit status, in a module of
its own that is imported only when the command is called: `moored config` must start as
fast as Python does, and none but `moored run` needs the agent's libraries.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.version import VERSION

EXIT_USAGE = 2
EXIT_PIPE = 141
"""What a shell reports of a program that SIGPIPE ended."""


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives, and what it does in one line."""

    module: str
    function: str
    summary: str


COMMANDS: dict[str, Command] = {
    "run": Command("reconciler.agent", "run_command", "run the agent (settings come from the environment)"),
    "config": Command("reconciler.compose.command", "config_command", "print a Compose project as it is loaded"),
    "plan": Command("reconciler.plan_command", "plan_command", "show what a deployment would do, without doing it"),
    "healthcheck": Command("reconciler.healthcheck", "healthcheck_command", "ask the agent on this host how it is"),
}

CLIENT_COMMANDS: dict[str, str] = {
    "status": "stacks, sources and Docker contexts, and how they are",
    "stacks": "stacks the agent manages",
    "projects": "Compose projects on the host",
    "project": "the containers of a project",
    "runs": "what was done, newest first",
    "run": "one run (--follow: live)",
    "poll": "look at a repository now",
    "start": "start a project",
    "stop": "stop a project; it stays stopped until start",
    "restart": "restart a project",
    "remove": "remove a project; volumes only with --volumes",
    "override": "end what was set over the API (override clear NAME)",
    "context": "agents in the configuration file (list, use, set, remove)",
    "completion": "completion script for a shell",
}
"""Commands that ask a running agent, in the package `reconciler.client`. `run` alone is the agent
itself, `run JOB_ID` asks for a run."""


def usage() -> str:
    lines = ["usage: moored COMMAND [ARGUMENTS]", "", "commands:"]
    lines += [f"  {name:<12} {command.summary}" for name, command in COMMANDS.items()]
    lines += ["  version      print the version", "", "commands that ask a running agent:"]
    shown = {"run": "run JOB_ID"}
    lines += [f"  {shown.get(name, name):<12} {summary}" for name, summary in CLIENT_COMMANDS.items()]
    lines += ["", "moored COMMAND --help tells more"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console command; returns the exit status."""
    try:
        status = _main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`head`, a closed pager) has seen enough; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    return status


def _main(arguments: Sequence[str] | None) -> int:
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else EXIT_USAGE
    name, *rest = argv
    if name in ("version", "--version"):
        print(f"moored {VERSION}")
        return 0
    if name in CLIENT_COMMANDS and (rest or name not in COMMANDS):
        from reconciler.client.main import client_command

        return client_command(name, rest)
    command = COMMANDS.get(name)
    if command is None:
        hint = " (options follow the command)" if name.startswith("-") else ""
        print(f"moored: unknown command {name!r}{hint}\n\n{usage()}", file=sys.stderr)
        return EXIT_USAGE
    gc.disable()  # nothing of what is imported is garbage
    function = getattr(importlib.import_module(command.module), command.function)
    gc.enable()
    status: int = function(rest)
    return status


if __name__ == "__main__":
    sys.exit(main())
