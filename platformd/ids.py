"""Identifiers: every object's id is a UUID string.

Called from everywhere; pure apart from its random sources. Safe on any thread. Ids are unique, not secret: asking the
operating system for each would hand the interpreter to another thread each time.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import uuid

_CANONICAL = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")

_random = random.Random()  # begins with entropy of the operating system
os.register_at_fork(after_in_child=_random.seed)


def new_id() -> str:
    """A fresh random UUID in its canonical 36-character form."""
    return str(uuid.UUID(int=_random.getrandbits(128), version=4))


def is_id(text: str) -> bool:
    """True when `text` is a UUID in canonical form (any case)."""
    return _CANONICAL.fullmatch(text) is not None


def new_secret(prefix: str) -> str:
    """`prefix`, an underscore and 256 random bits as 43 characters that need no quoting anywhere."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"
