"""`moored completion`: scripts that complete commands, options and names.

The scripts are made from the same parsers that read the arguments. Names of projects, stacks,
runs and contexts are asked for while completing (`moored completion names projects`): quickly or
not at all, and only names that no shell would take for more than a word.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.client.arguments import COMMANDS, parser_of
from reconciler.client.exits import ClientError, Exit
from reconciler.client.printing import Printer

LIMIT = 2.0
FILES = frozenset(("--api-key-file", "--ca-file"))
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Option:
    """An option as a completion script sees it."""

    flags: Sequence[str]
    help: str
    values: Sequence[str] = ()
    takes_value: bool = False


def completion(options: argparse.Namespace, printer: Printer) -> int:
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell]
    printer.line("\n".join(script()))
    return Exit.OK


def summaries() -> dict[str, str]:
    """All commands of `moored` with their summaries."""
    from reconciler.cli import COMMANDS as LOCAL

    found = {name: command.summary for name, command in LOCAL.items()}
    found.update({name: command.summary for name, command in COMMANDS.items() if name not in LOCAL})
    return {**found, "run": "run the agent, or show a run by its id", "version": "print the version"}


def options_of(parser: argparse.ArgumentParser) -> Iterator[Option]:
    """The options of a command; those of its verbs count as its own."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in dict.fromkeys(action.choices.values()):
                yield from (option for option in options_of(verb) if "--help" not in option.flags)
        elif action.option_strings:
            values = [str(value) for value in action.choices or ()]
            yield Option(action.option_strings, action.help or "", values, action.nargs != 0)


def words_of(parser: argparse.ArgumentParser) -> list[str]:
    """The fixed words a command's arguments begin with: verbs, shells."""
    for action in parser._actions:
        if not action.option_strings and action.choices:
            return [str(choice) for choice in action.choices]
    return []


