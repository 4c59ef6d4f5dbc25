"""A server of a command's own: `platformd serve` as a child over a temporary folder, and nothing left of it afterwards.

Used by `demo` and `bench`; single-threaded.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from platformd import clock
from platformd.client import Client

READY_SECS = 60.0
STOP_SECS = 40.0
_LEAVE_SECS = 10.0
_PATIENCE_SECS = 2.0
_TAIL = 2000


class LocalServerFailed(Exception):
    """The server does not start, or ended by itself; the text has the end of its log."""


class Ended(Exception):
    """Somebody wants the command to end: Ctrl-C, SIGTERM, or the terminal went away."""


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """A folder that is gone afterwards. Tasks may run under another account, which must be able to enter it."""
    folder = Path(tempfile.mkdtemp(prefix=f"platformd-{name}-", dir=_open_to_all()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_to_all() -> Path:
    """The first usual place that any account may enter; if there is none, where temporary files go anyway."""
    usual = Path(tempfile.gettempdir())
    for place in (usual, Path("/tmp"), Path("/var/tmp")):
        folders = (place.resolve(), *place.resolve().parents)
        with contextlib.suppress(OSError):
            if all(folder.stat().st_mode & stat.S_IXOTH for folder in folders) and os.access(place, os.W_OK):
                return place
    return usual


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within, SIGINT, SIGTERM and SIGHUP raise `Ended` once; what is cleaned up after that is let finish."""

    def end(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Ended

    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup wants it
    ]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class LocalServer:
    """`start`, `stop`, `start` again; leaving the with-block ends whatever lives of it, keeper and tasks included."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "serve.log"
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self.api_url = self.gateway_url = ""

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._end_family()

    def add_flags(self, *flags: str) -> None:
        """More flags, from the next start on."""
        self._flags += flags

    @property
    def client(self) -> Client:
        return Client(self.api_url, patience=_PATIENCE_SECS)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """Returns once it says that it is ready; the seconds that took."""
        command = [sys.executable, "-m", "platformd", "serve", "--data-dir", str(self.data_dir)]
        # The user's own settings are for the user's own server.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORMD_")}
        begun = clock.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--stop-tasks-on-exit", "--log-format", "json", *self._flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environ,
                start_new_session=True,  # Ctrl-C is for the command, which then ends it in good order
            )
        words = dict(word.split("=", 1) for word in self._announcement().split() if "=" in word)
        self.api_url, self.gateway_url = words["api"], words["gateway"]
        return clock.monotonic() - begun

    def _announcement(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        said, deadline = b"", clock.monotonic() + READY_SECS
        while not said.endswith(b"\n"):
            left = deadline - clock.monotonic()
            if left <= 0:
                raise LocalServerFailed(
                    f"the server is not ready after {READY_SECS:g} s; its log ends:\n{self.tail()}"
                )
            if select.select([self._process.stdout], [], [], left)[0]:
                block = os.read(self._process.stdout.fileno(), 4096)
                if not block:
                    raise LocalServerFailed(f"the server does not start; its log ends:\n{self.tail()}")
                said += block
        return said.decode()

    def stop(self) -> float:
        """An orderly end that takes the tasks along; the seconds it took, 0 if it did not run."""
        process, self._process = self._process, None
        if process is None:
            return 0.0
        begun = clock.monotonic()
        with process:
            process.terminate()
            try:
                process.wait(STOP_SECS)
            except subprocess.TimeoutExpired:
                process.kill()
        return clock.monotonic() - begun

    def tail(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-_TAIL:]
        return "(no log)"

    def family(self) -> list[psutil.Process]:
        """Every process that belongs to the data directory, by its command line or its working directory."""
        mine = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = [*process.cmdline(), process.cwd()]
                if any(str(self.data_dir) in word for word in words) and process.pid != os.getpid():
                    mine.append(process)
        return mine

    def _end_family(self) -> None:
        """They leave by themselves; what does not is killed."""
        if wait_until(lambda: not self.family(), _LEAVE_SECS):
            return
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                process.kill()
        wait_until(lambda: not self.family(), _LEAVE_SECS)


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Whether `condition` came true within `seconds`."""
    deadline = clock.monotonic() + seconds
    while not condition():
        if clock.monotonic() > deadline:
            return False
        pause(every)
    return True


def pause(seconds: float) -> None:
    threading.Event().wait(max(0.0, seconds))
