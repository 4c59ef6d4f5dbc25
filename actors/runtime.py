"""Who runs the turns: a pool of two threads, a thread that lends itself, or, in tests, the caller.

`schedule` is called by mailboxes on any thread, exactly once each time one becomes ready. Hand-overs between
threads cost more than turns do, so a mailbox made ready from within a turn is left to the thread already
awake; one made ready from outside wakes a sleeping thread. A look every 0.1 s reports long turns, replaces
threads stuck in them, and wakes a thread should work lie about behind one.

The way of a wake crosses no thread: the loop lends itself (`lent`) for what it has just heard. A turn neither
blocks nor takes long; should one do so all the same, nothing is lent for a while and the pool takes over.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from actors.mailbox import Mailbox
from platformd import clock

MOST_THREADS = 8
LONG_TURN = 1.0
LOOK_EVERY = 0.1
SPARE_IDLE = 5.0
LENT_TURNS = 8
SLOW_LOAN = 0.02
NO_LOANS_FOR = 10.0
_log = structlog.get_logger("actors")


class Runtime(Protocol):
    def attach(self, run: Callable[[Mailbox], None]) -> None:
        """Say what a turn is. Called once, before anything is scheduled."""

    def schedule(self, mailbox: Mailbox) -> None:
        """Give `mailbox` a turn soon."""

    def later(self, mailbox: Mailbox, delay: float, /) -> None:
        """Wake `mailbox` after about `delay` seconds."""

    def in_turn(self) -> bool:
        """Whether the calling thread is within a turn."""

    def quiet(self) -> bool:
        """Whether no turn runs or waits."""


class _Worker:
    __slots__ = ("gate", "mailbox", "reported", "seen", "since", "spare", "thread", "turns")

    def __init__(self, spare: bool) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.spare = spare
        self.mailbox: Mailbox | None = None
        self.turns = 0
        # The look's own notes: which turn it saw, since when, and whether that was reported.
        self.seen = -1
        self.since = 0.0
        self.reported = False
        self.thread: threading.Thread


class _Here(threading.local):
    worker: _Worker | None = None


class PoolRuntime:
    """`start` before the first message, `stop` after the last. Counters only rise; metrics read them."""

    def __init__(
        self, threads: int = 2, *, long_turn: float = LONG_TURN, spare_idle: float = SPARE_IDLE
    ) -> None:
        self._size = threads
        self._long_turn = long_turn
        self._spare_idle = spare_idle
        self._run: Callable[[Mailbox], None] = _unattached
        # Appends and pops of these are atomic; the comments at `_rest` say why no wake-up is lost.
        self._ready: deque[Mailbox] = deque()
        self._idle: list[_Worker] = []
        self._workers: list[_Worker] = []
        self._delayed: list[tuple[float, Mailbox]] = []
        self._here = _Here()
        self._lender = _Worker(spare=False)
        self._no_loans_until = 0.0
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._look_again, name="actors-watch", daemon=True)
        self.long_turns = 0

    def attach(self, run: Callable[[Mailbox], None]) -> None:
        self._run = run

    def start(self) -> None:
        for _ in range(self._size):
            self._hire(spare=False)
        self._watch.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """End the threads after the turns they are in. False when one was still in a turn after `timeout`."""
        self._stopping.set()
        while self._wake_one():
            pass
        until = clock.monotonic() + timeout
        threads = [self._watch, *(worker.thread for worker in list(self._workers))]
        for thread in threads:
            thread.join(max(0.0, until - clock.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def schedule(self, mailbox: Mailbox) -> None:
        self._ready.append(mailbox)
        if self._here.worker is None:
            self._wake_one()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Within, the calling thread leaves the pool asleep, and gives the turns it caused itself at the end.

        For short bursts of messages. Where the pool is at work already, or a loan took long lately, the pool does it.
        """
        if self._here.worker is not None or self._ready or len(self._idle) < len(self._workers):
            yield
            return
        began = clock.monotonic()
        if began < self._no_loans_until:
            yield
            return
        self._here.worker = self._lender
        try:
            yield
            self._give_lent_turns()
        finally:
            self._here.worker = None
            if self._ready:
                self._wake_one()
            if clock.monotonic() - began > SLOW_LOAN:
                self._no_loans_until = clock.monotonic() + NO_LOANS_FOR

    def _give_lent_turns(self) -> None:
        for _ in range(LENT_TURNS):
            try:
                mailbox = self._ready.popleft()
            except IndexError:
                return
            self._give_turn(self._lender, mailbox)

    def later(self, mailbox: Mailbox, delay: float) -> None:
        self._delayed.append((clock.monotonic() + delay, mailbox))

    def in_turn(self) -> bool:
        return self._here.worker is not None

    def quiet(self) -> bool:
        workers = [self._lender, *list(self._workers)]
        return not self._ready and all(worker.mailbox is None for worker in workers)

    @property
    def threads(self) -> int:
        return len(self._workers)

    @property
    def turns(self) -> int:
        return sum(worker.turns for worker in list(self._workers))

    def _hire(self, spare: bool) -> None:
        worker = _Worker(spare)
        worker.thread = threading.Thread(target=self._work, args=(worker,), name="actors-pool", daemon=True)
        self._workers.append(worker)
        try:
            worker.thread.start()
        except RuntimeError:
            self._workers.remove(worker)
            raise

    def _work(self, worker: _Worker) -> None:
        self._here.worker = worker
        while not self._stopping.is_set():
            try:
                mailbox = self._ready.popleft()
            except IndexError:
                if not self._rest(worker):
                    break
                continue
            self._give_turn(worker, mailbox)
        self._workers.remove(worker)

    def _give_turn(self, worker: _Worker, mailbox: Mailbox) -> None:
        worker.mailbox = mailbox
        worker.turns += 1
        try:
            self._run(mailbox)
        except BaseException:
            _log.exception("a turn escaped its fence", actor=str(mailbox.key))
        worker.mailbox = None

    def _rest(self, worker: _Worker) -> bool:
        """Sleep until there is work. False when this is a spare that nobody needed for a while."""
        self._idle.append(worker)
        # Whoever made something ready before we were in the list could not wake us: look once more.
        if (self._ready or self._stopping.is_set()) and self._leave_idle(worker):
            return True
        if worker.gate.acquire(timeout=self._spare_idle if worker.spare else -1):
            return True
        if self._leave_idle(worker):
            return False
        worker.gate.acquire()
        return True

    def _leave_idle(self, worker: _Worker) -> bool:
        """Take us off the list. False when a waker did so first: then it opens our gate."""
        try:
            self._idle.remove(worker)
        except ValueError:
            return False
        return True

    def _wake_one(self) -> bool:
        try:
            worker = self._idle.pop()
        except IndexError:
            return False
        worker.gate.release()
        return True

    # The look

    def _look_again(self) -> None:
        while not self._stopping.wait(LOOK_EVERY):
            try:
                self._look()
            except (
                Exception
            ):  # no thread to be had, a log that cannot be written: the next look may fare better
                _log.exception("the look at the actors' threads failed")

    def _look(self) -> None:
        now = clock.monotonic()
        self._wake_delayed(now)
        stuck = sum([self._is_stuck(worker, now) for worker in list(self._workers)])
        while self._lacks_threads(stuck):
            self._hire(spare=True)
        if self._ready:
            self._wake_one()

    def _lacks_threads(self, stuck: int) -> bool:
        workers = len(self._workers)
        # Once stopping, a new thread leaves at once: hiring would never come to an end.
        return workers - stuck < self._size and workers < MOST_THREADS and not self._stopping.is_set()

    def _wake_delayed(self, now: float) -> None:
        due = [entry for entry in list(self._delayed) if entry[0] <= now]
        for entry in due:
            self._delayed.remove(entry)
            entry[1].wake()

    def _is_stuck(self, worker: _Worker, now: float) -> bool:
        """Whether the worker has been in the same turn for too long; the first time that is logged."""
        mailbox, turn = worker.mailbox, worker.turns
        if mailbox is None or turn != worker.seen:
            worker.seen, worker.since, worker.reported = turn, now, False
            return False
        if now - worker.since < self._long_turn:
            return False
        if not worker.reported:
            worker.reported = True
            self.long_turns += 1
            frame = sys._current_frames().get(worker.thread.ident or 0)
            _log.warning(
                "an actor's turn is long",
                actor=str(mailbox.key),
                seconds=round(now - worker.since, 1),
                stack="".join(traceback.format_stack(frame)) if frame else "",
            )
        return True


class InlineRuntime:
    """Runs every turn at once in the caller, for tests: what a turn makes ready comes after it, in order."""

    def __init__(self) -> None:
        self._run: Callable[[Mailbox], None] = _unattached
        self._ready: deque[Mailbox] = deque()
        self._busy = threading.Lock()
        self._owner = 0

    def attach(self, run: Callable[[Mailbox], None]) -> None:
        self._run = run

    def schedule(self, mailbox: Mailbox) -> None:
        self._ready.append(mailbox)
        # Looked at again after the lock is free: another thread may have queued while we were leaving.
        while self._ready and self._busy.acquire(blocking=False):
            self._owner = threading.get_ident()
            try:
                while self._ready:
                    self._run(self._ready.popleft())
            finally:
                self._owner = 0
                self._busy.release()

    def later(self, mailbox: Mailbox, _delay: float, /) -> None:
        mailbox.wake()

    def in_turn(self) -> bool:
        return self._owner == threading.get_ident()

    def quiet(self) -> bool:
        return not self._ready and not self._busy.locked()


def _unattached(mailbox: Mailbox) -> None:
    raise RuntimeError(f"{mailbox.key} was scheduled before a directory was attached to the runtime")
