"""The actor of one build: owns its turn, its work, its deadline, and what its success is for.

Hears commands from handlers, its turn from the queue, facts from the workshop, from the driver that runs its command
and from its timer. Made anew, after a restart of the service or a failure of its own, it ends what it had begun and
begins again. Runs in turns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from actors.build_turns import BuildTurns
from actors.messages import Key, Lane, ShuttingDown
from actors.snapshot import SnapshotActor
from actors.world import World, fault_point
from platformd import clock
from platformd.builds import Workshop
from platformd.domain.build import happenings
from platformd.domain.build import messages as m
from platformd.domain.build.orders import Delivered, DeployBuild, SaveBuild
from platformd.domain.build.state import Build, Phase
from platformd.domain.build.transitions import step
from platformd.domain.build.verdict import verdict_of
from platformd.domain.deployment import happenings as deployments
from platformd.domain.deployment.state import Deployment
from platformd.domain.effects import Moment
from platformd.domain.machine import Step
from platformd.domain.notice import Notice
from platformd.domain.snapshot import Reason
from platformd.domain.spec import DeploymentSpec, Networking, ProcessType, Protocol, Resources, StopPolicy
from platformd.domain.task import Task
from platformd.drivers.base import Driver, LaunchOrder
from platformd.errors import NoSpace, NotFound, PlatformError, Unavailable
from platformd.store import building

# Both streams as one, so that they stay in order and the last lines of either are those that are remembered.
_IN_TREE = 'cd "$1" && exec /bin/sh -ec "$2" 1>&2'
_CPU = "1"


class BuildRuns:
    """Which processes of the native driver are those of builds. Any thread."""

    def __init__(self) -> None:
        self._builds: dict[str, str] = {}
        self._closed = False

    def note(self, run_id: str, build_id: str) -> None:
        self._builds[run_id] = build_id

    def forget(self, run_id: str) -> None:
        self._builds.pop(run_id, None)

    def close(self) -> None:
        """Builds hear nothing more: how their processes end from here on is nothing that they did."""
        self._closed = True

    def addressee(self, task_id: str) -> Key:
        """Who hears facts about the process that the driver knows by this id."""
        build_id = self._builds.get(task_id)
        return Key("task", task_id) if build_id is None or self._closed else Key("build", build_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildYard:
    """What build actors act upon beside the world. `introduce` makes a new deployment known, `domain` is where its
    address is made under; a command may use `memory` bytes."""

    workshop: Workshop
    turns: BuildTurns
    introduce: Callable[[Deployment], None]
    domain: str
    memory: int
    runs: BuildRuns = field(default_factory=BuildRuns)


class BuildActor(SnapshotActor[Build]):
    COMMANDS = (m.Cancel,)

    def __init__(self, key: Key, world: World, yard: BuildYard) -> None:
        super().__init__(key, world)
        self._yard = yard

    def load(self) -> Build:
        build = self.world.store.build(self.key.id)
        if build is None:
            raise NotFound(f"there is no build {self.key.id}", code="BUILD_NOT_FOUND")
        return build

    def on_activate(self) -> None:
        self.begin(self.load())
        if not self.may_passivate():
            self.tell_self(m.Interrupted())

    def step(self, state: Build, event: object, moment: Moment) -> Step[Build, m.BuildEffect]:
        return step(state, event, moment)

    def promises(self, event: object, before: Build, after: Build, /) -> bool:
        """Nothing of a phase begins before it is durable that it may have begun."""
        return after.phase is not before.phase or isinstance(event, self.COMMANDS)

    def carry_out(self, state: Build, effect: m.BuildEffect) -> None:
        fault_point(type(effect).__name__, state.app_name)
        yard = self._yard
        match effect:
            case m.EnterQueue():
                yard.turns.enter(state)
            case m.LeaveQueue():
                yard.turns.leave(state.id)
            case m.Fetch():
                yard.workshop.fetch(state)
            case m.RunCommand():
                self._driver.launch(self._order(state))
            case m.MakeImage():
                yard.workshop.make_image(state)
            case m.SweepRun(run_id):
                self._driver.sweep(self._run(state, run_id))
            case m.Collect():
                yard.workshop.collect(state)
            case m.EndWork(run_id):
                self._end_work(state, run_id)
            case m.ForgetRun(run_id):
                self._driver.forget(self._run(state, run_id))
                yard.runs.forget(run_id)
            case m.Deploy():
                self._deploy(state)
            case m.FillIn() | m.Disappoint():
                self._tell_deployment(state)
            case m.CleanUp():
                self._clean_up(state)
            case m.Say(text):
                self.world.write_line(state.id, None, text)

    # ---- the command ---------------------------------------------------------------------------------------

    @property
    def _driver(self) -> Driver:
        return self.world.drivers[ProcessType.TISH]

    def _order(self, state: Build) -> LaunchOrder:
        """The command in its tree, with an environment that has nothing of the server's or the app's."""
        assert state.run_id is not None
        places, recipe = self._yard.workshop.places, state.recipe
        self._yard.runs.note(state.run_id, state.id)
        where = str(places.tree(state.id) / (recipe.root_dir or ""))
        env = {
            "HOME": str(places.cache(state.app_id)),
            "CI": "true",
            "LC_ALL": "C.UTF-8",
            "BUILD_ID": state.id,
        }
        if state.commit is not None:
            env["COMMIT_SHA"] = state.commit.sha
        if state.branch is not None:
            env["BRANCH"] = state.branch
        return LaunchOrder(
            task_id=state.run_id,
            deployment_id=state.id,
            slot=0,
            generation=state.attempt,
            app_name=state.app_name,
            environment=state.environment,
            spec=DeploymentSpec(
                command=("/bin/sh", "-c", _IN_TREE, "build", where, recipe.command or "true"),
                networking=Networking(protocol=Protocol.NONE),
                resources=Resources(cpu=_CPU, memory=str(self._yard.memory)),
            ),
            app_id=state.app_id,
            env=env,
        )

    def _run(self, state: Build, run_id: str) -> Task:
        self._yard.runs.note(run_id, state.id)
        return run_of(state, run_id)

    def _end_work(self, state: Build, run_id: str | None) -> None:
        if run_id is None:
            self._yard.workshop.end(state.id)
        else:
            self._driver.kill(self._run(state, run_id))

    # ---- what it is for ------------------------------------------------------------------------------------

    def _deploy(self, state: Build) -> None:
        operation = DeployBuild(
            build=state, domain=self._yard.domain, at=clock.now(), steady=self.moment().at
        )
        stored = self.world.store.commit(operation, _made)
        stored.add_done_callback(self._delivered)

    def _delivered(self, stored: Future[Delivered]) -> None:
        """On the writer's thread."""
        error = stored.exception()
        with contextlib.suppress(ShuttingDown):
            if error is None:
                delivered = stored.result()
                if delivered.made is not None:
                    self._yard.introduce(delivered.made)
                self._tell_self_later(m.Deployed(delivered.build.deployment_id))
            elif isinstance(error, NoSpace | Unavailable):
                self._tell_self_later(m.DeployWaits())
            else:
                code = error.code if isinstance(error, PlatformError) else "DEPLOY_FAILED"
                self._tell_self_later(m.DeployRefused(Reason(code=code, message=str(error))))

    def _tell_self_later(self, fact: object) -> None:
        """From another thread, to whoever is this build's actor by then."""
        self.world.directory.tell(self.key, fact, Lane.FACT)

    def _tell_deployment(self, state: Build) -> None:
        verdict = verdict_of(state)
        if state.deployment_id is not None and verdict is not None:
            self.world.directory.tell(Key("deployment", state.deployment_id), verdict, Lane.FACT)

    def _clean_up(self, state: Build) -> None:
        """The tree that was sent goes once the row says that nothing needs it: a start before would begin anew."""
        self._yard.workshop.clean_up(state.id)
        if state.upload is not None:
            self.commit(state, ()).add_done_callback(lambda _: self._yard.workshop.tidy())

    # ---- its row -------------------------------------------------------------------------------------------

    def save_behind(self, state: Build, notices: Sequence[Notice]) -> None:
        self.world.store.save_behind(state, notices)

    def commit(self, state: Build, notices: Sequence[Notice]) -> Future[Any]:
        return self.world.store.commit(SaveBuild(state), lambda _: notices)

    def notices(self, before: Build, after: Build, _: object) -> Sequence[Notice]:
        return happenings.notices(before, after)

    def may_passivate(self) -> bool:
        return self.state is None or self.state.phase is Phase.DONE

    def describe(self) -> dict[str, Any]:
        if self.state is None:
            return {}
        return {"state": self.state.state.value, "phase": self.state.phase.value, "app_id": self.state.app_id}


