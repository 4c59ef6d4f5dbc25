"""Tasks in containers: created, started, found ready, followed, ended and found again through the engine's API.

Built by `platformd.app`. Orders come on pool threads and return at once; calls of the engine are made by sixteen
workers at most, streams are read in a thread of their own, probing runs on the service's loop. No lock is held while a
fact is told. While the engine is away nothing is concluded from its silence.
"""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection, Iterable, Mapping

from platformd.domain.spec import StopPolicy
from platformd.domain.task import Task
from platformd.drivers.base import LaunchOrder, Sink, Usage
from platformd.drivers.docker.adoption import Adoptions
from platformd.drivers.docker.built import Built
from platformd.drivers.docker.creations import Creations
from platformd.drivers.docker.ends import Ends
from platformd.drivers.docker.engine import Engine
from platformd.drivers.docker.facts import Facts
from platformd.drivers.docker.freezer import Freezer
from platformd.drivers.docker.images import Images, Tell
from platformd.drivers.docker.logs import Batch
from platformd.drivers.docker.pulled import Pulled
from platformd.drivers.docker.run import Line, Run
from platformd.drivers.docker.settings import DockerSettings
from platformd.drivers.docker.spares import NextOrder, Spares
from platformd.drivers.docker.starts import Starts
from platformd.drivers.docker.stats import Meter
from platformd.drivers.docker.streams import Streams
from platformd.drivers.docker.watcher import Watcher
from platformd.drivers.workers import Workers

CALLS_AT_ONCE = 16


