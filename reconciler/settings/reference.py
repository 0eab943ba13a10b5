"""The reference of all variables as Markdown: what `docs/settings.md` holds.

Written anew with `python -m reconciler.settings.reference > docs/settings.md`; a test keeps
the two equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reconciler.settings.variables import ALL, SECTIONS, Variable

_HEAD = """# Settings

Moored is set up by environment variables alone; they are read once, at the start. All that
are wrong are reported together, each with what was expected and what was found, and the
agent does not start.

- Unset and empty are the same.
- `bool`: `true`, `false`, `1`, `0`, `t`, `f` (as Go reads them; `yes` and `on` are refused).
- `duration`: a number with a unit, `90s`, `1h30m`, `500ms`; a bare number is refused.
- A name marked with `_FILE` may be given as `NAME_FILE` instead: the path of a file whose
  trimmed content is the value (`POLL_CONFIG_FILE` is taken as it is). Both at once are refused.
- YAML values: unknown keys are named in a warning, a key written twice is refused.
- "Acts": `no` marks what is read and checked, so that a configuration written for Doco-CD is
  accepted, but not done by this version; a warning at the start names those that are set."""

_TAIL = """
## POLL_CONFIG

A list; each entry is one source that is followed.

| Key | Type | Default | Meaning |
| --- | --- | --- | --- |
| `url` | string | needed | `https://`, `http://`, `ssh://`, `file://` URL, `user@host:path`, or an absolute path |
| `source` | git, oci | `git` | kind of source |
| `reference` | string | `refs/heads/main` | branch, tag, full reference or commit; `oci`: the tag or digest of `url` |
| `interval` | seconds or duration | `180s` | time between two looks, at least 10 s; `0`: none |
| `target` | string | – | reads `.doco-cd.<target>.yaml` instead of `.doco-cd.yaml` |
| `run_once` | bool | `false` | look once at the start, never again |
| `watch` | bool | `true` | local repositories: look as soon as a reference changes |
| `deployments` | list | – | deploy configuration written here instead of in the repository |

```yaml
POLL_CONFIG: |
  - url: https://git.example.org/infra/web.git
    reference: main
    interval: 5m
```

An entry that cannot be used stops the start, with its line. The same source twice, an unknown
key and an empty `interval:` (which means `0`) are named in warnings.

## SOURCE_URL_REWRITES

A map from the beginning of a URL, a `host` or a `host:port` to what replaces it. The longest
key that matches wins, the first of several of one length. Hosts match in any case, paths as
written, and only up to a boundary: `https://host` does not match `https://host.evil`.

```yaml
SOURCE_URL_REWRITES: |
  https://git.example.org/infra: /srv/mirrors/infra
  git.example.org: http://forgejo:3000
```

## GIT_AUTH_DOMAINS

A list; the entry that names a host exactly wins, then the longest `*.suffix`. What an entry
lacks is taken from the global variables, field by field.

| Key | Meaning |
| --- | --- |
| `domains` | `host`, `host:port` or `*.suffix`; without it an entry never matches |
| `git_access_token`, `git_access_token_user` | for http and https |
| `ssh_private_key`, `ssh_private_key_passphrase` | for SSH |
| `github_app_id`, `github_app_private_key`, `github_app_installation_id` | instead of token and key |
"""


def reference() -> str:
    """The whole page."""
    begins = {name: title for title, name in SECTIONS}
    lines = [_HEAD]
    for variable in ALL:
        if variable.name in begins:
            lines.append(f"\n## {begins[variable.name]}\n")
            lines.append("| Name | Type | Default | Meaning | Acts |")
            lines.append("| --- | --- | --- | --- | --- |")
        lines.append(_row(variable))
    return "\n".join(lines) + "\n" + _TAIL


def _row(variable: Variable[Any]) -> str:
    name = f"`{variable.name}`" + (" (`_FILE`)" if variable.file else "")
    cells = (name, variable.kind, _default(variable), variable.meaning, "yes" if variable.acted else "no")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(variable: Variable[Any]) -> str:
    if variable.shown_default:
        plain = variable.shown_default in ("all", "off", "detected", "negotiated", "local socket", "every host")
        return variable.shown_default if plain or "`" in variable.shown_default else f"`{variable.shown_default}`"
    value = variable.default
    if value is None or value == "" or value == ():
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (str, int, float, Path)):
        return f"`{value}`"
    raise TypeError(f"{variable.name}: say how its default is shown")


if __name__ == "__main__":
    print(reference(), end="")
