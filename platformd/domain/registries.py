"""Which registry an image comes from, as the engine reads its name. Pure."""

from __future__ import annotations

DEFAULT_REGISTRY = "docker.io"
_ALIASES = {"index.docker.io": DEFAULT_REGISTRY, "registry-1.docker.io": DEFAULT_REGISTRY}


def registry_of(image: str) -> str:
    """The host of an image's name: its first part if that looks like one, else the engine's default."""
    first, slash, _ = image.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return canonical(first) if named else DEFAULT_REGISTRY


def canonical(host: str) -> str:
    """One name for each registry, so that credentials are found by any of its names."""
    return _ALIASES.get(host.lower(), host.lower())


def sealed_for(app_id: str, host: str) -> str:
    """What a password's ciphertext belongs to."""
    return f"registry {host} of app {app_id}"
