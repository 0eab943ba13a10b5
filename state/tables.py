"""The tables of the durable store, one definition for SQLite and PostgreSQL.

Times are whole microseconds since 1970 (UTC) in a BIGINT: exact, sortable and the same in
both databases. Structured values are compact JSON text that only Moored reads, so no
database needs to understand it. What is searched for has a column and, where the table can
grow, an index: runs by age, unfinished runs, open intents, a source's stacks.

`VERSIONS` lists every schema version in order; the last one is what this module describes.
`state.migrations` holds the steps between them and a test keeps the two in agreement.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

VERSIONS = ("0001",)
CURRENT = VERSIONS[-1]

metadata = MetaData()

schema_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own table; not part of `metadata`, so that the comparison leaves it out."""

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

intents = Table(
    "intents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("idempotency_key", Text),
    Column("delivery", Text),
    Column("finished_at", BigInteger),
    Column("progress", Text, nullable=False),
    UniqueConstraint("idempotency_key", name="intents_idempotency_key"),
    UniqueConstraint("delivery", name="intents_delivery"),
)
Index(
    "intents_open",
    intents.c.created_at,
    sqlite_where=text("finished_at IS NULL"),
)

runs = Table(
    "runs",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("trigger", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("repository", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("joined", Text, nullable=False),
    Column("warnings", Text, nullable=False),
    Column("stacks", Text, nullable=False),
    Column("touched", Text, nullable=False),
)
"""`touched` holds the names of the run's stacks, each between two line feeds, to search in."""
Index("runs_newest", runs.c.created_at, runs.c.job_id)
Index("runs_of_trigger", runs.c.trigger, runs.c.created_at, runs.c.job_id)
Index(
    "runs_unfinished",
    runs.c.created_at,
    sqlite_where=text("status IN ('accepted', 'running')"),
)

run_actions = Table(
    "run_actions",
    metadata,
    Column("job_id", Text, ForeignKey("runs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("stack", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("reasons", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("error", Text, nullable=False),
)

sources = Table(
    "sources",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("deployments", Text, nullable=False),
    Column("interval", Float, nullable=False),
    Column("run_once", Boolean, nullable=False),
    Column("watch", Boolean, nullable=False),
    Column("repository", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("conditions", Text, nullable=False),
    Column("last_checked", BigInteger),
    Column("last_success", BigInteger),
    Column("failures", Integer, nullable=False),
)

stacks = Table(
    "stacks",
    metadata,
    Column("context", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("source_id", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("desired", Text, nullable=False),
    Column("desired_hash", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("observed_generation", BigInteger, nullable=False),
    Column("overrides", Text, nullable=False),
    Column("conditions", Text, nullable=False),
    Column("ready_revision", Text, nullable=False),
    Column("deleting", Boolean, nullable=False),
    Column("pending_recreate", Text, nullable=False),
    Column("acknowledged", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
Index("stacks_of_source", stacks.c.source_id)