def run_of(build: Build, run_id: str) -> Task:
    """The process of a build's command as the driver knows it."""
    return Task(
        id=run_id,
        deployment_id=build.id,
        app_id=build.app_id,
        slot=0,
        generation=build.attempt,
        handle=build.handle,
        created_at=build.created_at,
        updated_at=build.updated_at,
    )


def _made(delivered: Delivered) -> Sequence[Notice]:
    return () if delivered.made is None else (deployments.created(delivered.made),)


def recover_builds(world: World, yard: BuildYard) -> list[str]:
    """After a start: what was under way keeps its turn until it is ended, everything then goes on in its order. The
    processes that builds know of and end themselves."""
    live: Iterable[Build] = building.live_builds(world.store.reader)
    builds = list(live)
    yard.workshop.remove_others([build.id for build in builds])
    for build in builds:
        if build.phase is not Phase.QUEUED:
            yard.turns.hold(build)
    for build in builds:
        world.directory.activate(Key("build", build.id))
    return [build.run_id for build in builds if build.run_id is not None]


def end_builds(world: World, yard: BuildYard) -> None:
    """For an orderly end: no build's work outlives the service; the next start begins what is live again. Blocks."""
    yard.runs.close()
    yard.workshop.close()
    for build in building.live_builds(world.store.reader):
        if build.run_id is not None:
            run = run_of(build, build.run_id)
            world.drivers[ProcessType.TISH].end(run, StopPolicy(grace_secs=0))
