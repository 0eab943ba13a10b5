"""The settings that are YAML documents: poll targets, rewrites, credentials by domain, and others.

The reader is the one of deploy files, so sizes and aliases are bounded, a key written twice
is an error, and problems know their line. Doco-CD ignores unknown keys and further documents
silently; both are accepted here, too, with a warning that names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.settings import variables as names
from reconciler.settings.environment import Environment
from reconciler.settings.model import GitAuthDomain, GitHubApp
from reconciler.settings.secret import Secret
from reconciler.settings.variables import Variable
from state.targets import InvalidTarget, ValidatedTarget

if TYPE_CHECKING:
    from reconciler.deployments.document import Document

ValidateTarget = Callable[[Any, int], ValidatedTarget]

_TEXT_KEYS = ("source", "url", "reference", "target")
_DOMAIN_KEYS = (
    "domains",
    "git_access_token",
    "git_access_token_user",
    "ssh_private_key",
    "ssh_private_key_passphrase",
    "github_app_id",
    "github_app_private_key",
    "github_app_installation_id",
)


def _documents(env: Environment, variable: Variable[str]) -> Sequence[Document]:
    text = env.text(variable)
    if text is None or not text.strip():
        return ()
    env.changed.add(variable.name)
    from reconciler.deployments.document import read_documents
    from reconciler.deployments.errors import InvalidDeployConfig

    try:
        return read_documents(text, "")
    except InvalidDeployConfig as error:
        for problem in error.problems:
            message = problem.message.removeprefix("failed to decode yaml: ")
            # What the parser says may quote the text it stumbled over.
            said = "the YAML cannot be read" if variable.secret else message
            env.problem(variable, f"failed to parse {_called(variable)}: {said}", line=problem.line)
        return ()


def _called(variable: Variable[Any]) -> str:
    return "poll config" if variable is names.POLL_CONFIG else variable.name


def _first(env: Environment, variable: Variable[str]) -> Any:
    """The first document's root, with places; None: nothing there."""
    documents = _documents(env, variable)
    if len(documents) > 1:
        env.warnings.append(f"{variable.name} has {len(documents)} YAML documents; only the first is read")
    return documents[0].root if documents else None


def poll_targets(env: Environment, rewrites: Mapping[str, str]) -> tuple[ValidatedTarget, ...]:
    root = _first(env, names.POLL_CONFIG)
    if root is None:
        return ()
    from reconciler.deployments.document import plain
    from reconciler.deployments.targets import target_validator

    if not isinstance(root, list):
        env.problem(names.POLL_CONFIG, "failed to parse poll config: expected a list of sources (`- url: …`)")
        return ()
    validate = target_validator(rewrites, lenient=True)
    found: list[ValidatedTarget] = []
    lines: dict[tuple[str, str, str, str], int] = {}
    for index, entry in enumerate(root):
        if plain(entry) is None:
            continue
        line = getattr(entry, "line", 0)
        try:
            target = validate(_as_written(entry), index)
        except InvalidTarget as error:
            prefix = "failed to parse poll config: " if error.wrong_type else "invalid poll configuration: "
            message = error.message if error.message.startswith(prefix) else prefix + error.message
            env.problem(names.POLL_CONFIG, message, line=line)
            continue
        env.warnings += [f"POLL_CONFIG: {warning}" for warning in target.warnings]
        spec = target.spec
        identity = (spec.kind.value, spec.url, spec.reference, spec.target)
        if identity in lines and not spec.deployments:
            env.warnings.append(
                f"POLL_CONFIG: entry {index} (line {line}) is the same source as the one in line "
                f"{lines[identity]}: {target.repository}, {spec.reference}"
            )
        lines.setdefault(identity, line)
        found.append(target)
    return tuple(found)


def _as_written(entry: Any) -> Any:
    """Plain values; where text is wanted, `1.10` stays `1.10`."""
    from reconciler.deployments.document import Scalar, plain

    if not isinstance(entry, dict):
        return plain(entry)
    return {
        str(key): value.text
        if key in _TEXT_KEYS and isinstance(value, Scalar) and value.value is not None
        else plain(value)
        for key, value in entry.items()
    }


def url_rewrites(env: Environment) -> Mapping[str, str]:
    """Keys and targets trimmed, otherwise as written and in that order."""
    variable = names.SOURCE_URL_REWRITES
    root = _first(env, variable)
    if root is None:
        return {}
    if not isinstance(root, dict):
        env.problem(variable, "expected a map from URL beginnings or hosts to what replaces them")
        return {}
    found: dict[str, str] = {}
    for key, value in root.items():
        name, target, line = str(key).strip(), _text(value), getattr(key, "line", 0)
        if not name:
            env.problem(variable, "rewrite key in SOURCE_URL_REWRITES must not be empty", line=line)
        elif target is None:
            env.problem(variable, f'expected text as the target of "{name}"', line=line)
        elif not target.strip():
            env.problem(
                variable, f'rewrite key "{name}" in SOURCE_URL_REWRITES must have a non-empty target', line=line
            )
        else:
            found[name] = target.strip()
    return found


def _text(value: Any) -> str | None:
    """The text of a scalar; empty for null; None for what is no scalar."""
    from reconciler.deployments.document import Scalar

    if not isinstance(value, Scalar):
        return None
    return "" if value.value is None else value.text


