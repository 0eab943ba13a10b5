"""The reference page says what the code does, and no variable is forgotten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from reconciler.settings.reference import reference
from reconciler.settings.variables import ALL, SECTIONS

ROOT = Path(__file__).parents[3]


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == reference(), "run: python -m reconciler.settings.reference > docs/settings.md"


def test_every_variable_is_there_once() -> None:
    names = [variable.name for variable in ALL]
    assert len(names) == len(set(names))
    assert all(name in names for _, name in SECTIONS)


def test_every_variable_is_read_by_the_loader() -> None:
    from reconciler.settings import variables

    sources = "".join(
        (ROOT / "reconciler" / "settings" / name).read_text()
        for name in ("loading.py", "documents.py", "environment.py")
    )
    unread = [
        attribute
        for attribute, value in vars(variables).items()
        if isinstance(value, variables.Variable) and f"names.{attribute}" not in sources
    ]
    assert unread == []


def test_handling_settings_does_not_import_the_readers() -> None:
    code = (
        "import sys, reconciler.settings as s; s.Secret; "
        "assert not {'yaml', 'pydantic', 'sqlalchemy'} & set(sys.modules); "
        "s.load_settings({}); assert not {'yaml', 'pydantic', 'sqlalchemy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=300)
