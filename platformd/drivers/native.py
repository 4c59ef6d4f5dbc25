"""Native tasks: processes that the keeper starts, found ready by the prober, limited by cgroups, ended to the last.

Built by `platformd.app` with the keeper's `send`; its facts go to task actors. Orders come on pool threads and return
at once; `on_keeper_event` and probing run on the loop thread; everything that takes time runs in a few workers. No lock
is held while a fact is told. The way of a wake (launch → launched → probed) writes no file and no cgroup.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from platformd import clock
from platformd.domain.events import Exited, FreezeFailed, Launched, Probed, TaskFact
from platformd.domain.snapshot import Exit
from platformd.domain.spec import StopPolicy
from platformd.domain.task import LYING, Task, TaskPhase
from platformd.drivers import adoption, freezer, killset, proc, reasons
from platformd.drivers.arms import Arms
from platformd.drivers.base import LaunchOrder, Send, Sink, Usage
from platformd.drivers.book import Book, Record
from platformd.drivers.cgroup_places import Cgroups
from platformd.drivers.ends import Ends, SystemLine
from platformd.drivers.freezer import Freezer
from platformd.drivers.killset import Family
from platformd.drivers.launch_order import NativeSettings
from platformd.drivers.limits import Limits
from platformd.drivers.meter import Meter
from platformd.drivers.ports import Ports
from platformd.drivers.probe import Prober, Target
from platformd.drivers.run import Run
from platformd.drivers.starts import Starts
from platformd.drivers.workers import Workers
from platformd.ids import new_id
from platformd.ownership import holder, open_listeners

_LOST_AFTER_LOOKS = 2
_CROSSING_SECS = 0.5


class NativeDriver:
    """Keeps `drivers.base.Driver`. Made on the loop thread; `close` is called there too."""

    intent_first = False

    def __init__(
        self,
        *,
        send: Send,
        loop: AbstractEventLoop,
        sink: Sink,
        settings: NativeSettings,
        system_line: SystemLine,
        cgroups: Cgroups | None = None,
    ) -> None:
        self._sink, self._settings, self._line = sink, settings, system_line
        self._boot_id = boot_id = clock.boot_id()
        self._book, self._workers, self._listeners = Book(), Workers(loop), open_listeners()
        book, workers, listeners = self._book, self._workers, self._listeners
        self._prober = Prober(loop, listeners)
        self._ports = ports = Ports(settings.task_ports)
        self.arms = arms = Arms(book=book, ports=ports, send=send, settings=settings, boot_id=boot_id)
        self._starts = Starts(
            arms=arms,
            book=book,
            ports=ports,
            listeners=listeners,
            workers=workers,
            send=send,
            sink=sink,
            settings=settings,
            boot_id=boot_id,
        )
        self._ends = Ends(
            book=book, ports=ports, workers=workers, send=send, sink=sink, line=system_line, boot_id=boot_id
        )
        usable = Cgroups.detect(settings.data_dir) if cgroups is None else cgroups
        self._limits = self._ends.limits = Limits(
            usable, workers, lambda: self._prober.starting, self._say, self._ends.quietly
        )
        self._meter = Meter(self._limits.watch)
        self._freezer = Freezer(workers, sink, self._watch, self._say)

    def close(self) -> None:
        """Let go of everything; tasks live on."""
        self._prober.close()
        self._workers.close()
        self._listeners.close()
        self._limits.cgroups.tidy()

    @property
    def has_cgroups(self) -> bool:
        return bool(self._limits.cgroups.parents)

    def describe(self) -> str:
        """What limits tasks here, for people."""
        return self._limits.cgroups.describe()

    # ---- orders of task actors, on pool threads ------------------------------------------------------------

    def next_id(self, _deployment_id: str, _slot: int, /) -> str:
        return new_id()

    def launch(self, order: LaunchOrder) -> None:
        run, new = self._book.open(order)
        if not new and self.arms.take(run, order):
            self._workers.on_loop(lambda: self._born(run))
        elif not new:
            self._workers.on_loop(lambda: self._tell_again(run))
        elif self._book.record(order.task_id) is not None:
            self._workers.submit(lambda: self._take_over(run, None, TaskPhase.PENDING))
        else:
            self._starts.start(run)

    def adopt(self, task: Task, order: LaunchOrder) -> None:
        run, new = self._book.open(order)
        if not new:
            self._workers.on_loop(lambda: self._tell_again(run))
            return
        run.still = task.phase in LYING

        def take_over() -> None:
            self._take_over(run, task.handle, task.phase, ready=task.ready_at is not None)

        if not self._book.when_synced(take_over):
            self._workers.submit(take_over)

    def signal(self, task: Task, signal: str) -> None:
        self._ends.signal(task, signal)

    def freeze(self, task: Task) -> None:
        run = self._book.run(task.id)
        if run is None:
            self._sink(task.id, FreezeFailed(freezer.FAILED))
            return
        self._stop_probing(task.id)
        self._freezer.freeze(run)

    def thaw(self, task: Task) -> None:
        run = self._book.run(task.id)
        if run is not None:
            self._freezer.thaw(run)

    def kill(self, task: Task) -> None:
        self._rouse(task)
        self._stop_probing(task.id)
        self._ends.kill(task)

    def sweep(self, task: Task) -> None:
        self._rouse(task)
        self._stop_probing(task.id)
        self._ends.sweep(task)

    def forget(self, task: Task) -> None:
        run = self._book.forget(task.id)
        self._starts.gate.leave(task.id)
        self._stop_probing(task.id)
        self._meter.forget(task.id)
        self._ends.forget(task.id, run)

    def usage(self, task_ids: Iterable[str]) -> Mapping[str, Usage]:
        runs = (self._book.run(task_id) for task_id in task_ids)
        return self._meter.usage(run for run in runs if run is not None and run.lives)

    def _rouse(self, task: Task) -> None:
        """What stands still cannot hear a signal, nor die of one in every freezer."""
        run = self._book.run(task.id)
        if run is not None:
            self._freezer.rouse(run)

    # ---- orders of the application -------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Read anew, in a worker, whether what should live does; asked each reconcile period."""
        self._workers.submit(self._reconcile)

    def end(self, task: Task, stop: StopPolicy) -> None:
        self._rouse(task)
        self._ends.and_wait(task, stop.signal, stop.grace_secs)

    def put_away(self) -> None:
        """Nothing is made ready beforehand."""

    def end_strays(self, known: Iterable[str]) -> None:
        """End, in a worker, what runs in this data directory for tasks that are not `known`, and what the keeper
        remembers of them. For recovery, once the keeper's list has come."""
        wanted = frozenset(known)
        self._workers.submit(lambda: self._ends.strays(wanted, self._settings.data_dir / "work"))

    # ---- what the keeper tells, on the loop thread ---------------------------------------------------------

    def on_keeper_event(self, event: dict[str, Any]) -> None:
        """Any event of the keeper's; those that are none of ours are passed over."""
        match event.get("op"):
            case "launched":
                self._launched(event)
            case "launch_failed":
                run = self._book.run(event["task"])
                if run is not None and not run.launched:
                    self._starts.failed(run, reasons.not_launched(event))
            case "disarmed":
                self.arms.disarmed(event["task"])
            case "exited":
                self._exited(event["task"], event)
            case "resynced":
                self._resynced(event["tasks"])

    def _launched(self, record: Record) -> None:
        task_id = record["task"]
        run = self._book.run(task_id)
        if run is None:
            if self._book.was_forgotten(task_id):  # given up before it began
                self._ends.unwanted(record)
            return
        self._book.note(task_id, {**record, "exit": None})
        if run.launched:
            return
        run.family = Family(task_id, record["pid"], record["start_time"])
        run.started_ns = record["boot_ns"]
        if not run.order.spec.serves:
            self._starts.gate.leave(task_id)
        if run.armed:
            self.arms.on_fired(run.order)
        self._tell(run, self._launched_fact(run))
        self._watch(run)
        self._limits.launched(run)

    def _exited(self, task_id: str, outcome: Mapping[str, Any]) -> None:
        run = self._book.run(task_id)
        if run is None and self._book.was_forgotten(task_id):
            self._ends.tell_keeper_to_forget(task_id)
            return
        self._book.note(task_id, {"exit": outcome})
        if run is not None:
            self._settle(run, adoption.exit_of(outcome))

    def _settle(self, run: Run, exit: Exit) -> None:
        """Its first process ended; told once."""
        if run.exit is not None or run.forgotten:
            return
        self._prober.stop(run.task_id)
        self._starts.gate.leave(run.task_id)
        run.exit = exit
        if self._limits.oom_killed(run):
            run.exit = replace(exit, oom_killed=True)
        self._tell(run, Exited(run.exit))
        if run.emptied:
            self._ends.swept(run.task_id)

    def _resynced(self, records: Iterable[Record]) -> None:
        """The connection is new: what was told on the old one may be lost, and the keeper may be another."""
        waiting, unwanted = self._book.sync(records)
        self.arms.resynced(self._book.known_records())
        for run in self._book.runs():
            if run.exit is None and (run.ordered or run.launched or run.armed):
                self._compare(run)
        for job in waiting:
            self._workers.submit(job)
        for record in unwanted:
            self._ends.unwanted(record)

    def _compare(self, run: Run) -> None:
        record = self._book.record(run.task_id)
        if record is None:
            self._workers.submit(lambda: self._keeper_lost(run))
            return
        outcome = record.get("exit")
        self._launched(record)
        if outcome is not None:
            self._exited(run.task_id, outcome)

    def _keeper_lost(self, run: Run, patient: bool = True) -> None:
        """In a worker: the keeper's list lacks a task that it was told to start. One that lives on without the keeper
        is looked after by `reconcile`. One that may have begun without a record is ended before it is ordered again,
        unless it turns out to be the answer to an order that crossed with the list."""
        if self._book.run(run.task_id) is not run:
            return
        if run.launched:
            if not proc.alive(run.family.pid, run.family.start_time):
                self._lost(run)
        elif not killset.find(run.family):
            self._starts.order(run)
        elif patient:
            self._workers.later(_CROSSING_SECS, lambda: self._keeper_lost(run, patient=False))
        else:
            self._ends.quietly(run, done=lambda: self._keeper_lost(run))

    def _born(self, run: Run) -> None:
        """What was armed has an actor: it may have been fired since."""
        run.armed = False
        if self._book.run(run.task_id) is not run:
            self.launch(run.order)  # lost with the keeper just now
        elif run.launched:
            self._tell_again(run)
        else:
            self._starts.start(run)

    def _tell(self, run: Run, fact: TaskFact) -> None:
        if not run.armed:  # else there is no actor yet; it is told all when it launches
            self._sink(run.task_id, fact)

    # ---- readiness and health, on the loop thread ----------------------------------------------------------

    def _watch(self, run: Run) -> None:
        target = Target(
            task_id=run.task_id,
            pid=run.family.pid,
            port=run.port,
            networking=run.order.spec.networking,
            on_ready=lambda: self._ready(run),
            on_health=lambda fact: self._tell(run, fact),
            on_stranger=lambda inode: self._workers.submit(lambda: self._say_stranger(run, inode)),
            search=lambda inode, answer: self._workers.submit(lambda: self._search(run, inode, answer)),
        )
        self._prober.watch(target, run.ready)

    def _ready(self, run: Run) -> None:
        run.ready = True
        self._starts.gate.leave(run.task_id)
        self._tell(run, Probed(run.address))
        self._limits.ready(run)

    def _search(self, run: Run, inode: int, answer: Callable[[bool], None]) -> None:
        own = holder(inode, (process.pid for process in killset.find(run.family))) is not None
        self._workers.on_loop(lambda: answer(own))

    def _stop_probing(self, task_id: str) -> None:
        self._workers.on_loop(lambda: self._prober.stop(task_id))

    def _say_stranger(self, run: Run, inode: int) -> None:
        who = reasons.who_is(holder(inode, proc.table()))
        self._say(
            run, f"port {run.port} is answered by {who}, which is not part of this task and does not count"
        )

    def _say(self, run: Run, text: str) -> None:
        self._line(run.order.deployment_id, run.task_id, text)

    # ---- after a restart, of this process or of an actor ---------------------------------------------------

    def _tell_again(self, run: Run) -> None:
        """The actor was made anew and may have missed what was told before."""
        if run.launched:
            self._sink(run.task_id, self._launched_fact(run))
        if run.ready:
            self._sink(run.task_id, Probed(run.address))
        if run.still and run.lives:
            self._freezer.freeze(run)
        if run.exit is not None:
            self._sink(run.task_id, Exited(run.exit))

    def _launched_fact(self, run: Run) -> Launched:
        at = clock.steady_from_boot_ns(run.started_ns)
        return Launched(handle=run.handle(self._boot_id), at=at, pid=run.family.pid, address=run.address)

    def _take_over(
        self, run: Run, handle: Mapping[str, object] | None, phase: TaskPhase, ready: bool = False
    ) -> None:
        """In a worker."""
        record = self._book.record(run.task_id)
        found = adoption.find(run.task_id, handle, record, self._boot_id, self._limits.cgroups)
        run.family, run.started_ns, run.port, run.ready = found.family, found.started_ns, found.port, ready
        if found.port is not None:
            self._ports.keep(run.task_id, found.port)
        self._workers.on_loop(lambda: self._taken_over(run, found.exit, phase))
        if found.exit is None:
            self._limits.adopted(run)
            self._freezer.adopted(run, phase)

    def _taken_over(self, run: Run, exit: Exit | None, phase: TaskPhase) -> None:
        if phase is TaskPhase.PENDING and run.launched and not run.forgotten:
            self._sink(run.task_id, self._launched_fact(run))
        told = (self._book.record(run.task_id) or {}).get(
            "exit"
        )  # it may have ended while it was being looked at
        if exit is None and told is not None:
            exit = adoption.exit_of(told)
        if exit is not None:
            self._settle(run, exit)
        elif phase not in (TaskPhase.STOPPING, *LYING) and not run.forgotten:
            self._watch(run)

    def _reconcile(self) -> None:
        for run in self._book.runs():
            if not run.lives:
                continue
            self._limits.look_for_ooms(run)
            self._freezer.look(run)
            run.missing = 0 if proc.alive(run.family.pid, run.family.start_time) else run.missing + 1
            if run.missing >= _LOST_AFTER_LOOKS:
                self._lost(run)
        if self._book.synced:
            self._limits.tidy(self._book.known())

    def _lost(self, run: Run) -> None:
        """It has been gone for longer than the keeper takes to say how it ended."""
        self._workers.on_loop(lambda: self._settle(run, Exit(unknown=True)))
