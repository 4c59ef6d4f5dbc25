"""Clients that keep a server busy while it is being killed, and the ledger of what it has promised them.

Each client runs on a thread of its own. A connection may be cut when the process that had accepted it dies; it may
never be refused, and what came back with a 2xx is a promise.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.platform import Answer

SEED = int(os.environ.get("PLATFORMD_TEST_SEED") or random.randrange(2**32))
PATIENCE = 40.0  # callers wait in the listen queue for up to 20 s
_CUT = (ConnectionResetError, BrokenPipeError, http.client.HTTPException)


class Broken(AssertionError):
    """A client saw what must never happen."""


def call(base: str, method: str, path: str, body: Any = None, host: str | None = None) -> Answer | None:
    """One request on a new connection; None when it was accepted and then cut."""
    where = urlsplit(base)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/octet-stream" if isinstance(body, bytes) else "application/json"}
    try:
        try:
            connection.connect()
        except OSError as error:
            raise Broken(f"{method} {base}{path} was not let in: {error!r}") from error
        try:
            connection.request(method, path, raw, headers | ({"Host": host} if host else {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        except TimeoutError as error:
            raise Broken(f"{method} {base}{path} was not answered within {PATIENCE} s") from error
        except _CUT:
            return None
    finally:
        connection.close()


@dataclass
class Ledger:
    """What was acknowledged. `wanted` may hold two values while a change of it was cut off unanswered."""

    apps: list[str] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    deployments: dict[str, int] = field(default_factory=dict)
    """Id → its version."""
    cancelled: set[str] = field(default_factory=set)
    wanted: dict[str, set[int]] = field(default_factory=dict)
    """Deployment → the numbers of replicas it may have."""
    answered: int = 0
    cut: int = 0
    served: int = 0
    """Requests answered through the gateway."""

    def summary(self) -> str:
        made = f"{len(self.apps)} apps, {len(self.deployments)} deployments, {len(self.cancelled)} cancelled"
        return f"{self.answered} answers, {self.cut} cut, {self.served} served; {made}"


class Load:
    """Clients of one server at fixed addresses, and what went wrong with any of them."""

    def __init__(self, api_url: str, gateway_url: str, seed: int) -> None:
        self.api_url, self.gateway_url = api_url, gateway_url
        self.ledger = Ledger()
        self.random = random.Random(seed)
        self.gateway_dies = False
        """True: requests in flight through the gateway may be cut; new ones still wait their turn."""
        self.stopping = threading.Event()
        self.broken: list[str] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def add(self, name: str, client: Callable[[Load], None], pause: float = 0.01) -> None:
        """`client` is called again and again, with a short pause."""

        def run() -> None:
            try:
                while not self.stopping.wait(pause):
                    client(self)
            except Exception:
                self.broken.append(f"{name}: {traceback.format_exc()}")

        self._threads.append(threading.Thread(target=run, name=name))

    @contextmanager
    def running(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self.stopping.set()
            for thread in self._threads:
                thread.join(PATIENCE + 5)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"
        self.check()

    def check(self) -> None:
        assert not self.broken, "\n".join(self.broken)

    # ---- calls ----

    def ask(self, method: str, path: str, body: Any = None, allowed: tuple[int, ...] = ()) -> Any:
        """The JSON of a 2xx; None when nothing was promised: cut, still recovering, or of an `allowed` status."""
        answer = call(self.api_url, method, f"/api/v1{path}", body)
        if answer is None:
            with self._lock:
                self.ledger.cut += 1
            return None
        with self._lock:
            self.ledger.answered += 1
        if answer.status in allowed or (answer.status == 503 and answer.json["code"] == "RECOVERING"):
            return None
        if not 200 <= answer.status < 300:
            raise Broken(f"{method} {path}: {answer.status} {answer.text}")
        return answer.json

    def serve(self, host: str, path: str) -> Answer:
        """A request through the gateway, which may never fail; repeated if the gateway died meanwhile."""
        while True:
            answer = call(self.gateway_url, "GET", path, host=host)
            if answer is not None or not self.gateway_dies:
                break
        if answer is None or answer.status != 200:
            raise Broken(f"gateway, {host}{path}: {'cut' if answer is None else answer.text}")
        with self._lock:
            self.ledger.served += 1
        return answer


def visitor(host: str, pid: str) -> Callable[[Load], None]:
    """Asks a steady app who it is: always the same process."""

    def visit(load: Load) -> None:
        seen = load.serve(host, "/pid").text
        if seen != pid:
            raise Broken(f"{host} was process {pid} and is now {seen}")

    return visit


def maker(artifact_id: str) -> Callable[[Load], None]:
    """Creates apps, artifacts and sleeping deployments."""

    def make(load: Load) -> None:
        name = f"made-{load.random.getrandbits(48):x}"
        app = load.ask("POST", "/apps", {"name": name})
        if app is None:
            return
        load.ledger.apps.append(app["id"])
        artifact = load.ask("POST", "/artifacts", {"name": name, "content_type": "application/octet-stream"})
        if artifact is not None:
            path = f"/artifacts/{artifact['id']}/upload"
            if load.ask("POST", path, f"#!/bin/sh\n# {name}\n".encode()) is not None:
                load.ledger.artifacts.append(artifact["id"])
        body = {"artifact_id": artifact_id, "replicas": 0}
        made = load.ask("POST", f"/apps/{app['id']}/deployments", body)
        if made is not None:
            load.ledger.deployments[made["id"]] = made["version"]

    return make


def sleeper(deployment: Mapping[str, Any], host: str) -> Callable[[Load], None]:
    """Wakes an app by a request, then puts it to sleep again."""

    def doze(load: Load) -> None:
        load.serve(host, "/")
        load.ask("POST", f"/deployments/{deployment['id']}/sleep")

    return doze


def scaler(deployment: Mapping[str, Any]) -> Callable[[Load], None]:
    """Asks for one, two or three replicas."""

    def scale(load: Load) -> None:
        replicas = load.random.randint(1, 3)
        wanted = load.ledger.wanted.setdefault(deployment["id"], {deployment["spec"]["replicas"]})
        wanted.add(replicas)
        if load.ask("PATCH", f"/deployments/{deployment['id']}", {"spec": {"replicas": replicas}}):
            wanted.intersection_update({replicas})

    return scale


def churner(app_id: str, artifact_id: str, env: Mapping[str, str]) -> Callable[[Load], None]:
    """Deploys one version after another of the same app, and cancels each, started or not."""

    def churn(load: Load) -> None:
        body = {"artifact_id": artifact_id, "env": dict(env)}
        made = load.ask("POST", f"/apps/{app_id}/deployments", body)
        if made is None:
            return
        load.ledger.deployments[made["id"]] = made["version"]
        load.stopping.wait(load.random.uniform(0, 0.3))
        if load.ask("POST", f"/deployments/{made['id']}/cancel"):
            load.ledger.cancelled.add(made["id"])

    return churn
