"""What is to stay secret is sealed here before it is stored, and opened only where it is used.

Called by whoever stores a secret (handlers, builds) and by whoever needs it in the clear (a task's launch, the Docker
driver, git). Any thread: a vault never changes once it is open. The key lies in a file of its own beside the database,
so that neither the database nor a copy of it reveals anything.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from platformd.durable import sync_folder
from platformd.errors import Unavailable

MASK = "***"
KEY_FILE = Path("keys") / "secrets.key"
_PREFIX = "sealed1"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_RETRY_SECS = 60


class SecretUnreadable(Unavailable):
    """A stored secret cannot be opened, or none can be sealed; says which file and what to do."""

    code = "SECRET_UNREADABLE"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=_RETRY_SECS)


class Vault:
    """Seals text with the key of one data directory. Text sealed for one context opens for no other."""

    def __init__(self, path: Path, key: bytes | None, trouble: str = "") -> None:
        self.path = path
        self._trouble = trouble
        self._cipher = AESGCM(key) if key else None
        self._key_id = hashlib.sha256(b"platformd key id" + key).hexdigest()[:8] if key else ""

    @classmethod
    def open(cls, data_dir: Path) -> Vault:
        """The vault of a data directory; a missing key is made. A key that cannot be read does not stop the server:
        the vault then refuses each secret with what is wrong."""
        path = data_dir / KEY_FILE
        try:
            return cls(path, _read(path) or _make(path))
        except (OSError, ValueError) as error:
            return cls(path, None, str(error))

    def seal(self, text: str, *, context: str) -> str:
        """`text` as ASCII that may be stored; `context` names what it belongs to, such as "env app/<id> NAME"."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._usable().encrypt(nonce, text.encode(), context.encode())
        return f"{_PREFIX}:{self._key_id}:{base64.b64encode(sealed).decode()}"

    def unseal(self, sealed: str, *, context: str) -> str:
        """The text that was sealed for this context; `SecretUnreadable` when that cannot be had."""
        cipher = self._usable()
        prefix, _, rest = sealed.partition(":")
        key_id, _, body = rest.partition(":")
        if prefix != _PREFIX:
            raise SecretUnreadable(f"what is stored for {context} is no sealed secret; set the value anew")
        if key_id != self._key_id:
            raise SecretUnreadable(
                f"the secret of {context} was sealed with another key ({key_id}) than that of {self.path} "
                f"({self._key_id}); put the key file back from a backup and start again, or set the value anew"
            )
        try:
            raw = base64.b64decode(body, validate=True)
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise SecretUnreadable(
                f"the secret of {context} was damaged, or moved here from elsewhere; set the value anew"
            ) from None

    def _usable(self) -> AESGCM:
        if self._cipher is None:
            raise SecretUnreadable(
                f"the key of all secrets, {self.path}, cannot be used ({self._trouble}); put it back from a backup "
                "with mode 0600, owned by the user of the server, and start again"
            )
        return self._cipher


def _read(path: Path) -> bytes | None:
    """The key, None when there is no file; ValueError for a file that holds no key."""
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    key = bytes.fromhex(text.strip())
    if len(key) != _KEY_BYTES:
        raise ValueError(f"it holds {len(key)} bytes instead of {_KEY_BYTES}")
    path.chmod(0o600)
    return key


def _make(path: Path) -> bytes:
    """A new key, durable before anything is sealed with it; whoever makes one at the same time wins or loses whole."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(fd)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    for folder in (path.parent, path.parent.parent):
        sync_folder(folder)
    key = _read(path)
    assert key is not None
    return key
