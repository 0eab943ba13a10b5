"""Compose files: bytes and an environment in, a validated `Project` out.

Loads exactly what Docker Compose loads (5.5 where it differs from 2.40.3, see
`docs/compose.md`), without Docker and without I/O of its own: files come through a `Reader`.
The way through the package is drawn at the head of `loader`.
"""

from __future__ import annotations

from .confighash import network_hash, service_hash, volume_hash
from .errors import ComposeError, Problem
from .files import RemoteResolver
from .loader import load_project
from .model import InputFile, LoadWarning, Model, Project
from .reader import DiskReader, MemoryReader, Reader
from .render import Form, render, to_json, to_yaml
from .request import LoadRequest, normalise_name

__all__ = [
    "ComposeError",
    "DiskReader",
    "Form",
    "InputFile",
    "LoadRequest",
    "LoadWarning",
    "MemoryReader",
    "Model",
    "Problem",
    "Project",
    "Reader",
    "RemoteResolver",
    "load_project",
    "network_hash",
    "normalise_name",
    "render",
    "service_hash",
    "to_json",
    "to_yaml",
    "volume_hash",
]
