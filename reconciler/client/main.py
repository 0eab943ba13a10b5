"""From a line of arguments to an exit status, for every command that asks an agent.

All errors of this package end here: their words go to standard error, their class says the
exit status.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from reconciler.client.arguments import COMMANDS, parser_of
from reconciler.client.configuration import Flags, read_configuration, resolve_endpoint
from reconciler.client.exits import ClientError, Exit
from reconciler.client.printing import Printer, colours_wanted


def client_command(name: str, arguments: Sequence[str]) -> int:
    """Carry a command out; returns the exit status."""
    if name == "completion" and list(arguments[:1]) == ["names"]:
        from reconciler.client.completion import print_names

        return print_names(arguments[1:], os.environ)
    try:
        options = parser_of(name).parse_args(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else Exit.USAGE
    for stream in (sys.stdout, sys.stderr):
        # An arrow on a terminal of another age shows as an escape instead of ending the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    printer = Printer(getattr(options, "output", "table"), colours_wanted(sys.stdout, os.environ))
    try:
        return int(_carry_out(name, options, printer))
    except ClientError as error:
        printer.remark(str(error))
        return int(error.exit)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)


def _carry_out(name: str, options: argparse.Namespace, printer: Printer) -> int:
    command = COMMANDS[name]
    function: Callable[..., int] = getattr(importlib.import_module(command.module), name)
    if not command.asks:
        return function(options, printer)
    from reconciler.client.connection import Agent

    configuration = read_configuration(os.environ)
    if configuration.warning:
        printer.remark(configuration.warning)
    flags = Flags(
        options.server,
        options.context,
        options.api_key,
        options.api_key_file,
        options.ca_file,
        options.insecure,
    )
    return function(options, Agent(resolve_endpoint(flags, os.environ, configuration)), printer)
