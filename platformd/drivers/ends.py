"""Signals, ends and what is given back afterwards; and the end of what nobody knows any more.

Used by the native driver, from any thread; what takes time happens in its workers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import structlog

from platformd.domain.events import Swept
from platformd.domain.task import Task
from platformd.drivers import adoption, killset, proc
from platformd.drivers.base import Send, Sink
from platformd.drivers.book import Book, Record
from platformd.drivers.ender import End, Ender, end_and_wait
from platformd.drivers.killset import Family
from platformd.drivers.limits import Limits
from platformd.drivers.ports import Ports
from platformd.drivers.run import Run, unborn
from platformd.drivers.workers import Workers
from platformd.errors import PlatformError

SystemLine = Callable[[str, str, str], None]
"""Takes (deployment id, task id, text)."""

log = structlog.get_logger(__name__)


class Ends:
    """`limits` is given after both are made, since each needs the other."""

    limits: Limits

    def __init__(
        self,
        *,
        book: Book,
        ports: Ports,
        workers: Workers,
        send: Send,
        sink: Sink,
        line: SystemLine,
        boot_id: str,
    ) -> None:
        self._book, self._ports, self._workers = book, ports, workers
        self._send, self._sink, self._line, self._boot_id = send, sink, line, boot_id
        self._ender = Ender(workers)

    def signal(self, task: Task, name: str) -> None:
        self._ender.signal(self._family_of(task), _number(name))

    def kill(self, task: Task) -> None:
        """SIGKILL until nothing is left. Swept follows Exited, which the keeper may still have to tell."""
        run = self._book.run(task.id)
        if run is not None:
            run.killed = True
        self._end(self._family_of(task), task.deployment_id, lambda: self._emptied(task.id, run))

    def sweep(self, task: Task) -> None:
        """SIGKILL until nothing is left, then Swept, whatever is known of its exit."""
        self._end(self._family_of(task), task.deployment_id, lambda: self.swept(task.id))

    def quietly(self, run: Run, done: Callable[[], None] = lambda: None) -> None:
        """SIGKILL all of it without a word to its actor."""
        self._end(run.family, run.order.deployment_id, done)

    def and_wait(self, task: Task, name: str, grace_secs: float) -> None:
        """Signal, wait out the grace, kill; blocks."""
        end_and_wait(self._family_of(task), _number(name), grace_secs)

    def swept(self, task_id: str) -> None:
        run = self._book.run(task_id)
        self._ports.give_back(task_id)
        self.limits.release(task_id, None if run is None else run.family.group)
        self._sink(task_id, Swept())

    def forget(self, task_id: str, run: Run | None) -> None:
        """Give back all it had."""
        self._ender.drop(task_id)
        self._ports.give_back(task_id)
        self.limits.release(task_id, None if run is None else run.family.group)
        self.tell_keeper_to_forget(task_id)

    def tell_keeper_to_forget(self, task_id: str) -> None:
        try:
            self._send({"op": "forget", "task": task_id})
        except (OSError, PlatformError):
            log.debug("the keeper is away; it is told to forget the task when it is back", task_id=task_id)

    # ---- what nobody knows ---------------------------------------------------------------------------------

    def strays(self, known: frozenset[str], work: Path) -> None:
        """In a worker: end what runs in `work` for tasks that are neither `known` nor in the book; the keeper shall
        forget them too. The book is read after the look: what is started meanwhile was in it before it ran."""
        strangers = killset.strays(known, str(work.resolve()))
        for task_id in strangers.keys() - {run.task_id for run in self._book.runs()}:
            self._unknown(unborn(task_id))
        for record in self._book.strange_records(known):
            self.unwanted(record)

    def unwanted(self, record: Record) -> None:
        """What the keeper tells of belongs to no task any more."""
        task_id = record["task"]
        self._book.forget(task_id)  # its exit, still to come, then makes the keeper forget it as well
        if record.get("exit") is not None:
            self.tell_keeper_to_forget(task_id)
        else:
            self._unknown(Family(task_id, record["pid"], record["start_time"]))

    def _unknown(self, family: Family) -> None:
        log.warning("a task that nobody knows is ended", task_id=family.task_id)
        if self.limits.cgroups.usable:
            family.group = self.limits.cgroups.group(family.task_id)
        self._end(family, None, lambda: self.limits.release(family.task_id, None))

    # ---- how -----------------------------------------------------------------------------------------------

    def _end(self, family: Family, deployment_id: str | None, done: Callable[[], None]) -> None:
        self._ender.end(
            End(family=family, done=done, stuck=lambda left: self._stuck(family.task_id, deployment_id, left))
        )

    def _emptied(self, task_id: str, run: Run | None) -> None:
        if run is not None:
            run.emptied = True
        if run is None or run.exit is not None:
            self.swept(task_id)

    def _family_of(self, task: Task) -> Family:
        run = self._book.run(task.id)
        if run is not None:
            return run.family
        record = self._book.record(task.id)
        return adoption.find(task.id, task.handle, record, self._boot_id, self.limits.cgroups).family

    def _stuck(self, task_id: str, deployment_id: str | None, left: list[proc.Process]) -> None:
        who = ", ".join(str(process.pid) for process in left[:5])
        log.warning("processes do not die", task_id=task_id, left=len(left), pids=who)
        if deployment_id is not None:
            self._line(
                deployment_id, task_id, f"{len(left)} processes do not die ({who}); it goes on being tried"
            )


def _number(name: str) -> int:
    return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
