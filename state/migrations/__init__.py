"""Alembic migrations of the durable store: one module a step in `versions`."""
