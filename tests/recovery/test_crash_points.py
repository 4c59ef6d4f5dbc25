"""serve dies before or after any order is carried out: afterwards there is exactly one of what was wanted."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from platformd.domain import effects
from tests.e2e.platform import Platform, host_of
from tests.recovery import verify
from tests.recovery.scene import Scene
from tests.support import eventually

DEATH_SECS = 20.0
PORT = 18471  # outside the range of ports that tasks are given


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


def _frozen(scene: Scene) -> None:
    scene.deploy(sleep={"mode": "freeze"})
    scene.platform.sleep(scene.id)


def _the_same_one_answers(scene: Scene) -> None:
    """Frozen and thawed, or never frozen: what is found running after a crash counts as awake."""
    assert scene.platform.get(host_of(scene.platform.deployment(scene.id))).status == 200
    scene.has(processes=1, starts=1)


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
    "freeze": Story(
        (effects.FreezeTask, effects.Freeze),
        before=lambda scene: scene.deploy(sleep={"mode": "freeze"}),
        last=lambda scene: scene.order("POST", "/sleep"),
        after=_the_same_one_answers,
    ),
    "thaw": Story(
        (effects.ThawTask, effects.Thaw),
        before=_frozen,
        last=Scene.request,
        after=_the_request_was_served_by_one,
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
    "cancel what waits": Story(
        (effects.AbandonBuilds,),
        before=Scene.waiting,
        last=lambda scene: scene.order("POST", "/cancel"),
        after=lambda scene: scene.reaches(status="cancelled", phase="done"),
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


# Questions and repetitions: they order nothing that could be left undone or done twice.
HARMLESS = {effects.LookBusy, effects.RouteAgain}


def test_every_effect_has_its_crash() -> None:
    tried = {point for story in STORIES.values() for point in story.points}
    assert tried | HARMLESS == {*get_args(effects.DeploymentEffect), *get_args(effects.TaskEffect)}


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
