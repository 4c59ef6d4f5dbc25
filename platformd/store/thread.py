"""The writer's thread: drives the groups, the checkpoints of the write-ahead log, and tries again on a full disk."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import structlog
from peewee import SqliteDatabase

from platformd.store.writer import Writer

IDLE_SECS = 1.0
RETRY_SECS = 0.25
LARGEST_LOG = 16 << 20
SMALLEST_LOG = 256 << 10

_log = structlog.get_logger(__name__)


class WriterThread:
    """Owns the writing connection from `start` to `close`, which may be called from any thread."""

    def __init__(self, writer: Writer, database: SqliteDatabase, path: Path) -> None:
        self._writer = writer
        self._database = database
        self._log_path = path.with_name(path.name + "-wal")
        self._blocked_at = 0
        self._dirty = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write what was accepted, then close the database."""
        self._writer.close()
        self._thread.join()

    def _run(self) -> None:
        while not self._writer.closed:
            try:
                self._turn()
            except Exception:
                _log.exception("store.writer_turn_failed")
                self._writer.wait(RETRY_SECS)
        self._finish()

    def _turn(self) -> None:
        refused = self._writer.disk_refused
        if self._writer.wait(RETRY_SECS if refused else IDLE_SECS):
            self._write()
        elif refused:
            self._checkpoint()
            self._write()
        elif self._dirty:
            self._checkpoint()

    def _write(self) -> None:
        if not self._writer.write_group():
            return
        self._dirty = True
        if self._log_size() > self._blocked_at + self._largest_log():
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Bring the log into the database and empty it. A reader in the way or a full disk put it off."""
        try:
            blocked, _, _ = self._database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except Exception as error:
            _log.warning("store.checkpoint_failed", why=str(error))
            blocked = True
        self._dirty = bool(blocked)
        self._blocked_at = self._log_size() if blocked else 0

    def _largest_log(self) -> int:
        """On a small disk the log must leave the database room to take it in."""
        disk = os.statvfs(self._log_path.parent)
        return max(SMALLEST_LOG, min(LARGEST_LOG, disk.f_bavail * disk.f_frsize // 4))

    def _log_size(self) -> int:
        try:
            return self._log_path.stat().st_size
        except FileNotFoundError:
            return 0

    def _finish(self) -> None:
        while self._writer.write_group() and not self._writer.disk_refused:
            pass
        self._checkpoint()
        self._database.close()
