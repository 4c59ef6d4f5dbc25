"""A real server in a process of its own, driven over HTTP as its users drive it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.support import eventually

_names = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Platform:
    """`platformd serve` on free ports over one data directory; may be killed and started again.

    Of other kinds of tasks, starts and ends may take `start_secs` longer, and of crowds there is one in `share`."""

    start_secs = 0.0
    share = 1
    program: tuple[str, ...] = ("-m", "platformd")

    def __init__(self, data_dir: Path, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.flags = flags
        no_engine = {"PLATFORMD_DOCKER_HOST": f"unix://{data_dir}.no-engine"}  # none of this machine's
        self.env = {**os.environ, **no_engine, **(env or {})}
        self.process: subprocess.Popen[str] | None = None
        self.api_url = self.gateway_url = ""
        self.log = data_dir.parent / f"{data_dir.name}.log"

    # ---- the process ----

    def start(self, timeout: float = 30.0, **env: str) -> Platform:
        self.launch(**env)
        return self.await_ready(timeout)

    def launch(self, **env: str) -> None:
        """Begin to start: what may be killed at any instant from here on."""
        command = [sys.executable, *self.program, "serve", "--data-dir", str(self.data_dir)]
        command += ["--port", "0", "--gateway-port", "0", "--log-format", "json", *self.flags]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**self.env, **env}
            )

    def await_ready(self, timeout: float = 30.0) -> Platform:
        line = self._first_line(timeout)
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        self.api_url, self.gateway_url = words["api"], words["gateway"]
        return self

    def _first_line(self, timeout: float) -> str:
        assert self.process is not None and self.process.stdout is not None
        stream = self.process.stdout
        os.set_blocking(stream.fileno(), False)
        said = ""

        def line() -> str | None:
            nonlocal said
            with contextlib.suppress(TypeError):
                said += stream.read() or ""
            if self.process is not None and self.process.poll() is not None and "\n" not in said:
                raise RuntimeError(
                    f"serve ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
                )
            return said if "\n" in said else None

        try:
            return eventually(line, timeout)
        except AssertionError:
            raise AssertionError(f"not ready:\n{self.log.read_text()[-3000:]}") from None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """kill -9 of serve alone."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def terminate(self, timeout: float = 30.0) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reap(timeout)

    def _reap(self, timeout: float = 30.0) -> int:
        assert self.process is not None
        code = self.process.wait(timeout)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return code

    def destroy(self) -> None:
        """Nothing of it stays: serve, keeper, gateway, tasks."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self._reap()
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                process.kill()
        eventually(lambda: not self.family(), 10)

    def family(self) -> list[psutil.Process]:
        """Every process that belongs to this data directory."""
        mine = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.pid != os.getpid() and self._is_ours(process):
                    mine.append(process)
        return mine

    def _is_ours(self, process: psutil.Process) -> bool:
        """By its command line, its working directory, or, should it have left that, by its task's marker."""
        if any(str(self.data_dir) in word for word in [*process.cmdline(), process.cwd()]):
            return True
        task = process.environ().get("TASK_ID", "")
        return bool(task) and (self.data_dir / "run" / task).is_dir()

    def keeper_pid(self) -> int:
        """Of the keeper that holds the file; a new one has emptied it for an instant before it writes its own."""
        return int(eventually((self.data_dir / "run" / "keeper.pid").read_text))

    # ---- HTTP ----

    def api(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A call of the API; a body that is not bytes goes as JSON. `path` is below /api/v1."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} if not isinstance(body, bytes) else {}
        return self._call(self.api_url, method, f"/api/v1{path}", raw, {**given, **(headers or {})})

    def readyz(self) -> Any:
        """What it says of its parts, well or not."""
        return self._call(self.api_url, "GET", "/readyz", None, {}).json

    def get(
        self, host: str, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Answer:
        """A request through the gateway to `host` (no port)."""
        return self._call(self.gateway_url, method, path, body, {"Host": host, **headers})

    def _call(
        self, base: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        where = urlsplit(base)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    # ---- what tests do all the time ----

    def app(self, name: str | None = None) -> Any:
        name = name or f"app-{next(_names)}"
        answer = self.api("POST", "/apps", {"name": name})
        assert answer.status == 201, answer.text
        return answer.json

    def artifact(self, content: bytes, name: str = "binary") -> str:
        made = self.api("POST", "/artifacts", {"name": name, "content_type": "application/octet-stream"})
        assert made.status == 201, made.text
        done = self.api("POST", f"/artifacts/{made.json['id']}/upload", content)
        assert done.status in (200, 201), done.text
        return str(made.json["id"])

    def deploy(self, content: bytes | Path, app_id: str | None = None, wait: bool = True, **spec: Any) -> Any:
        """A deployment of an executable, by default waited for until it runs."""
        raw = content if isinstance(content, bytes) else content.read_bytes()
        app_id = app_id or self.app()["id"]
        body = {"artifact_id": self.artifact(raw), **spec}
        answer = self.api("POST", f"/apps/{app_id}/deployments", body)
        assert answer.status == 201, answer.text
        return self.wait(answer.json["id"], lambda d: d["status"] != "pending") if wait else answer.json

    def deployment(self, deployment_id: str) -> Any:
        answer = self.api("GET", f"/deployments/{deployment_id}")
        assert answer.status == 200, answer.text
        return answer.json

    def wait(self, deployment_id: str, met: Callable[[Any], bool], timeout: float = 20.0) -> Any:
        seen: Any = None

        def look() -> Any:
            nonlocal seen
            seen = self.deployment(deployment_id)
            return seen if met(seen) else None

        try:
            return eventually(look, timeout)
        except AssertionError:
            raise AssertionError(f"not met within {timeout} s: {json.dumps(seen, indent=1)}") from None

    def sleep(self, deployment_id: str) -> Any:
        """Put to sleep and wait until it is."""
        answer = self.api("POST", f"/deployments/{deployment_id}/sleep")
        assert answer.status == 202, answer.text
        return self.wait(deployment_id, lambda d: d["phase"] == "asleep")

    def ended_tasks(self, deployment_id: str) -> list[Any]:
        """Its tasks when all have ended; rows follow what happens by some milliseconds."""

        def ended() -> list[Any] | None:
            found = self.tasks(deployment_id)
            return found if all(task["state"] in ("stopped", "failed") for task in found) else None

        return eventually(ended)

    def tasks(self, deployment_id: str, *states: str) -> list[Any]:
        """The newest hundred tasks of a deployment, or the newest hundred in each of `states`."""
        if not states:
            found: list[Any] = self.api("GET", f"/deployments/{deployment_id}/tasks?page_size=100").json[
                "data"
            ]
            return found
        queries = [f"/tasks?deployment_id={deployment_id}&state={state}&page_size=100" for state in states]
        return [task for query in queries for task in self.api("GET", query).json["data"]]


def host_of(deployment: Mapping[str, Any]) -> str:
    """The hostname of a deployment's own address."""
    return urlsplit(deployment["preview_url"]).hostname or ""
