"""What the Docker driver is told about its surroundings. Pure values, made by the composition root."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ENGINE = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """For one registry."""

    username: str
    password: str


def _anonymous(_app_id: str, _image: str) -> Credentials | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """`instance` sets the containers of this data directory apart from everybody else's on the same engine;
    `credentials` gives what an app (by id) shows to the registry of an image, in the clear."""

    data_dir: Path
    instance: str
    address: str = DEFAULT_ENGINE
    volume_roots: tuple[Path, ...] = ()
    credentials: Callable[[str, str], Credentials | None] = _anonymous


def engine_address(configured: str | None) -> str:
    """Where the engine is: what was configured, else DOCKER_HOST, else the default socket."""
    return configured or os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE
