"""Pieces of blocking work, one at a time for each build, that can be ended from any thread.

A job runs on a thread of the workshop's pool. Whatever it starts is a child process in a session of its own, which
dies with the job; a child that outlived a killed server is found by its marker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from platformd.domain.snapshot import Reason

MARKER = "PLATFORMD_BUILD"
LAST_LINES = 20
LONGEST_LINE = 64 << 10
_AGAIN = 50

Say = Callable[[Sequence[str]], None]


class WorkEnded(Exception):
    """Somebody ended the job."""


class WorkRefused(Exception):
    """The work cannot be done; `reason` is what the build fails with."""

    def __init__(self, code: str, message: str, last_lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.reason = Reason(code=code, message=message, last_lines=tuple(last_lines))


class OutputTooLarge(Exception):
    """A program wrote more than anybody wants to hold in memory."""


class ChildFailed(Exception):
    """A program ended with `code` (negative: by that signal) after saying `last_lines`."""

    def __init__(self, program: str, code: int, last_lines: Sequence[str]) -> None:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        super().__init__(f"{program} {how}")
        self.code, self.last_lines = code, tuple(last_lines)


class Job:
    """`say` takes lines for the build's log."""

    def __init__(self, build_id: str, say: Say) -> None:
        self.build_id, self.say = build_id, say
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self.ended = False

    def end(self) -> None:
        """From any thread: what runs is killed, what would start does not."""
        with self._lock:
            self.ended = True
            if self._child is not None:
                _kill_session(self._child.pid)

    def check(self) -> None:
        """Between steps of work that no child does."""
        if self.ended:
            raise WorkEnded

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        input: bytes | None = None,
        quiet: bool = False,
        largest_file: int | None = None,
        largest_output: int | None = None,
        most_memory: int | None = None,
    ) -> bytes:
        """Run a program to its end: what it wrote to its output, unless that went to the log (not `quiet`), as what
        it says on its error stream always does. In bytes, `largest_file` bounds each file it writes, `largest_output`
        what is kept of its output, `most_memory` what it, and each process that it starts, may allocate. ChildFailed,
        OutputTooLarge, WorkEnded."""
        program = Path(argv[0]).name
        child = self._start([*_limits(largest_file, most_memory), *argv], env, cwd)
        lines: deque[str] = deque(maxlen=LAST_LINES)
        output = _Output(largest_output, lambda: _kill_session(child.pid))
        threads = [threading.Thread(target=self._follow, args=(child.stderr, lines), daemon=True)]
        if quiet:
            threads.append(threading.Thread(target=output.collect, args=(child.stdout,), daemon=True))
        else:
            threads.append(threading.Thread(target=self._follow, args=(child.stdout, lines), daemon=True))
        for thread in threads:
            thread.start()
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(input or b"")
            child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # still a zombie: its number is nobody else's
        _kill_session(child.pid)
        for thread in threads:
            thread.join()
        with self._lock:
            code = child.wait()
            self._child = None
        for pipe in (child.stdout, child.stderr, child.stdin):
            if pipe is not None:
                pipe.close()
        self.check()
        if output.excess:
            raise OutputTooLarge(f"{program} wrote more than {largest_output} bytes")
        if code != 0:
            raise ChildFailed(program, code, lines)
        return b"".join(output.pieces)

    def _start(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
        with self._lock:
            self.check()
            self._child = subprocess.Popen(
                list(argv),
                env={**env, MARKER: self.build_id},
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            return self._child

    def _follow(self, pipe: IO[bytes] | None, lines: deque[str]) -> None:
        assert pipe is not None
        while raw := pipe.readline(LONGEST_LINE):
            text = raw.decode("utf-8", "replace").rstrip("\r\n")
            text = text.rsplit("\r", 1)[-1]
            if text:
                lines.append(text)
                self.say([text])


class _Output:
    """What a child writes; beyond `most` bytes it is ended and nothing is kept."""

    def __init__(self, most: int | None, end: Callable[[], None]) -> None:
        self._most, self._end = most, end
        self.pieces: list[bytes] = []
        self.excess = False

    def collect(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        size = 0
        while piece := pipe.read(1 << 20):
            size += len(piece)
            if self._most is not None and size > self._most:
                self.excess = True
                self.pieces.clear()
                self._end()
            if not self.excess:
                self.pieces.append(piece)


def _limits(largest_file: int | None, most_memory: int | None) -> list[str]:
    """The words before a program's own that bound it; what is bound tighter already stays so. Files that are mapped to
    be read count as no memory."""
    blocks, kibibytes = (largest_file or 0) // 512, (most_memory or 0) >> 10
    bounds = [f"ulimit -f {max(1, blocks)}; "] if largest_file is not None else []
    bounds += [f"ulimit -d {max(1, kibibytes)}; "] if most_memory is not None else []
    return ["/bin/sh", "-c", f'{"".join(bounds)}exec "$@"', "sh"] if bounds else []


def _kill_session(pid: int) -> None:
    """Everything in the process group that the child leads."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def end_orphans(build_id: str) -> None:
    """End what an earlier server had started for this build and nobody waits for any more."""
    for _ in range(_AGAIN):
        found = [process for process in psutil.process_iter() if _marker(process) == build_id]
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not found:
            return
        psutil.wait_procs(found, timeout=1)


def _marker(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARKER)
    except (psutil.Error, OSError):
        return None
