"""PostgreSQL, for those who run a server anyway or share the state between replicas.

The driver is asyncpg. Every statement and every connection attempt has a deadline, so a
server that accepts connections and then says nothing is an error within seconds.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from state.database import Engines

CONNECT_DEADLINE = 5.0
STATEMENT_DEADLINE = 10.0


def connect(url: URL) -> Engines:
    """The engine for a `postgresql://…` URL; connects at first use."""
    query = dict(url.query)
    arguments: dict[str, Any] = {
        "timeout": CONNECT_DEADLINE,
        "command_timeout": STATEMENT_DEADLINE,
        "server_settings": {"application_name": "moored"},
    }
    # asyncpg calls libpq's `sslmode` by another name, with the same values.
    if "sslmode" in query:
        arguments["ssl"] = query.pop("sslmode")
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=query),
        connect_args=arguments,
        pool_size=4,
        max_overflow=4,
        pool_timeout=10,
        hide_parameters=True,
    )
    return Engines(
        writer=engine,
        reader=engine.execution_options(isolation_level="AUTOCOMMIT"),
        turn=nullcontext(),
        name=url.render_as_string(hide_password=True),
        close=engine.dispose,
    )