def print_names(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Names of a kind, one a line; nothing when they cannot be had at once."""
    for name in _names(arguments[0] if arguments else "", environ):
        if _PLAIN.fullmatch(name):
            print(name)
    return Exit.OK


def _names(kind: str, environ: Mapping[str, str]) -> list[str]:
    from reconciler.client.configuration import Flags, read_configuration, resolve_endpoint
    from reconciler.client.connection import Agent

    try:
        configuration = read_configuration(environ)
        if kind == "contexts":
            return list(configuration.contexts)
        endpoint = resolve_endpoint(Flags(), environ, configuration)
        agent = Agent(endpoint, connect_limit=LIMIT, answer_limit=LIMIT, recovery=0.0)
        if kind == "runs":
            return [run["job_id"] for run in agent.get("/v1/api/runs")]
        names: dict[str, Any] = {stack["name"]: None for stack in agent.get("/v1/api/status")["stacks"]}
        if kind == "projects":
            names.update({row["Name"]: None for row in agent.get("/v1/api/projects", {"all": True})})
        return sorted(names)
    except ClientError:
        return []


def _plain(text: str) -> str:
    """Help as a shell can quote it."""
    return text.replace("'", "").replace("[", "(").replace("]", ")").replace(":", ",").replace("%%", "%")


def _bash() -> Iterator[str]:
    yield "# bash completion for moored: source <(moored completion bash)"
    yield "_moored() {"
    yield "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words="
    yield "    COMPREPLY=()"
    yield '    if [ "$COMP_CWORD" -eq 1 ]; then'
    yield f"        COMPREPLY=($(compgen -W '{' '.join(summaries())}' -- \"$current\"))"
    yield "        return"
    yield "    fi"
    yield '    case "${COMP_WORDS[1]} $previous" in'
    for name in COMMANDS:
        for option in options_of(parser_of(name)):
            for flag in option.flags if option.takes_value else ():
                if flag in FILES:
                    yield f"        '{name} {flag}') COMPREPLY=($(compgen -f -- \"$current\")); return ;;"
                elif flag == "--context":
                    yield f"        '{name} {flag}') words=$(moored completion names contexts 2>/dev/null) ;;"
                else:
                    yield f"        '{name} {flag}') words='{' '.join(option.values)}' ;;"
    yield "        *)"
    yield '            case "${COMP_WORDS[1]}" in'
    for name, command in COMMANDS.items():
        parser = parser_of(name)
        flags = " ".join(dict.fromkeys(flag for option in options_of(parser) for flag in option.flags))
        fixed = " ".join(words_of(parser))
        yield f"                {name})"
        yield f"                    case \"$current\" in -*) words='{flags}' ;;"
        ask = f"words=$(moored completion names {command.completes} 2>/dev/null)"
        if fixed:
            yield f"                        *) if [ \"$COMP_CWORD\" -eq 2 ]; then words='{fixed}'"
            if command.completes:
                yield f"                            else {ask}"
            yield "                            fi ;;"
        elif command.completes:
            yield f"                        *) {ask} ;;"
        yield "                    esac ;;"
    yield "            esac ;;"
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$current"))'
    yield "}"
    yield "complete -o default -F _moored moored"


def _zsh() -> Iterator[str]:
    yield "#compdef moored"
    yield "# zsh completion for moored: source <(moored completion zsh)"
    yield '_moored_names() { compadd -- ${(f)"$(moored completion names $1 2>/dev/null)"} }'
    yield "_moored() {"
    yield "    local curcontext=$curcontext state line"
    yield "    if (( CURRENT == 2 )); then"
    yield "        local -a commands=("
    for name, summary in summaries().items():
        yield f"            '{name}:{_plain(summary)}'"
    yield "        )"
    yield "        _describe command commands"
    yield "        return"
    yield "    fi"
    yield "    local command=$words[2]"
    yield "    shift words"
    yield "    (( CURRENT-- ))"
    yield "    case $command in"
    for name, command in COMMANDS.items():
        parser = parser_of(name)
        yield f"        {name}) _arguments \\"
        for option in options_of(parser):
            for flag in option.flags:
                joined = "=" if option.takes_value and flag.startswith("--") else ""
                yield f"            '{flag}{joined}[{_plain(option.help)}]{_zsh_value(flag, option)}' \\"
        fixed = words_of(parser)
        names = f"_moored_names {command.completes}" if command.completes else "_default"
        if fixed:
            yield f"            '1:word:({' '.join(fixed)})' \\"
        yield f"            '*:name:{names}' ;;"
    yield "        *) _default ;;"
    yield "    esac"
    yield "}"
    yield "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }"
    yield "compdef _moored moored"


def _zsh_value(flag: str, option: Option) -> str:
    if not option.takes_value:
        return ""
    if flag in FILES:
        return ":file:_files"
    if flag == "--context":
        return ":context:_moored_names contexts"
    return f":value:({' '.join(option.values)})" if option.values else ":value: "


def _fish() -> Iterator[str]:
    yield "# fish completion for moored: moored completion fish | source"
    yield "complete -c moored -f"
    for name, summary in summaries().items():
        yield f"complete -c moored -n __fish_use_subcommand -a {name} -d '{_plain(summary)}'"
    for name, command in COMMANDS.items():
        parser = parser_of(name)
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        fixed = words_of(parser)
        if fixed:
            yield f"complete -c moored {seen} -a '{' '.join(fixed)}'"
        if command.completes:
            yield f"complete -c moored {seen} -a '(moored completion names {command.completes} 2>/dev/null)'"
        for option in options_of(parser):
            flags = " ".join(f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in option.flags)
            yield f"complete -c moored {seen} {flags}{_fish_value(option)} -d '{_plain(option.help)}'"


def _fish_value(option: Option) -> str:
    if not option.takes_value:
        return ""
    if FILES.intersection(option.flags):
        return " -r -F"
    if "--context" in option.flags:
        return " -x -a '(moored completion names contexts 2>/dev/null)'"
    return f" -x -a '{' '.join(option.values)}'" if option.values else " -x"
