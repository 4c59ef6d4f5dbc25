"""One deployment on a server that is going to die: made, disturbed, and looked at again afterwards."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tests.e2e.platform import Answer, Platform, host_of
from tests.recovery import verify
from tests.recovery.load import call
from tests.support import eventually


class Scene:
    """One deployment on a server that dies at one point; made before, disturbed, looked at afterwards."""

    def __init__(self, platform: Platform, tiny: Path, marks: Path) -> None:
        self.platform, self.tiny, self.marks = platform, tiny, marks
        self.app_id = platform.app()["id"]
        self.id = ""
        self.pids: set[int] = set()
        self._held: list[Answer | None] = []
        self._thread: threading.Thread | None = None

    # ---- before ----

    def deploy(self, env: dict[str, str] | None = None, **spec: Any) -> None:
        given = {"env": {"MARK_FILE": str(self.marks), **(env or {})}, "stop": {"grace_secs": 3}, **spec}
        made = self.platform.deploy(self.tiny, self.app_id, **given)
        self.id = made["id"]
        self.platform.wait(self.id, lambda d: d["current"])
        wanted = made["spec"]["replicas"]
        running = eventually(lambda: len(found := self.running()) == wanted and found)
        self.pids = {task["pid"] for task in running}

    def asleep(self, env: dict[str, str] | None = None, **spec: Any) -> None:
        """Never started yet."""
        given = {"env": {"MARK_FILE": str(self.marks), **(env or {})}, "replicas": 0, **spec}
        self.id = self.platform.deploy(self.tiny, self.app_id, **given)["id"]
        self.platform.wait(self.id, lambda d: d["phase"] == "asleep" and d["current"])

    def waiting(self) -> None:
        """For a build."""
        made = self.platform.api("POST", f"/apps/{self.app_id}/deployments", {"process_type": "tish"})
        self.id = made.json["id"]
        self.reaches(phase="waiting_for_build")

    # ---- the order that is the last one ----

    def create(self, env: dict[str, str] | None = None, **spec: Any) -> None:
        body = {"artifact_id": self.platform.artifact(self.tiny.read_bytes()), **spec}
        body["env"] = {"MARK_FILE": str(self.marks), **(env or {})}
        call(self.platform.api_url, "POST", f"/api/v1/apps/{self.app_id}/deployments", body)

    def order(self, method: str, verb: str = "", body: Any = None) -> None:
        call(self.platform.api_url, method, f"/api/v1/deployments/{self.id}{verb}", body)

    def request(self, path: str = "/pid") -> None:
        """Through the gateway, from a thread: it may be held until long after the crash."""
        host, url = host_of(self.platform.deployment(self.id)), self.platform.gateway_url
        self._thread = threading.Thread(target=lambda: self._held.append(call(url, "GET", path, host=host)))
        self._thread.start()

    # ---- afterwards ----

    def answer(self) -> Answer | None:
        assert self._thread is not None
        self._thread.join(60)
        return self._held[0]

    def newest(self) -> str:
        [newest, *_] = self.platform.api("GET", f"/apps/{self.app_id}/deployments").json["deployments"]
        self.id = newest["id"]
        return self.id

    def running(self) -> list[Any]:
        return self.platform.tasks(self.id, "running")

    def reaches(self, **wanted: Any) -> Any:
        return self.platform.wait(self.id, lambda d: wanted.items() <= d.items())

    def has(self, processes: int, starts: int) -> None:
        """That many processes live, after that many starts, none of a task that was started before."""
        verify.assert_settles(self.platform)
        assert len(verify.living(self.platform)) == processes
        verify.assert_none_started_twice(self.marks)
        assert sum(verify.started(self.marks).values()) == starts, self.marks.read_text()

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(60)
        for deployment in self.platform.api("GET", f"/apps/{self.app_id}/deployments").json["deployments"]:
            if deployment["status"] in ("pending", "running"):
                self.platform.api("POST", f"/deployments/{deployment['id']}/cancel")
            self.platform.wait(deployment["id"], lambda d: d["phase"] == "done")
        eventually(lambda: not verify.living(self.platform))
