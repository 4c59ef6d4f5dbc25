"""The end-to-end tests' server, deploying containers where they say executable: the same stories, told by an engine."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.docker.engine import DockerEngine
from tests.e2e.platform import Platform

_PYTHON = b"#!/usr/bin/env python3"
_SHARED = re.compile(r"/tmp/platformd-\w+")
_HOST_PYTHON = {"/usr": "/usr", "/usr/lib": "/lib", "/usr/lib64": "/lib64"}


class ContainerPlatform(Platform):
    """An executable becomes an image of itself and busybox; folders that it is told of become volumes. Scripts in
    Python see this machine's."""

    start_secs = 8.0
    share = 10

    def __init__(self, data_dir: Path, engine: DockerEngine) -> None:
        env = {"PLATFORMD_DOCKER_HOST": engine.address}
        super().__init__(data_dir, "--volume-root", "/tmp", "--volume-root", "/usr", env=env)
        self.engine = engine

    def deploy(self, content: bytes | Path, app_id: str | None = None, wait: bool = True, **spec: Any) -> Any:
        raw = content if isinstance(content, bytes) else content.read_bytes()
        body = {"stop": {"grace_secs": 3}, **self.runs(raw, spec.get("env") or {}), **spec}
        made = self.api("POST", f"/apps/{app_id or self.app()['id']}/deployments", body)
        assert made.status == 201, made.text
        found = made.json
        return self.wait(found["id"], lambda d: d["status"] != "pending", 60) if wait else found

    def runs(self, raw: bytes, env: Mapping[str, str]) -> dict[str, Any]:
        """What a deployment's body says to run that executable."""
        told = " ".join(env.values()) + (raw.decode() if raw.startswith(b"#!") else "")
        volumes = {place: place for place in _SHARED.findall(told)}
        if raw.startswith(_PYTHON):
            volumes |= _HOST_PYTHON
        return {
            "process_type": "docker",
            "image": self._image(raw),
            "volumes": [{"host_path": host, "container_path": inside} for host, inside in volumes.items()],
        }

    def _image(self, raw: bytes) -> str:
        name = f"platformd-test/story:{hashlib.sha256(raw).hexdigest()[:12]}"
        with self.engine.client() as client:
            if client.images(name=name):
                return name
        files: dict[str, Path | bytes] = {"app": raw}
        if not raw.startswith(_PYTHON):  # whose folders are volumes
            busybox = shutil.which("busybox")
            if busybox is None:
                pytest.skip("not installed: busybox")
            files |= {f"bin/{applet}": Path(busybox) for applet in ("sh", "sleep")}
        self.engine.make_image(name, files, 'CMD ["/app"]', "ENV ANY=1", "ENV TERM_MS=0", "EXPOSE 8080")
        return name
