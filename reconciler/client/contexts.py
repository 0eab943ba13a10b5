"""`moored context`: the agents of the configuration file. Keys are written, never shown."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from reconciler.client.configuration import (
    Configuration,
    Context,
    read_configuration,
    read_key,
    server_url,
    write_configuration,
)
from reconciler.client.exits import Exit, Misused
from reconciler.client.printing import Printer


def context(options: argparse.Namespace, printer: Printer) -> int:
    configuration = read_configuration(os.environ)
    if configuration.warning:
        printer.remark(configuration.warning)
    if options.verb == "list":
        _show(configuration, printer)
    elif options.verb == "use":
        configuration.context(options.name, "context use")
        write_configuration(replace(configuration, current=options.name))
    elif options.verb == "set":
        _set(options, configuration)
    else:
        configuration.context(options.name, "context remove")
        left = {name: item for name, item in configuration.contexts.items() if name != options.name}
        current = "" if configuration.current == options.name else configuration.current
        write_configuration(replace(configuration, contexts=left, current=current))
    return Exit.OK


def _show(configuration: Configuration, printer: Printer) -> None:
    if printer.for_eyes:
        printer.table(
            ("CURRENT", "NAME", "SERVER", "KEY", "CERTIFICATES"),
            [
                ("*" if name == configuration.current else "", name, item.server, _key_place(item), _trust(item))
                for name, item in configuration.contexts.items()
            ],
        )
        return
    printer.data(
        {
            "current": configuration.current,
            "contexts": [
                {"name": name, "server": item.server, "key": _key_place(item), "certificates": _trust(item)}
                for name, item in configuration.contexts.items()
            ],
        }
    )


def _key_place(context: Context) -> str:
    return f"file {context.api_key_file}" if context.api_key_file else "stored" if context.api_key else "none"


def _trust(context: Context) -> str:
    return "not checked" if context.insecure else context.ca_file or "of the system"


def _set(options: argparse.Namespace, configuration: Configuration) -> None:
    found = configuration.contexts.get(options.name)
    if not options.name or not options.name.isprintable():
        raise Misused("context set: a context needs a name")
    if found is None and not options.server:
        raise Misused(f"context set: {options.name} is new, so it needs --server")
    changed = found or Context("")
    if options.server:
        changed = replace(changed, server=server_url(options.server, "--server"))
    if options.api_key and options.api_key_file:
        raise Misused("--api-key and --api-key-file are both given, one is enough")
    if options.api_key or options.api_key_file == "-":
        key = options.api_key or read_key("-", "--api-key-file")
        changed = replace(changed, api_key=key, api_key_file="")
    elif options.api_key_file:
        changed = replace(changed, api_key="", api_key_file=_absolute(options.api_key_file))
    if options.ca_file:
        changed = replace(changed, ca_file=_absolute(options.ca_file))
    if options.insecure is not None:
        changed = replace(changed, insecure=options.insecure)
    current = configuration.current
    if options.use or not configuration.contexts:
        current = options.name
    contexts = {**configuration.contexts, options.name: changed}
    write_configuration(replace(configuration, contexts=contexts, current=current))


def _absolute(name: str) -> str:
    return str(Path(name).expanduser().absolute())
