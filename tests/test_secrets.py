"""The vault: what it seals opens only with its key and for what it was sealed for; what a bad key file means."""

import threading
from pathlib import Path

import pytest

from platformd.secrets import KEY_FILE, SecretUnreadable, Vault

CONTEXT = "env app/1 TOKEN"


def test_sealed_text_opens_again_and_shows_nothing(tmp_path: Path) -> None:
    sealed = Vault.open(tmp_path).seal("päss word", context=CONTEXT)
    assert "word" not in sealed and sealed.isascii()
    assert Vault.open(tmp_path).unseal(sealed, context=CONTEXT) == "päss word"


def test_the_same_text_is_sealed_differently_each_time(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path)
    assert vault.seal("a", context=CONTEXT) != vault.seal("a", context=CONTEXT)


def test_the_key_is_in_a_file_for_its_owner_only(tmp_path: Path) -> None:
    Vault.open(tmp_path)
    key = tmp_path / KEY_FILE
    assert key.stat().st_mode & 0o777 == 0o600 and key.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in key.parent.iterdir()] == [key.name]


def test_a_key_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    Vault.open(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o644)
    Vault.open(tmp_path)
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_secret_moved_to_another_object_does_not_open(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path)
    sealed = vault.seal("a", context=CONTEXT)
    with pytest.raises(SecretUnreadable, match="moved here from elsewhere"):
        vault.unseal(sealed, context="env app/2 TOKEN")


@pytest.mark.parametrize("position", [0, 8, 20, -3])
def test_a_changed_secret_does_not_open(tmp_path: Path, position: int) -> None:
    vault = Vault.open(tmp_path)
    sealed = list(vault.seal("a", context=CONTEXT))
    sealed[position] = "A" if sealed[position] != "A" else "B"
    with pytest.raises(SecretUnreadable):
        vault.unseal("".join(sealed), context=CONTEXT)


@pytest.mark.parametrize("text", ["", "plain", "sealed1:", "sealed1:aa", "sealed1:aa:%%%"])
def test_what_was_never_sealed_does_not_open(tmp_path: Path, text: str) -> None:
    with pytest.raises(SecretUnreadable):
        Vault.open(tmp_path).unseal(text, context=CONTEXT)


def test_another_key_is_named_with_what_to_do(tmp_path: Path) -> None:
    sealed = Vault.open(tmp_path).seal("a", context=CONTEXT)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(SecretUnreadable, match="sealed with another key") as caught:
        Vault.open(tmp_path).unseal(sealed, context=CONTEXT)
    assert str(tmp_path / KEY_FILE) in str(caught.value) and "backup" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"zz", b"ab" * 31, b"\xff\xfe"])
def test_a_damaged_key_refuses_secrets_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    key = tmp_path / KEY_FILE
    key.parent.mkdir()
    key.write_bytes(content)
    vault = Vault.open(tmp_path)
    with pytest.raises(SecretUnreadable, match="cannot be used"):
        vault.seal("a", context=CONTEXT)
    with pytest.raises(SecretUnreadable, match=r"secrets\.key"):
        vault.unseal("sealed1:aa:bb", context=CONTEXT)
    assert key.read_bytes() == content


def test_vaults_opened_at_once_share_one_key(tmp_path: Path) -> None:
    vaults: list[Vault] = []
    threads = [threading.Thread(target=lambda: vaults.append(Vault.open(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealed = vaults[0].seal("a", context=CONTEXT)
    assert {vault.unseal(sealed, context=CONTEXT) for vault in vaults} == {"a"}
