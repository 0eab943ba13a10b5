"""Alembic's entry point: runs the steps on the connection that `state.schema` hands over.

The caller owns the transaction, so a step that fails leaves the database as it was.
"""

from __future__ import annotations

from alembic import context

from state import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
