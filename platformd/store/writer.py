"""The only writer: takes operations and save-behinds from any thread, stores them in groups, then tells whoever waits.

What has gathered while one group was being made durable is the next group. After each commit one callback releases
events, revisions and futures in commit order. `Writer` is that, without a thread of its own; `thread.WriterThread`
drives it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import structlog
from peewee import SqliteDatabase

from platformd import metrics
from platformd.domain.build.orders import Delivered
from platformd.domain.notice import Event, Notice
from platformd.domain.operations import Operation
from platformd.domain.retries import Made
from platformd.domain.snapshot import App
from platformd.errors import PlatformError, Unavailable
from platformd.store.batch import Batch, Behind, Key, Write, key_of
from platformd.store.codec import Stateful
from platformd.store.connection import StoreFailed
from platformd.store.events import Recorder

T = TypeVar("T")
Publish = Callable[[Sequence[Event], Mapping[tuple[str, str], int]], None]
NoticesOf = Callable[[Any], Sequence[Notice]]

LARGEST_GROUP = 512
LARGEST_BEHIND = 2_000
LINGER_SECS = 0.01

_log = structlog.get_logger(__name__)


class Writer:
    """Gathers, writes and releases. `submit` and `save_behind` are for any thread, `write_group` for one at a time."""

    def __init__(self, database: SqliteDatabase, path: Path | None, publish: Publish) -> None:
        self._database = database
        self._path = path
        self._publish = publish
        self._recorder = Recorder(database)
        self._lock = threading.Lock()
        self._gathered = threading.Condition(self._lock)
        self._writes: list[Write] = []
        self._behind: dict[Key, Behind] = {}
        self._covered: dict[Key, Behind] = {}
        self._under_way: dict[Key, Behind] = {}
        self._closed = False
        self._lingering = False
        self.disk_refused = False

    def submit(self, operation: Operation[T], notices: NoticesOf | None = None) -> Future[T]:
        """Store `operation`; the future is done when it is durable. Once accepted it cannot be cancelled."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        write = Write(operation, future, notices)
        with self._lock:
            if self._closed:
                future.set_exception(Unavailable("the store is closed; the server is stopping"))
                return future
            if write.saves is not None:
                self._cover(write, write.saves)
            self._writes.append(write)
            self._gathered.notify()
        return future

    def save_behind(self, snapshot: Stateful, notices: Sequence[Notice] = ()) -> None:
        """Store `snapshot` soon; a newer one of the same object replaces it, its notices stay."""
        with self._lock:
            waiting = self._behind.setdefault(key_of(snapshot), Behind(snapshot))
            waiting.snapshot = snapshot
            waiting.notices.extend(notices)
            if not self._lingering:
                self._gathered.notify()

    def _cover(self, write: Write, key: Key) -> None:
        behind = self._behind.pop(key, None)
        if behind is not None:
            write.covered = self._covered[key] = behind

    def _take_back(self, behind: Behind) -> None:
        """Before whatever came after it: a command that waits to be written, or a newer state."""
        key = behind.key
        write = next((write for write in self._writes if write.saves == key), None)
        if write is None:
            self._behind[key] = behind.followed_by(self._behind.get(key))
            return
        newest = self._covered.get(key) is write.covered
        write.covered = behind.followed_by(write.covered)
        if newest:
            self._covered[key] = write.covered

    def unsaved(self, kind: type, id: str) -> Stateful | None:
        """The newest state of an object that was given to `save_behind` and is not durable yet."""
        with self._lock:
            key = (kind, id)
            behind = self._behind.get(key) or self._covered.get(key) or self._under_way.get(key)
            return behind.snapshot if behind else None

    def all_unsaved(self, kind: type) -> list[Stateful]:
        """As `unsaved`, of every object of a kind."""
        with self._lock:
            newest = self._under_way | self._covered | self._behind
            return [behind.snapshot for (of, _), behind in newest.items() if of is kind]

    def write_group(self) -> bool:
        """Store what has gathered; False when that was nothing."""
        batch = self._take()
        if not batch.writes and not batch.behinds:
            return False
        with metrics.COMMIT_SECONDS.time():
            batch.commit(self._database, self._path, self._recorder)
        if batch.failure is not None:
            metrics.COMMIT_FAILURES.inc()
        self._settle(batch)
        self._release(batch)
        return True

    def _take(self) -> Batch:
        with self._lock:
            writes, self._writes = self._writes[:LARGEST_GROUP], self._writes[LARGEST_GROUP:]
            keys = [] if self._writes else list(self._behind)[:LARGEST_BEHIND]
            taken = {key: self._behind.pop(key) for key in keys}
            covered = {write.covered.key: write.covered for write in writes if write.covered}
            for key, behind in covered.items():
                if self._covered.get(key) is behind:
                    del self._covered[key]
            self._under_way = covered | taken
            return Batch(writes, list(taken.values()))

    def wait(self, seconds: float) -> bool:
        """Until there is something to store, at most `seconds`; False when there is not. While the disk refuses
        writes only operations count: save-behinds are tried again after the wait."""

        def something() -> bool:
            return bool(self._writes or self._closed or (self._behind and not self.disk_refused))

        with self._lock:
            found = self._gathered.wait_for(something, seconds)
            if found and not self._writes:
                self._linger()
            return found

    def _linger(self) -> None:
        """What is saved behind is in no hurry: its commit keeps out of the way of the wake that caused it."""
        self._lingering = True
        self._gathered.wait_for(lambda: self._writes or self._closed, LINGER_SECS)
        self._lingering = False

    def close(self) -> None:
        """Accept nothing more; what has been accepted is still to be written."""
        with self._lock:
            self._closed = True
            self._gathered.notify()

    @property
    def closed(self) -> bool:
        return self._closed

    def _settle(self, batch: Batch) -> None:
        """Take back what did not get stored: nobody waits for it, so it is tried again."""
        again = batch.not_stored()
        with self._lock:
            for behind in reversed(again):
                self._take_back(behind)
            self._under_way = {}
        if (batch.failure is not None) != self.disk_refused:
            self.disk_refused = batch.failure is not None
            self._log_disk(batch)

    def _release(self, batch: Batch) -> None:
        revisions: dict[tuple[str, str], int] = {}
        for write in batch.writes:
            if write.error is None:
                revisions.update(_revision(write.result))
        for behind in batch.behinds:
            revisions.update(_revision(behind.snapshot))
        try:
            self._publish(batch.events, revisions)
        except Exception:
            _log.exception("store.publish_failed")
        for write in batch.writes:
            _answer(write)

    def _log_disk(self, batch: Batch) -> None:
        if batch.failure is None:
            _log.info("store.disk_accepts_writes_again")
        else:
            _log.error("store.disk_refuses_writes", why=str(batch.failure), waiting=len(batch.kept))


def _revision(record: object) -> dict[tuple[str, str], int]:
    if isinstance(record, Made):
        record = record.result
    if isinstance(record, Stateful | App):
        return {(type(record).__name__.lower(), record.id): record.revision}
    if isinstance(record, Delivered):
        return _revision(record.build) | _revision(record.made)
    return {}


def _answer(write: Write) -> None:
    error = write.error
    if error is None:
        write.future.set_result(write.result)
        return
    if not isinstance(error, PlatformError):
        name = type(write.operation).__name__
        _log.error("store.operation_failed", operation=name, exc_info=error)
        answer = StoreFailed(f"the store could not carry out {name}: {error}; nothing was changed")
        answer.__cause__ = error
        error = answer
    write.future.set_exception(error)
