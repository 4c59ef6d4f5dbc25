"""Stores for tests: nothing on disk, no thread; commits happen in the caller's, at once or when they are let.

`MemoryStore` runs the same operations on the same schema. Its faults are switches: `full` refuses writes as a full disk
does, `held` lets commits wait until `release`, `refuse` fails the next operation of a type.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from platformd.domain.notice import Notice
from platformd.domain.operations import Operation
from platformd.errors import NoSpace, PlatformError
from platformd.store.codec import Stateful
from platformd.store.connection import open_memory
from platformd.store.migrations import migrate
from platformd.store.store import Store, unheard
from platformd.store.writer import Publish

T = TypeVar("T")


class MemoryStore(Store):
    """A store that forgets everything when closed."""

    def __init__(self, publish: Publish = unheard) -> None:
        database = open_memory()
        migrate(database, None)
        super().__init__(database, None, database.connection, publish)
        self._database = database
        self._refusals: dict[type, PlatformError] = {}
        self._full = False
        self._one_at_a_time = threading.RLock()
        self.held = False

    @property
    def full(self) -> bool:
        return self._full

    @full.setter
    def full(self, full: bool) -> None:
        """While True commits fail with NoSpace and save-behinds wait."""
        self._full = full
        self._go_on()

    def refuse(self, operation: type, error: PlatformError) -> None:
        """The next operation of this type fails with `error`."""
        self._refusals[operation] = error

    def release(self) -> None:
        """Store what was held and hold nothing more."""
        self.held = False
        self._go_on()

    def commit(
        self, operation: Operation[T], notices: Callable[[T], Sequence[Notice]] | None = None
    ) -> Future[T]:
        refusal = self._refusals.pop(type(operation), None)
        if self._full and refusal is None:
            refusal = NoSpace("the store is full and nothing was changed; make room, then try again")
        if refusal is not None:
            refused: Future[T] = Future()
            refused.set_exception(refusal)
            return refused
        future = super().commit(operation, notices)
        self._go_on()
        return future

    def save_behind(self, snapshot: Stateful, notices: Sequence[Notice] = ()) -> None:
        super().save_behind(snapshot, notices)
        self._go_on()

    def close(self) -> None:
        self.held = self._full = False
        self._go_on()
        super().close()

    def _go_on(self) -> None:
        with self._one_at_a_time:
            while not (self.held or self._full) and self._writer.write_group():
                pass
