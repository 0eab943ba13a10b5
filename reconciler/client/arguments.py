"""Every command that asks an agent, with its arguments.

One table, `COMMANDS`: the dispatcher takes help texts from it, `main.py` parses with it, and the
completion scripts and the test of the documentation walk through all of it. What carries a
command out is named, not imported, so that a call imports no more than it needs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.client.printing import FORMATS

EPILOG = """exit status: 0 done, 1 failed or not found, 2 wrong usage, 3 agent unreachable, 4 not authorised,
5 the wait ended before the work (docs/cli.md)"""
STATUSES = ("accepted", "running", "succeeded", "failed", "skipped")
TRIGGERS = ("webhook", "poll", "scheduled_job", "reconcile", "api")
SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True)
class ClientCommand:
    """A command: what it takes, and where it is carried out."""

    summary: str
    module: str
    arguments: Callable[[argparse.ArgumentParser], object]
    completes: str = ""
    """What its names are: `projects`, `stacks` or `runs` of the agent."""
    asks: bool = True
    """Whether it needs an agent."""


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command."""
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"moored {name}",
        description=command.summary[:1].upper() + command.summary[1:] + ".",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.arguments(parser)
    if command.asks:
        _connection(parser)
        _output(parser)
    return parser


def _connection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which agent")
    group.add_argument("--server", default="", metavar="URL", help="address of the agent (MOORED_SERVER)")
    group.add_argument("--context", default="", metavar="NAME", help="agent of the configuration file (MOORED_CONTEXT)")
    _key(group)
    group.add_argument("--ca-file", default="", metavar="FILE", help="certificates to trust, in PEM form")
    group.add_argument("--insecure", action="store_true", help="do not check the certificate")


def _key(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    group.add_argument(
        "--api-key", default="", metavar="KEY", help="API key; others on this host can see it (MOORED_API_KEY)"
    )
    group.add_argument(
        "--api-key-file", default="", metavar="FILE", help="file with the API key, - for input (MOORED_API_KEY_FILE)"
    )


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=FORMATS, default="table", help="form of the answer (default: table)")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"expected seconds, found {text!r}")
    return seconds


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, found {text!r}")
    return int(text)


def _docker_context(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--docker-context",
        default="",
        metavar="NAME",
        help="Docker context of the project (default: the local one first)",
    )


def _waiting(parser: argparse.ArgumentParser, *names: str) -> None:
    parser.add_argument("--no-wait", dest="wait", action="store_false", help="do not wait for the outcome")
    parser.add_argument(
        *names, dest="wait_timeout", type=_seconds, metavar="SECONDS", help="wait no longer; the work goes on (exit 5)"
    )


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stack", nargs="?", default="", help="only this stack and its source")
    parser.add_argument("--check", action="store_true", help="exit 1 unless all is well")


def _projects(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also projects of which nothing runs")


def _project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the project")
    _docker_context(parser)


def _none(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def _runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=_positive, metavar="N", help="how many (default: 50, at most 200)")
    parser.add_argument("--status", choices=STATUSES, help="only runs of this status")
    parser.add_argument(
        "--trigger",
        choices=TRIGGERS,
        help="only runs of this trigger; reconcile and api are listed only when asked for",
    )
    parser.add_argument("--stack", default="", help="only runs that touched this stack")
    parser.add_argument("--before", default="", metavar="JOB_ID", help="continue behind this run")


def _run(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "One run, with its actions and their reasons.\n\nWithout any argument `moored run` runs the agent."
    )
    parser.add_argument("job_id", help="id of the run")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="show it live until it has finished; exit 1 if it fails"
    )
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="follow no longer (exit 5)")


def _poll(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="+", help="Git URL or OCI reference")
    parser.add_argument(
        "--reference", default="", metavar="REF", help="branch, tag or commit (default: refs/heads/main)"
    )
    parser.add_argument("--target", default="", help="use .doco-cd.TARGET.yml")
    parser.add_argument("--source", choices=("git", "oci"), help="kind of the source (default: git)")
    _waiting(parser, "--timeout", "--wait-timeout")


def _start(parser: argparse.ArgumentParser) -> None:
    _acting(parser, "seconds until all must be running and healthy, 0: no limit (default: 30)")


def _stop(parser: argparse.ArgumentParser) -> None:
    _acting(parser, "seconds a container gets to stop, 0: kill at once, -1: no limit (default: 30)")


def _remove(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--volumes", action="store_true", help="remove its volumes and the data in them, too")
    parser.add_argument("--images", action="store_true", help="remove the images of its services, too")
    _stop(parser)


def _acting(parser: argparse.ArgumentParser, timeout: str) -> None:
    _project(parser)
    parser.add_argument("--timeout", type=int, default=30, metavar="SECONDS", help=timeout)
    _waiting(parser, "--wait-timeout")


def _override(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("clear",), help="let Git alone say again what runs")
    _project(parser)
    _waiting(parser, "--wait-timeout")


def _context(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _output(verbs.add_parser("list", help="the agents in the configuration file", allow_abbrev=False))
    use = verbs.add_parser("use", help="make one the current one", allow_abbrev=False)
    use.add_argument("name")
    change = verbs.add_parser("set", help="add an agent, or change what is said about it", allow_abbrev=False)
    change.add_argument("name")
    change.add_argument("--server", default="", metavar="URL", help="address of the agent")
    _key(change)
    change.add_argument("--ca-file", default="", metavar="FILE", help="certificates to trust, in PEM form")
    change.add_argument(
        "--insecure", action=argparse.BooleanOptionalAction, default=None, help="do not check the certificate"
    )
    change.add_argument("--use", action="store_true", help="make it the current one, too")
    verbs.add_parser("remove", help="forget an agent", allow_abbrev=False).add_argument("name")


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="bash: source <(moored completion bash)")


_READING, _ACTING = "reconciler.client.reading", "reconciler.client.acting"

COMMANDS: dict[str, ClientCommand] = {
    "status": ClientCommand("stacks, sources and Docker contexts, and how they are", _READING, _status, "stacks"),
    "stacks": ClientCommand("stacks the agent manages", _READING, _none),
    "projects": ClientCommand("Compose projects on the host", _READING, _projects),
    "project": ClientCommand("the containers of a project", _READING, _project, "projects"),
    "runs": ClientCommand("what was done, newest first", _READING, _runs),
    "run": ClientCommand("one run (--follow: live)", _READING, _run, "runs"),
    "poll": ClientCommand("look at a repository now", _ACTING, _poll),
    "start": ClientCommand("start a project", _ACTING, _start, "projects"),
    "stop": ClientCommand("stop a project; it stays stopped until start", _ACTING, _stop, "projects"),
    "restart": ClientCommand("restart a project", _ACTING, _stop, "projects"),
    "remove": ClientCommand("remove a project; volumes only with --volumes", _ACTING, _remove, "projects"),
    "override": ClientCommand("end what was set over the API (override clear NAME)", _ACTING, _override, "stacks"),
    "context": ClientCommand(
        "agents in the configuration file (list, use, set, remove)",
        "reconciler.client.contexts",
        _context,
        "contexts",
        asks=False,
    ),
    "completion": ClientCommand(
        "completion script for a shell", "reconciler.client.completion", _completion, asks=False
    ),
}