class DockerDriver:
    """Keeps `drivers.base.Driver`. Made on the loop thread; `close` is called there too.

    `deliver` gives (deployment id, task id, batch) to the keeper, which hears by `log_over` (task id) that no more will
    come; `on_engine` hears why the engine is away, or None; `next_order` says what would start a sleeping deployment's
    next task.
    """

    intent_first = True

    def __init__(
        self,
        *,
        loop: AbstractEventLoop,
        sink: Sink,
        settings: DockerSettings,
        deliver: Callable[[str, str, Batch], None],
        tell: Tell,
        log_over: Callable[[str], None] = lambda _: None,
        on_engine: Callable[[str | None], None] = lambda _: None,
        next_order: NextOrder = lambda *_: None,
    ) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._settings, self._on_engine, self._log_over = settings, on_engine, log_over
        self._up_to_date = False
        self._workers = workers = Workers(loop, CALLS_AT_ONCE)
        self.engine = engine = Engine(settings.address, self._engine_changed)
        self._streams = streams = Streams(settings.address)
        self._meter = Meter()
        self._facts = facts = Facts(loop, sink, workers, streams, settings, deliver)
        self._ends = Ends(engine, workers, facts)
        facts.conclude = self._ends.conclude
        self._pulled = pulled = Pulled(engine, settings.data_dir)
        self._built = Built(engine, settings.instance)
        images = Images(
            engine,
            streams,
            settings,
            tell,
            lambda reference: workers.submit(lambda: pulled.note(reference)),
        )
        self._creations = creations = Creations(engine, settings)
        self._spares = spares = Spares(next_order, images, creations, self._ends.remove)
        self._starts = Starts(
            engine, workers, facts, images, creations, spares, self._drop, self._ends.remove
        )
        self._freezer = Freezer(engine, workers, facts)
        self._adoptions = Adoptions(engine, workers, facts, self._ends, self._freezer, spares, settings)
        self._watcher = Watcher(engine, streams, settings.instance, self._happened, self._look_again)
        self._watcher.start()

    def close(self) -> None:
        """Let go of everything; containers live on."""
        self._streams.close()
        self._facts.close()
        self._workers.close()
        self.engine.close()

    def describe(self) -> str:
        """One line for people."""
        trouble = self.engine.trouble
        return f"{self.engine.address}: {'it answers' if trouble is None else trouble}"

    def stale(self, deployment_id: str) -> bool:
        """Whether what is known of its tasks is old: the engine is away, or was and has not been looked at since."""
        if self._up_to_date:
            return False
        return any(run.lives and run.order.deployment_id == deployment_id for run in self._all())

    # ---- orders of task actors, on pool threads ------------------------------------------------------------

    def next_id(self, deployment_id: str, slot: int, /) -> str:
        return self._spares.next_id(deployment_id, slot)

    def launch(self, order: LaunchOrder) -> None:
        run, new = self._open(order)
        run.line.add(lambda: self._starts.bring_up(run) if new else self._facts.tell_again(run))

    def adopt(self, task: Task, order: LaunchOrder) -> None:
        run, new = self._open(order)
        if new:
            run.line.add(lambda: self._adoptions.take_over(run, task))
        else:
            run.line.add(lambda: self._facts.tell_again(run))

    def signal(self, task: Task, signal: str) -> None:
        run = self._run_of(task)
        run.line.add(lambda: self._ends.signal(run, signal))

    def freeze(self, task: Task) -> None:
        self._facts.stop_probing(task.id)
        self._freezer.freeze(self._run_of(task))

    def thaw(self, task: Task) -> None:
        run = self._runs.get(task.id)
        if run is not None:
            self._freezer.thaw(run)

    def kill(self, task: Task) -> None:
        run = self._run_of(task)
        run.killed = True
        self._freezer.rouse(run)
        self._facts.stop_probing(task.id)
        run.line.add(lambda: self._ends.kill(run))
        self._prepare(run)

    def sweep(self, task: Task) -> None:
        run = self._run_of(task)
        self._freezer.rouse(run)
        self._facts.stop_probing(task.id)
        run.line.add(lambda: self._ends.sweep(run))
        self._prepare(run)

    def forget(self, task: Task) -> None:
        with self._lock:
            run = self._runs.pop(task.id, None)
        self._meter.forget(task.id)
        self._log_over(task.id)
        if run is None:
            return
        run.forgotten = True
        self._facts.let_go(run)
        run.line.add(lambda: self._ends.remove_quietly(run))
        self._prepare(run)

    def usage(self, task_ids: Iterable[str]) -> Mapping[str, Usage]:
        runs = (self._runs.get(task_id) for task_id in task_ids)
        return self._meter.usage(run for run in runs if run is not None and run.lives)

    # ---- orders of the application -------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Read anew what the engine has; asked each reconcile period."""
        self._look_again()

    def end(self, task: Task, stop: StopPolicy) -> None:
        self._ends.and_wait(self._run_of(task), stop)

    def drop_images(self, needed: Callable[[], Collection[str]]) -> int:
        """Remove images that were pulled or built here and are none of what `needed()` names, by name, digest or the id
        of their build: how many went. Blocks."""
        return self._pulled.drop(needed) + self._built.drop(needed)

    def put_away(self) -> None:
        self._spares.put_away()

    def end_strays(self, known: Iterable[str]) -> None:
        """End the containers of this data directory that belong to no task."""
        self._adoptions.known(known)
        self._look_again()

    def _prepare(self, run: Run) -> None:
        """It ends: the next one's container can be made, beside its own removal."""
        self._workers.submit(lambda: self._spares.prepare(run.order.deployment_id, run.order.slot))

    # ---- what happens --------------------------------------------------------------------------------------

    def _engine_changed(self, trouble: str | None) -> None:
        if trouble is None:
            self._creations.engine_is_back()
            self._look_again()
            return
        with self._lock:
            self._up_to_date = False
            self._on_engine(trouble)

    def _look_again(self) -> None:
        self._workers.submit(self._look)

    def _look(self) -> None:
        """All is well with the engine once it is known what it has: tasks, strays, and what was made beforehand."""
        if not self._adoptions.compare(self._all, self._meter):
            return
        with self._lock:
            if not self.engine.away:
                self._up_to_date = True
                self._on_engine(None)

    def _happened(self, task_id: str, what: str) -> None:
        run = self._runs.get(task_id)
        if run is not None and what in ("die", "died", "destroy", "remove"):
            run.line.add(lambda: self._ends.conclude(run))

    # ---- the book ------------------------------------------------------------------------------------------

    def _open(self, order: LaunchOrder) -> tuple[Run, bool]:
        with self._lock:
            known = self._runs.get(order.task_id)
            if known is not None:
                return known, False
            run = self._runs[order.task_id] = Run(order, Line(self._workers.submit))
            return run, True

    def _run_of(self, task: Task) -> Run:
        """Its run, or one made for what is left to be done with a task that was given up."""
        run = self._runs.get(task.id)
        if run is not None:
            return run
        made = self._adoptions.unknown(task, Line(self._workers.submit))
        with self._lock:
            return self._runs.setdefault(task.id, made)

    def _drop(self, run: Run) -> None:
        """A launch did not come about."""
        with self._lock:
            if self._runs.get(run.task_id) is run:
                del self._runs[run.task_id]

    def _all(self) -> list[Run]:
        with self._lock:
            return list(self._runs.values())
