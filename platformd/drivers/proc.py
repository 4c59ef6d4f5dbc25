"""Processes as the kernel shows them: who they are, whose they are, and signals that cannot reach a stranger.

Used by the native driver's parts, from any thread. A process is named by pid and start time (field 22 of
/proc/PID/stat, in ticks); a process that vanishes while it is read is simply not there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
_DEAD = frozenset(b"ZXx")
_STOPPED = (b"T", b"t")
_SIGKILL_BIT = 1 << (signal.SIGKILL - 1)
_SHORT_BYTES, _MOST_BYTES = 2048, 4 << 20


class Process(NamedTuple):
    """One line of /proc/PID/stat, as far as anybody here needs it. `cpu_ticks` includes children waited for."""

    pid: int
    parent: int
    session: int
    start_time: int
    cpu_ticks: int
    alive: bool
    stopped: bool = False


def read(pid: int) -> Process | None:
    """The process `pid` as it is now, zombies included; None when there is none."""
    raw = _read(f"/proc/{pid}/stat")
    return None if raw is None else _parse(pid, raw)


def alive(pid: int, start_time: int) -> bool:
    """True while that very process runs; a zombie does not."""
    process = read(pid)
    return process is not None and process.start_time == start_time and process.alive


def pids() -> list[int]:
    """The numbers of all processes."""
    return [int(name) for name in os.listdir("/proc") if name[0] in "123456789"]


def table() -> dict[int, Process]:
    """Every live process, zombies left out: one read each, ~20 µs a process."""
    return pick(pids())


def forks() -> int | None:
    """How many processes and threads the machine has started since it booted."""
    raw = _read("/proc/stat") or b""
    start = raw.rfind(b"\nprocesses ")
    return int(raw[start + 11 :].split(None, 1)[0]) if start >= 0 else None


def pick(pids: Iterable[int]) -> dict[int, Process]:
    """The live ones among `pids`."""
    found = (read(pid) for pid in pids)
    return {process.pid: process for process in found if process is not None and process.alive}


def environ(pid: int) -> dict[str, str]:
    """The environment `pid` was started with, as far as it may be read and has not been written over."""
    raw = _read(f"/proc/{pid}/environ") or b""
    pairs = (item.partition(b"=") for item in raw.split(b"\0") if item)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def has_marker(pid: int, task_id: str) -> bool:
    """True when `pid` was started with TASK_ID=`task_id` in its environment."""
    raw = _read(f"/proc/{pid}/environ")
    marker = b"TASK_ID=" + os.fsencode(task_id) + b"\0"
    return raw is not None and (raw.startswith(marker) or b"\0" + marker in raw)


def children(pid: int) -> list[int] | None:
    """The direct children of `pid`; None where the kernel does not tell."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        path = f"/proc/{pid}/task/{thread}/children"
        raw = _read(path)
        if raw is None:
            if thread == str(pid) and Path(f"/proc/{pid}").exists() and not Path(path).exists():
                return None
            continue
        found.extend(map(int, raw.split()))
    return found


def below(roots: Iterable[int], most: int = 4096) -> list[int] | None:
    """Everything under `roots` (left out themselves), nearest first; None where the kernel does not tell."""
    waiting = list(roots)
    seen, found = set(waiting), list[int]()
    while waiting and len(found) < most:
        pids = children(waiting.pop(0))
        if pids is None:
            return None
        fresh = [pid for pid in pids if pid not in seen]
        seen.update(fresh)
        found.extend(fresh)
        waiting.extend(fresh)
    return found


def families(processes: Mapping[int, Process]) -> dict[int, list[int]]:
    """Parent → children, of a table."""
    found: dict[int, list[int]] = {}
    for process in processes.values():
        found.setdefault(process.parent, []).append(process.pid)
    return found


def send(pid: int, start_time: int, number: int) -> bool:
    """Signal that very process and no other; False when it is gone or may not be signalled.

    The pidfd is opened first and the start time read afterwards, so the pid cannot have changed hands in between.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        process = read(pid)
        if process is None or process.start_time != start_time:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def folder(pid: int) -> str:
    """The working directory of `pid`, also when it has been removed; empty when it may not be looked at."""
    try:
        return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")
    except OSError:
        return ""


def uid(pid: int) -> int | None:
    """The user `pid` runs as."""
    raw = _read(f"/proc/{pid}/status")
    if raw is None:
        return None
    start = raw.find(b"\nUid:")
    return int(raw[start + 5 :].split(None, 2)[1]) if start >= 0 else None


def is_killed(pid: int) -> bool:
    """True when a SIGKILL waits for `pid`, which cannot take it because it is frozen."""
    for line in (_read(f"/proc/{pid}/status") or b"").splitlines():
        if line.startswith((b"SigPnd:", b"ShdPnd:")) and int(line.split()[1], 16) & _SIGKILL_BIT:
            return True
    return False


def command(pid: int) -> str:
    """What `pid` shows as its command line, for people; at most 200 characters."""
    raw = _read(f"/proc/{pid}/cmdline") or b""
    text = raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return (text or (_read(f"/proc/{pid}/comm") or b"?").decode("utf-8", "replace").strip())[:200]


def memory(pid: int) -> int:
    """Resident bytes of `pid`; 0 when it is gone."""
    raw = _read(f"/proc/{pid}/statm")
    return int(raw.split(None, 2)[1]) * PAGE if raw else 0


def proportional_memory(pid: int) -> int:
    """Resident bytes with what is shared counted once among its sharers; falls back to all of it."""
    raw = _read(f"/proc/{pid}/smaps_rollup") or b""
    for line in raw.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return memory(pid)


def _parse(pid: int, raw: bytes) -> Process | None:
    fields = raw[raw.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    # the first thread may have ended, a zombie to look at, while others go on
    running = fields[0][0] not in _DEAD or int(fields[17]) > 1
    ticks = sum(map(int, fields[11:15]))
    return Process(
        pid, int(fields[1]), int(fields[3]), int(fields[19]), ticks, running, fields[0] in _STOPPED
    )


def _read(path: str) -> bytes | None:
    """Plain descriptors: /proc is read by the thousand and buffered files cost three times as much."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        raw = os.read(descriptor, 65536)
        while _SHORT_BYTES < len(raw) < _MOST_BYTES:  # lists come a page at a time, filled to whole entries
            more = os.read(descriptor, 65536)
            if not more:
                break
            raw += more
        return raw
    except OSError:
        return None
    finally:
        os.close(descriptor)
