"""Taking secrets out of what is about to be shown: log lines, errors, records.

Two things betray a secret: the name of a field, and its place in a URL. A field
is secret by its last word (`api_token`, `privateKey`, but not `token_user` nor
`secret_name`), and so is all of an `environment`. In a URL a password is hidden always and
a lone user for http and https, where it is usually a token; `git@` of an SSH URL stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_URL_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/@:'\"?#]*)(?P<password>:[^\s/'\"]*)?@")
_QUERY = re.compile(r"(?i)([?&][\w.-]*(?:token|secret|password|signature|key)=)[^&#\s'\"]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_SECRET_WORDS = frozenset(
    (
        *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens"),
        *("apikey", "authorization", "cookie", "credential", "credentials"),
    )
)
_SECRET_KEYS = frozenset(("api", "access", "private", "secret", "signing", "encryption"))
_SECRET_MAPS = frozenset({"environment", "env", "build_args", "external_secrets"})


def redact_text(text: str) -> str:
    """`text` with user information and secret query values of the URLs in it hidden."""
    if "://" not in text:
        return text
    return _QUERY.sub(rf"\1{HIDDEN}", _URL_USER.sub(_hide_user, text))


def _hide_user(match: re.Match[str]) -> str:
    scheme, user, password = match["scheme"], match["user"], match["password"]
    if password is None:
        return f"{scheme}{HIDDEN}@" if scheme.lower() in ("http://", "https://") and user else match[0]
    return f"{scheme}{HIDDEN}@" if scheme.lower() in ("http://", "https://") else f"{scheme}{user}:{HIDDEN}@"


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return False
    return words[-1] in _SECRET_WORDS or (words[-1] == "key" and len(words) > 1 and words[-2] in _SECRET_KEYS)


def redact(value: Any, name: str = "") -> Any:
    """A copy of `value` (the content of a field called `name`) that may be shown.

    Mappings come back as dictionaries sorted by key, sequences as lists.
    """
    if isinstance(value, str):
        if name and value and is_secret_name(name):
            return HIDDEN
        return redact_text(value)
    if isinstance(value, Mapping):
        if name.lower() in _SECRET_MAPS or (name and is_secret_name(name)):
            return {str(key): HIDDEN for key in sorted(value, key=str)}
        return {str(key): redact(value[key], str(key)) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple, set, frozenset)):
        if name.lower() in _SECRET_MAPS:
            return [HIDDEN for _ in value]
        return [redact(item, name) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return HIDDEN if name and is_secret_name(name) else redact_text(value.decode("utf-8", "replace"))
    return value
