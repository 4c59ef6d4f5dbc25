"""Who sent a delivery: the one who knows an app's webhook secret. Pure; any thread."""

from __future__ import annotations

import hashlib
import hmac

SCHEME = "sha256="


def signed_by(secret: str, body: bytes, signature: str) -> bool:
    """Whether `signature`, an `X-Hub-Signature-256` header, is that of the raw `body` under `secret`. An empty secret
    signs nothing. Takes as long for a wrong one as for a right one."""
    if not secret or not signature.startswith(SCHEME):
        return False
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.removeprefix(SCHEME).encode(errors="replace"))
