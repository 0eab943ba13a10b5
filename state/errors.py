"""Errors of the state package.

StateError
├── StoreUnavailable     the database cannot be reached or written right now
└── StoreIncompatible    the database was written by a newer Moored
"""

from __future__ import annotations


class StateError(Exception):
    """Something is wrong with the durable state."""


class StoreUnavailable(StateError):
    """The store cannot be written or reached at the moment; nothing was half done."""


class StoreIncompatible(StateError):
    """The store has a schema this version does not know."""
