"""Opening a store: created, upgraded, or refused; and only by its owner to be read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text

from state import tables
from state.database import Engines
from state.errors import StoreIncompatible, StoreUnavailable
from state.schema import prepare, upgrade
from state.store import open_store
from tests.support.postgres import PostgresServer
from tests.support.values import run


def connect(url: str) -> Engines:
    if url.startswith("sqlite"):
        from state.sqlite import connect

        return connect(make_url(url))
    from state.postgres import connect as connect_postgres

    return connect_postgres(make_url(url))


async def in_transaction(url: str, work: Any) -> Any:
    engines = connect(url)
    try:
        return await engines.write(work, lambda: None)
    finally:
        await engines.close()


def shape(connection: Connection) -> list[tuple[str, ...]]:
    """Every index with its full definition, as the database itself tells it."""
    if connection.dialect.name == "sqlite":
        statement = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    else:
        statement = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    return sorted((str(name), " ".join(str(sql).split())) for name, sql in connection.execute(text(statement)))


def differences(connection: Connection) -> list[Any]:
    def include(_object: object, name: str | None, kind: str, *_: object) -> bool:
        return not (kind == "table" and name == "alembic_version")

    context = MigrationContext.configure(connection, opts={"include_object": include})
    return list(compare_metadata(context, tables.metadata))


async def test_migrations_and_tables_agree(store_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    await in_transaction(store_url, upgrade)
    assert await in_transaction(store_url, differences) == []
    if store_url.startswith("sqlite"):
        created_url = f"sqlite:///{tmp_path}/created.db"
    else:
        created_url = request.getfixturevalue("postgres").new_database()
    async with open_store(created_url):
        pass
    assert await in_transaction(created_url, differences) == []
    assert await in_transaction(store_url, shape) == await in_transaction(created_url, shape)


def test_every_migration_is_a_known_version_in_its_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(tables.__file__).with_name("migrations")))
    steps = [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(steps)) == tables.VERSIONS


async def test_a_migrated_database_opens(store_url: str) -> None:
    await in_transaction(store_url, upgrade)
    async with open_store(store_url) as store:
        await store.put_run(run("job"))
        assert await store.get_run("job") is not None


async def test_a_newer_schema_is_refused(store_url: str) -> None:
    async with open_store(store_url):
        pass
    await in_transaction(
        store_url, lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    )
    with pytest.raises(StoreIncompatible, match="9999"):
        async with open_store(store_url):
            pass


async def test_a_database_of_others_is_refused(store_url: str) -> None:
    await in_transaction(store_url, lambda connection: connection.execute(text("CREATE TABLE runs (x INTEGER)")))
    with pytest.raises(StoreIncompatible, match="runs"):
        async with open_store(store_url):
            pass


async def test_a_role_that_may_not_make_tables_is_said(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    postgres.sql("CREATE ROLE reader LOGIN")
    with pytest.raises(StoreUnavailable, match="permission denied") as caught:
        async with open_store(url.replace("moored@", "reader@")):
            pass
    assert "CREATE TABLE" not in str(caught.value)


@pytest.mark.parametrize(("user", "database"), [("moored", "none"), ("ghost", "postgres")])
async def test_a_database_or_role_that_is_not_there_is_said(postgres: PostgresServer, user: str, database: str) -> None:
    with pytest.raises(StoreUnavailable, match="does not exist"):
        async with open_store(postgres.url(database).replace("moored@", f"{user}@")):
            pass


async def test_replicas_that_start_together_make_one_schema(postgres: PostgresServer) -> None:
    import anyio

    url = postgres.new_database()
    ids = []

    async def start() -> None:
        async with open_store(url) as store:
            ids.append(store.instance_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(start)
    assert len(ids) == 4 and len(set(ids)) == 1


async def test_a_failed_creation_leaves_nothing(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from state import schema

    def fail() -> str:
        raise RuntimeError("power gone")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "uuid7", fail)
        with pytest.raises(RuntimeError):
            async with open_store(store_url):
                pass
    async with open_store(store_url) as store:
        await store.check()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "moored.db"
    file.write_text("This is a shopping list.\n" * 100)
    with pytest.raises(StoreIncompatible, match="not a SQLite database"):
        async with open_store(f"sqlite:///{file}"):
            pass


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be created"):
        async with open_store(f"sqlite:///{tmp_path}/file/moored.db"):
            pass


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite://host/x", "nonsense", "sqlite:///:memory:"])
async def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"store|SQLite"):
        async with open_store(url):
            pass


async def test_a_bad_url_is_refused_without_showing_its_password() -> None:
    with pytest.raises(ValueError) as caught:
        async with open_store("mysql://moored:hunter2@db/x"):
            pass
    assert "hunter2" not in str(caught.value)


async def test_only_the_owner_reads_the_database(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        file = tmp_path / "a" / "b" / "moored.db"
        async with open_store(f"sqlite:///{file}") as store:
            await store.put_run(run("job"))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
        assert modes == {"moored.db": 0o600, "moored.db-wal": 0o600, "moored.db-shm": 0o600}
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(file.parent.parent.stat().st_mode) == 0o700
        file.chmod(0o644)
        async with open_store(f"sqlite:///{file}"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    finally:
        os.umask(mask)


async def test_commits_reach_the_disk_and_readers_cannot_write(tmp_path: Path) -> None:
    def pragmas(connection: Connection) -> dict[str, Any]:
        prepare(connection)
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return {name: connection.scalar(text(f"PRAGMA {name}")) for name in names}

    engines = connect(f"sqlite:///{tmp_path}/moored.db")
    try:
        expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
        assert await engines.write(pragmas, lambda: None) == expected, "synchronous=2 is FULL"
        with pytest.raises(Exception, match=r"readonly|query_only"):
            await engines.read(lambda connection: connection.execute(text("DELETE FROM runs")))
    finally:
        await engines.close()


def test_opening_imports_no_migration_tool_and_reading_the_contract_no_database(tmp_path: Path) -> None:
    code = """
import sys, anyio
from state.store import open_store
assert "sqlalchemy" not in sys.modules, "imported too early"
async def main():
    for _ in range(2):
        async with open_store(sys.argv[1]) as store:
            await store.check()
anyio.run(main)
unneeded = {"alembic", "asyncpg", "sqlalchemy.ext.asyncio", "sqlalchemy.dialects.postgresql"}
assert not unneeded & set(sys.modules), "imported without need"
"""
    url = f"sqlite:///{tmp_path}/moored.db"
    subprocess.run([sys.executable, "-c", code, url], check=True, cwd=Path(tables.__file__).parents[1], timeout=300)
