"""The settings of the agent: read once from the environment and from files, all checked.

`load_settings(os.environ)` returns frozen `Settings` or raises `SettingsError` with every
problem at once. `variables` is the list of what there is, `docs/settings.md` made from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.settings.model import (
    CertificateSettings,
    DockerSettings,
    GitAuthDomain,
    GitHubApp,
    GitSettings,
    HttpSettings,
    NotifySettings,
    OciSettings,
    Problem,
    SecretProviderSettings,
    Settings,
    SettingsError,
)
from reconciler.settings.secret import Secret

if TYPE_CHECKING:
    from reconciler.settings.loading import load_settings

__all__ = [
    "CertificateSettings",
    "DockerSettings",
    "GitAuthDomain",
    "GitHubApp",
    "GitSettings",
    "HttpSettings",
    "NotifySettings",
    "OciSettings",
    "Problem",
    "Secret",
    "SecretProviderSettings",
    "Settings",
    "SettingsError",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    # Whoever only handles settings does not pay for reading them.
    if name == "load_settings":
        from reconciler.settings.loading import load_settings

        return load_settings
    raise AttributeError(name)
