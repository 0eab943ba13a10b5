"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "intents",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("delivery", sa.Text),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("progress", sa.Text, nullable=False),
        sa.UniqueConstraint("idempotency_key", name="intents_idempotency_key"),
        sa.UniqueConstraint("delivery", name="intents_delivery"),
    )
    _partial_index("intents_open", "intents", "finished_at IS NULL")
    op.create_table(
        "runs",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("joined", sa.Text, nullable=False),
        sa.Column("warnings", sa.Text, nullable=False),
        sa.Column("stacks", sa.Text, nullable=False),
        sa.Column("touched", sa.Text, nullable=False),
    )
    op.create_index("runs_newest", "runs", ["created_at", "job_id"])
    op.create_index("runs_of_trigger", "runs", ["trigger", "created_at", "job_id"])
    _partial_index("runs_unfinished", "runs", "status IN ('accepted', 'running')")
    op.create_table(
        "run_actions",
        sa.Column("job_id", sa.Text, sa.ForeignKey("runs.job_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("stack", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("error", sa.Text, nullable=False),
    )
    op.create_table(
        "sources",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("deployments", sa.Text, nullable=False),
        sa.Column("interval", sa.Float, nullable=False),
        sa.Column("run_once", sa.Boolean, nullable=False),
        sa.Column("watch", sa.Boolean, nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("conditions", sa.Text, nullable=False),
        sa.Column("last_checked", sa.BigInteger),
        sa.Column("last_success", sa.BigInteger),
        sa.Column("failures", sa.Integer, nullable=False),
    )
    op.create_table(
        "stacks",
        sa.Column("context", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("desired", sa.Text, nullable=False),
        sa.Column("desired_hash", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("observed_generation", sa.BigInteger, nullable=False),
        sa.Column("overrides", sa.Text, nullable=False),
        sa.Column("conditions", sa.Text, nullable=False),
        sa.Column("ready_revision", sa.Text, nullable=False),
        sa.Column("deleting", sa.Boolean, nullable=False),
        sa.Column("pending_recreate", sa.Text, nullable=False),
        sa.Column("acknowledged", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_index("stacks_of_source", "stacks", ["source_id"])


def _partial_index(name: str, table: str, condition: str) -> None:
    """An index over `created_at` of the few rows that are still open."""
    op.create_index(name, table, ["created_at"], sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def downgrade() -> None:
    raise NotImplementedError("Moored does not go back to an older schema; restore a copy of the database")
