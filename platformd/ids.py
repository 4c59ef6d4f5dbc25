"""Identifiers: every object's id is a UUID string.

Called from everywhere; pure apart from the operating system's random source. Safe on any thread.
"""

from __future__ import annotations

import re
import secrets
import uuid

_CANONICAL = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def new_id() -> str:
    """A fresh random UUID in its canonical 36-character form."""
    return str(uuid.uuid4())


def is_id(text: str) -> bool:
    """True when `text` is a UUID in canonical form (any case)."""
    return _CANONICAL.fullmatch(text) is not None


def new_secret(prefix: str) -> str:
    """`prefix`, an underscore and 256 random bits as 43 characters that need no quoting anywhere."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"
