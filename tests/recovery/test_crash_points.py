"""serve dies before or after any order is carried out: afterwards there is exactly one of what was wanted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from platformd.domain import effects
from tests.e2e.platform import Answer, Platform, host_of
from tests.recovery import verify
from tests.recovery.load import call
from tests.support import eventually

DEATH_SECS = 20.0
PORT = 18471  # outside the range of ports that tasks are given


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


@dataclass(frozen=True)
class Story:
    points: tuple[type, ...]
    before: Callable[[Scene], None]
    last: Callable[[Scene], None] | None
    """None: it dies while it starts."""
    after: Callable[[Scene], None]


def _one_runs(scene: Scene) -> None:
    scene.newest()
    scene.reaches(status="running", phase="ready", current=True)
    scene.has(processes=1, starts=1)


def _the_request_was_served_by_one(scene: Scene) -> None:
    answer = scene.answer()
    assert answer is not None and answer.status == 200, answer
    scene.reaches(phase="ready")
    scene.has(processes=1, starts=1)


def _first_one_stays(scene: Scene) -> None:
    scene.reaches(phase="ready", tasks_ready=1)
    scene.has(processes=1, starts=2)
    [task] = scene.running()
    assert (task["slot"], task["restarts"]) == (0, 0) and task["pid"] in scene.pids


def _sleeps_and_wakes_once(scene: Scene) -> None:
    scene.reaches(phase="asleep")
    scene.has(processes=0, starts=1)
    assert scene.platform.get(host_of(scene.platform.deployment(scene.id))).status == 200
    scene.has(processes=1, starts=2)


def _started_again_once(scene: Scene) -> None:
    eventually(lambda: {task["pid"] for task in scene.running()} - scene.pids)
    scene.reaches(phase="ready")
    scene.has(processes=1, starts=2)


def _held_were_told(scene: Scene) -> None:
    """By the server that died, or by the next: whose wake fails as well, or which still backs off."""
    answer = scene.answer()
    assert answer is not None and answer.status in (502, 503), answer
    verify.assert_settles(scene.platform)
    assert not verify.living(scene.platform)
    verify.assert_none_started_twice(scene.marks)


def _nothing_left(scene: Scene) -> None:
    scene.reaches(status="cancelled", phase="done")
    scene.has(processes=0, starts=1)
    assert scene.platform.get(host_of(scene.platform.deployment(scene.id))).status == 503


def _newer_took_over(scene: Scene) -> None:
    old, new = scene.id, scene.newest()
    assert new != old
    scene.reaches(status="running", phase="ready", current=True)
    scene.platform.wait(old, lambda d: d["phase"] == "asleep" and d["superseded_by"] == new)
    scene.has(processes=1, starts=2)


def _yielded_to_one_that_never_listens(scene: Scene) -> None:
    scene.deploy(networking={"port": PORT})
    older = scene.id
    scene.create(env={"NEVER": "1"}, networking={"port": PORT})
    scene.newest()
    eventually(lambda: scene.platform.tasks(scene.id, "starting"))
    scene.id = older
    scene.reaches(phase="asleep")


def _comes_back_for_the_request(scene: Scene) -> None:
    older, newer = scene.id, scene.newest()
    scene.platform.api("POST", f"/deployments/{newer}/cancel")
    scene.id = older
    answer = scene.answer()
    assert answer is not None and answer.status == 200, answer
    scene.reaches(phase="ready", current=True)
    scene.has(processes=1, starts=3)


def _has_its_port_back(scene: Scene) -> None:
    older, newer = scene.id, scene.newest()
    scene.reaches(status="failed", phase="done")
    scene.id = older
    scene.reaches(phase="ready", current=True)
    scene.has(processes=1, starts=3)
    assert newer != older


def _idle(scene: Scene) -> None:
    assert scene.platform.get(host_of(scene.platform.deployment(scene.id))).status == 200


STORIES = {
    "deploy": Story(
        (effects.StartTask, effects.LaunchTask, effects.Report, effects.ClaimCurrent),
        before=lambda scene: None,
        last=lambda scene: scene.create(),
        after=_one_runs,
    ),
    "wake": Story(
        (effects.StartTask, effects.LaunchTask, effects.Report),
        before=Scene.asleep,
        last=Scene.request,
        after=_the_request_was_served_by_one,
    ),
    "scale down": Story(
        (effects.StopTask, effects.CloseInGateway, effects.Signal, effects.Sweep, effects.Forget),
        before=lambda scene: scene.deploy(replicas=2),
        last=lambda scene: scene.order("PATCH", body={"spec": {"replicas": 1}}),
        after=_first_one_stays,
    ),
    "idle": Story(
        (effects.CloseIdle, effects.StopTask),
        before=lambda scene: scene.asleep(idle_timeout_secs=1),
        last=_idle,
        after=_sleeps_and_wakes_once,
    ),
    "crash": Story(
        (effects.SystemLine, effects.StartTask),
        before=lambda scene: scene.deploy(cold_start_enabled=False),
        last=lambda scene: scene.request("/exit?7"),
        after=_started_again_once,
    ),
    "failed wake": Story(
        (effects.FailHeld,),
        before=lambda scene: scene.asleep(env={"EXIT_CODE": "3"}),
        last=Scene.request,
        after=_held_were_told,
    ),
    "cancel": Story(
        (effects.ReleaseCurrent,),
        before=Scene.deploy,
        last=lambda scene: scene.order("POST", "/cancel"),
        after=_nothing_left,
    ),
    "stubborn": Story(
        (effects.Kill,),
        before=lambda scene: scene.deploy(env={"IGNORE_TERM": "1"}, stop={"grace_secs": 0.3}),
        last=lambda scene: scene.order("POST", "/cancel"),
        after=_nothing_left,
    ),
    "supersede": Story(
        (effects.ClaimCurrent,),
        before=Scene.deploy,
        last=lambda scene: scene.create(),
        after=_newer_took_over,
    ),
    "restart": Story(
        (effects.AskTask,),
        before=Scene.deploy,
        last=None,
        after=_one_runs,
    ),
    "port": Story(
        (effects.AskForPort,),
        before=lambda scene: scene.deploy(networking={"port": PORT}),
        last=lambda scene: scene.create(networking={"port": PORT}),
        after=_newer_took_over,
    ),
    "port back": Story(
        (effects.ReturnPort,),
        before=lambda scene: scene.deploy(networking={"port": PORT}),
        last=lambda scene: scene.create(
            env={"EXIT_CODE": "3"}, networking={"port": PORT}, restart={"policy": "never"}
        ),
        after=_has_its_port_back,
    ),
    "port wanted": Story(
        (effects.AskForReturn,),
        before=_yielded_to_one_that_never_listens,
        last=Scene.request,
        after=_comes_back_for_the_request,
    ),
}
CASES = [
    (name, f"{when}:{point.__name__}")
    for name, story in STORIES.items()
    for point in story.points
    for when in ("before", "after")
]


@pytest.fixture
def scene(server: Platform, tiny: Path, common: Path) -> Iterator[Scene]:
    scene = Scene(server, tiny, common / "marks")
    yield scene
    if server.process is None or server.process.poll() is not None:
        server.kill()
        server.start()
    scene.close()


def test_every_effect_has_its_crash() -> None:
    tried = {point for story in STORIES.values() for point in story.points}
    assert tried == {*get_args(effects.DeploymentEffect), *get_args(effects.TaskEffect)}


@pytest.mark.parametrize(("name", "point"), CASES)
def test_dead_at(scene: Scene, name: str, point: str) -> None:
    story, platform = STORIES[name], scene.platform
    story.before(scene)
    platform.kill()
    platform.launch(PLATFORMD_CRASH_AT=point)
    if story.last is not None:
        platform.await_ready()
        story.last(scene)
    assert platform.process is not None
    assert platform.process.wait(DEATH_SECS) == -signal.SIGKILL
    platform.kill()
    platform.start()
    story.after(scene)