def auth_domains(env: Environment) -> tuple[GitAuthDomain, ...]:
    variable = names.GIT_AUTH_DOMAINS
    root = _first(env, variable)
    if root is None:
        return ()
    if not isinstance(root, list):
        env.problem(variable, "failed to parse GIT_AUTH_DOMAINS: expected a list (`- domains: [git.example.org]`)")
        return ()
    found: list[GitAuthDomain] = []
    for index, entry in enumerate(root):
        where, line = f"GIT_AUTH_DOMAINS[{index}]", getattr(entry, "line", 0)
        if not isinstance(entry, dict):
            env.problem(variable, f"failed to parse GIT_AUTH_DOMAINS: {where} is not a map", line=line)
            continue
        made = _auth_domain(env, entry, where, line)
        if made is not None:
            found.append(made)
    return tuple(found)


def _auth_domain(env: Environment, entry: Mapping[str, Any], where: str, line: int) -> GitAuthDomain | None:
    variable = names.GIT_AUTH_DOMAINS
    before = len(env.problems)
    for key in entry:
        if key not in _DOMAIN_KEYS:
            env.warnings.append(f'unknown key "{key}" in {where}')

    def text(key: str) -> str:
        if key not in entry:
            return ""
        value = _text(entry[key])
        if value is None:
            env.problem(variable, f"failed to parse GIT_AUTH_DOMAINS: {where}.{key}: expected text", line=line)
        return value or ""

    def secret(key: str) -> Secret | None:
        content = text(key)
        return Secret(content) if content else None

    domains: list[str] = []
    listed = entry.get("domains", [])
    if not isinstance(listed, list):
        if _text(listed):
            env.problem(variable, f"failed to parse GIT_AUTH_DOMAINS: {where}.domains: expected a list", line=line)
        listed = []
    for item in listed:
        domain = _text(item)
        if not domain:
            env.problem(variable, f"failed to parse GIT_AUTH_DOMAINS: {where}.domains: expected texts", line=line)
        else:
            domains.append(domain.strip())
    if not domains:
        env.warnings.append(f"{where} has no domains, so it never matches")
    token, ssh_key = secret("git_access_token"), secret("ssh_private_key")
    app = _app(env, text, where, line)
    if app is not None and (token or ssh_key):
        env.problem(
            variable,
            f"{where}: github app credentials cannot be combined with git_access_token or ssh_private_key",
            line=line,
        )
    made = GitAuthDomain(
        domains=tuple(domains),
        access_token=token,
        access_token_user=text("git_access_token_user"),
        ssh_private_key=ssh_key,
        ssh_private_key_passphrase=secret("ssh_private_key_passphrase"),
        github_app=app,
    )
    return made if len(env.problems) == before else None


def _app(env: Environment, text: Callable[[str], str], where: str, line: int) -> GitHubApp | None:
    variable = names.GIT_AUTH_DOMAINS
    app_id, key, installation = (
        text(name).strip() for name in ("github_app_id", "github_app_private_key", "github_app_installation_id")
    )
    if not app_id and not key and installation in ("", "0"):
        return None
    if not app_id or not key:
        env.problem(variable, f"{where}: both github_app_id and github_app_private_key are required", line=line)
        return None
    try:
        number = names.GITHUB_APP_INSTALLATION_ID.parse(installation or "0")
    except ValueError as error:
        env.problem(variable, f"{where}.github_app_installation_id: {error}", line=line)
        return None
    return GitHubApp(app_id, Secret(key), number)


def trust_policy(env: Environment) -> Mapping[str, Any]:
    variable = names.OCI_TRUST_POLICY
    root = _first(env, variable)
    if root is None:
        return {}
    from reconciler.deployments.document import plain

    policy = plain(root)
    kinds: dict[str, type] = {"enabled": bool, "ignore_tlog": bool, "keyless_identities": list, "public_keys": list}
    if not isinstance(policy, dict):
        env.problem(variable, f"expected a map with the keys {', '.join(kinds)}")
        return {}
    for key, value in policy.items():
        if key not in kinds:
            env.warnings.append(f'unknown key "{key}" in OCI_TRUST_POLICY')
        elif value is not None and not isinstance(value, kinds[key]):
            wanted = "true or false" if kinds[key] is bool else "a list"
            env.problem(variable, f"{key}: expected {wanted}")
    return policy


def webhook_stores(env: Environment) -> tuple[Mapping[str, Any], ...]:
    """The stores of the secret provider `webhook`, from all documents, in their three spellings."""
    variable = names.PROVIDER_WEBHOOK_STORES
    from reconciler.deployments.document import plain

    found: list[Mapping[str, Any]] = []
    for document in _documents(env, variable):
        root = plain(document.root)
        if not isinstance(root, dict):
            env.problem(variable, "expected maps with `stores:` or a single store", line=document.line)
            continue
        stores = root.get("stores", [root] if "url" in root else [])
        if isinstance(stores, dict):
            stores = [{"name": key, **store} if isinstance(store, dict) else store for key, store in stores.items()]
        for store in stores if isinstance(stores, list) else [stores]:
            if not isinstance(store, dict):
                env.problem(variable, "expected every store to be a map", line=document.line)
                continue
            missing = [key for key in ("name", "url", "json_path") if not store.get(key)]
            if missing:
                env.problem(variable, f"a store lacks {', '.join(missing)}", line=document.line)
                continue
            found.append(store)
    stores_by_name = [str(store["name"]) for store in found]
    for name in sorted({name for name in stores_by_name if stores_by_name.count(name) > 1}):
        env.problem(variable, f'store "{name}" is there twice')
    return tuple(found)
