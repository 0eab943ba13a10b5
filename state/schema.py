"""Bringing a database to the schema this version works with.

Three cases cost nothing but one query: the database is at the current version; it is newer
(`StoreIncompatible`); it is empty, and is created in one go from `state.tables`. Only an
older database is upgraded step by step with Alembic, which is imported for that alone (it
takes longer than all the rest of the start). All of it happens in one transaction; on
PostgreSQL under an advisory lock, so that replicas starting together do not collide.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, text

from state import tables
from state.errors import StoreIncompatible
from state.ids import uuid7

_LOCK = 0x6D6F6F726564  # "moored"


def prepare(connection: Connection) -> str:
    """Create or upgrade the schema; returns the instance id kept in the database."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    version = _version(connection)
    if version is None:
        tables.metadata.create_all(connection, checkfirst=False)
        tables.schema_version.create(connection, checkfirst=False)
        connection.execute(insert(tables.schema_version).values(version_num=tables.CURRENT))
    elif version not in tables.VERSIONS:
        raise StoreIncompatible(
            f"the store has schema version {version!r}, but this version of Moored knows only "
            f"{', '.join(tables.VERSIONS)}: run the newer Moored that wrote it, or restore an older copy"
        )
    elif version != tables.CURRENT:
        upgrade(connection)
    found = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.key == "instance_id"))
    if found is not None:
        return str(found)
    instance_id = uuid7()
    connection.execute(insert(tables.meta).values(key="instance_id", value=instance_id))
    return instance_id


def _version(connection: Connection) -> str | None:
    """The schema version; None: an empty database."""
    names = set(inspect(connection).get_table_names())
    if tables.schema_version.name not in names:
        ours = names & set(tables.metadata.tables)
        if ours:
            raise StoreIncompatible(
                f"the database already has tables of other origin with the names {', '.join(sorted(ours))}: "
                "give Moored a database (or a PostgreSQL schema) of its own"
            )
        return None
    version = connection.scalar(select(tables.schema_version.c.version_num))
    return "" if version is None else str(version)


def upgrade(connection: Connection, target: str = "head") -> None:
    """Run the migrations up to `target` on a connection with an open transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, target)
