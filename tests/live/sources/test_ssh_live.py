"""SSH: keys with and without a passphrase, host keys remembered and never exchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.sources import GitCredentials
from reconciler.sources.errors import AuthenticationFailed, HostKeyChanged
from tests.live.sources.conftest import MakeSource
from tests.support.git_servers import GitSSHServer


async def test_a_key_opens_a_repository_and_the_host_is_remembered(
    ssh_server: GitSSHServer, source: MakeSource, data: Path
) -> None:
    repository = ssh_server.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    shop = source(repository.url, credentials=GitCredentials(ssh_key=ssh_server.client_key))
    assert ((await shop.checkout(await shop.resolve())).path / "a").read_text() == "1"
    known = data / ".git-store/ssh/known_hosts"
    assert f"[127.0.0.1]:{ssh_server.port}" in known.read_text()
    again = source(repository.url, credentials=GitCredentials(ssh_key=ssh_server.client_key))
    assert await again.resolve() == commit
    for file in (data / ".git-store/ssh").glob("key-*"):
        assert file.stat().st_mode & 0o077 == 0


async def test_a_changed_host_key_is_refused(ssh_server: GitSSHServer, source: MakeSource) -> None:
    repository = ssh_server.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    shop = source(repository.url, credentials=GitCredentials(ssh_key=ssh_server.client_key))
    assert await shop.resolve() == commit
    ssh_server.change_host_key()
    for _ in range(2):
        with pytest.raises(HostKeyChanged, match="is not the one known before"):
            await shop.resolve()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
async def test_a_key_with_a_passphrase(ssh_server: GitSSHServer, source: MakeSource, data: Path, kind: str) -> None:
    passphrase = 'open sesame\'s "$x"'
    key = ssh_server.make_key("locked", passphrase, kind)
    ssh_server.accept("locked")
    repository = ssh_server.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    shop = source(repository.url, credentials=GitCredentials(ssh_key=key, ssh_passphrase=passphrase))
    assert await shop.resolve() == commit
    with pytest.raises(AuthenticationFailed, match="SSH_PRIVATE_KEY_PASSPHRASE does not open"):
        await source(repository.url, credentials=GitCredentials(ssh_key=key, ssh_passphrase="wrong")).resolve()
    with pytest.raises(AuthenticationFailed, match="SSH_PRIVATE_KEY_PASSPHRASE is missing"):
        await source(repository.url, credentials=GitCredentials(ssh_key=key)).resolve()
    assert not list((data / ".git-store/ssh").glob("key-*.*"))


async def test_an_encrypted_pkcs8_key(ssh_server: GitSSHServer, source: MakeSource) -> None:
    import subprocess

    path = ssh_server.root / "pem"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-m", "PKCS8", "-N", "geheim", "-f", str(path)], check=True, timeout=60
    )
    ssh_server.accept("pem")
    assert "ENCRYPTED PRIVATE KEY" in path.read_text()
    repository = ssh_server.create_repo("acme/shop")
    commit = repository.commit({"a": "1"})
    credentials = GitCredentials(ssh_key=path.read_text(), ssh_passphrase="geheim")
    assert await source(repository.url, credentials=credentials).resolve() == commit


async def test_keys_that_do_not_fit(ssh_server: GitSSHServer, source: MakeSource) -> None:
    repository = ssh_server.create_repo("acme/shop")
    repository.commit({"a": "1"})
    with pytest.raises(AuthenticationFailed, match="requires SSH_PRIVATE_KEY to be set"):
        await source(repository.url).resolve()
    stranger = ssh_server.make_key("stranger")
    with pytest.raises(AuthenticationFailed, match="does not accept the SSH key"):
        await source(repository.url, credentials=GitCredentials(ssh_key=stranger)).resolve()
    with pytest.raises(AuthenticationFailed, match="cannot be read: expected an OpenSSH or PEM private key"):
        await source(repository.url, credentials=GitCredentials(ssh_key="nonsense")).resolve()
