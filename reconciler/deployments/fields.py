"""The kinds of values a deploy configuration is made of.

Each kind accepts what both YAML (`Scalar`s with their text) and JSON (plain values)
give, and refuses everything else in the same words: `expected text, found number 5`.
YAML is lenient where Doco-CD is: any scalar will do as text, and is taken as written.
JSON is not.

`prepare` is the step before validation: it drops what is null (the default holds), folds
the case of JSON keys, and reports keys nobody knows together with the nearest one.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator

from reconciler.deployments.document import Path, Scalar
from reconciler.deployments.errors import Problem

_Model = TypeVar("_Model", bound=BaseModel)


class RuleBroken(ValueError):
    """A value of the right kind that a rule forbids; its message says it all."""


def describe(value: Any) -> str:
    """What was found, in words."""
    if isinstance(value, Scalar):
        value = value.value
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"number {value:g}" if isinstance(value, float) else f"number {value}"
    if isinstance(value, str):
        return f'text "{value}"' if len(value) <= 60 else f'text "{value[:57]}..."'
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return f'text "{value}"'


def text(value: Any) -> str:
    if isinstance(value, Scalar):
        return "" if value.value is None else value.text
    if isinstance(value, str):
        return str(value)
    raise ValueError(f"expected text, found {describe(value)}")


def flag(value: Any) -> bool:
    found = value.value if isinstance(value, Scalar) else value
    if isinstance(found, bool):
        return found
    raise ValueError(f"expected true or false, found {describe(value)}")


def whole(value: Any) -> int:
    found = value.value if isinstance(value, Scalar) else value
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, int) and not isinstance(found, bool) and -(2**63) <= found < 2**63:
        return found
    raise ValueError(f"expected a whole number, found {describe(value)}")


def texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, list):
        raise ValueError(f"expected a list, found {describe(value)}")
    return tuple(_each(value, text))


def _each(values: list[Any], convert: Callable[[Any], str]) -> list[str]:
    converted = []
    for index, value in enumerate(values):
        try:
            converted.append(convert(value))
        except ValueError as error:
            raise ValueError(f"item {index}: {error}") from None
    return converted


def text_map(value: Any) -> dict[str, str]:
    """A map of strings. Its values may be any scalar, in JSON as well: `PORT: 8080` is meant."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object, found {describe(value)}")
    return {str(key): _scalar_text(str(key), inner) for key, inner in value.items()}


def _scalar_text(key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    try:
        return text(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def lowered(value: Any) -> str:
    return text(value).strip().lower()


def trimmed(value: Any) -> str:
    return text(value).strip()


def optional_whole(value: Any) -> int | None:
    return None if value is None else whole(value)


def optional_flag(value: Any) -> bool | None:
    return None if value is None else flag(value)


Text = Annotated[str, BeforeValidator(text)]
Trimmed = Annotated[str, BeforeValidator(trimmed)]
Lowered = Annotated[str, BeforeValidator(lowered)]
Flag = Annotated[bool, BeforeValidator(flag)]
Whole = Annotated[int, BeforeValidator(whole)]
OptionalFlag = Annotated[bool | None, BeforeValidator(optional_flag)]
OptionalWhole = Annotated[int | None, BeforeValidator(optional_whole)]
Texts = Annotated[tuple[str, ...], BeforeValidator(texts)]
TextMap = Annotated[dict[str, str], BeforeValidator(text_map)]


def shorthand(name: str) -> Callable[[Any], Any]:
    """`true` and `false` for an object that has `enabled`."""

    def expand(value: Any) -> Any:
        found = value.value if isinstance(value, Scalar) else value
        if isinstance(found, bool):
            return {"enabled": found}
        if isinstance(found, (Mapping, BaseModel)):
            return value
        raise ValueError(f"invalid {name} value: expected bool or object")

    return expand


# --- before validation --------------------------------------------------------------------


def submodel(annotation: Any) -> type[BaseModel] | None:
    """The model behind a field's annotation, if it is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        for inner in get_args(annotation):
            found = submodel(inner)
            if found is not None:
                return found
    return None


def prepare(
    model: type[BaseModel],
    value: Any,
    *,
    stamped: frozenset[str] = frozenset(),
    fold_case: bool = False,
    unknown: Callable[[Path, str, str], None],
    path: Path = (),
) -> Any:
    """`value` with only keys the model knows and without nulls; see the module's head.

    `unknown(path, key, nearest)` hears of every other key; `stamped` fields are ours and
    cannot be written.
    """
    if not isinstance(value, Mapping):
        return value
    known = {name: field.annotation for name, field in model.model_fields.items() if name not in stamped}
    prepared: dict[str, Any] = {}
    for key, inner in value.items():
        name = str(key)
        if name not in known and fold_case and name.lower() in known:
            name = name.lower()
        if name not in known:
            unknown((*path, str(key)), str(key), nearest(str(key), known))
            continue
        if inner is None or (isinstance(inner, Scalar) and inner.value is None):
            prepared.pop(name, None)
            continue
        nested = submodel(known[name])
        if nested is not None:
            inner = prepare(nested, inner, fold_case=fold_case, unknown=unknown, path=(*path, str(key)))
        prepared[name] = inner
    return prepared


def nearest(key: str, known: typing.Iterable[str]) -> str:
    """The known key that was probably meant, or nothing."""
    import difflib

    found = difflib.get_close_matches(key.lower().replace("-", "_"), list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def key_path(path: Path) -> str:
    """`('a', 0, 'b')` as `a[0].b`."""
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else part
    return shown


def decode(
    model: type[_Model], prepared: Any, problem: Callable[[Path, str], Problem]
) -> tuple[_Model | None, list[Problem]]:
    """Run the model; what it refuses comes back as problems."""
    from pydantic import ValidationError

    if not isinstance(prepared, Mapping):
        return None, [problem((), f"expected an object, found {describe(prepared)}")]
    try:
        return model.model_validate(prepared), []
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False, include_context=True):
            cause = item.get("ctx", {}).get("error")
            found = problem(tuple(item["loc"]), str(cause) if cause is not None else item["msg"])
            if isinstance(cause, RuleBroken):
                found = replace(found, message=f"invalid deploy configuration: {cause}", wrong_type=False)
            problems.append(found)
        return None, problems
