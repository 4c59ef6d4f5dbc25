"""The cgroup of one task, version 1 or 2: limits, members, out-of-memory kills, counters.

Used by the native driver's workers and never on the way of a wake: a write to `cgroup.procs` takes 5 to 15 ms on a
quiet machine (a second hierarchy right after it, next to nothing). Methods raise OSError when the kernel refuses,
except those that only read or clean up. `cgroup_places` says where groups can be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

UNIFIED = "unified"
PERIOD_USEC = 100_000
_SMALLEST_QUOTA_USEC = 1_000
_LARGEST_SHARES = 262_144


class Group(Protocol):
    """What the driver needs of a task's cgroup."""

    caps_memory: bool
    caps_cpu: bool
    freezes: bool

    def create(self) -> None:
        """Make it; one that exists already is taken as it is."""

    def add(self, pid: int) -> None:
        """Put a process into it, all its threads with it."""

    def pids(self) -> list[int]:
        """Its processes; a dead one that nobody has waited for may be among them."""

    def limit_memory(self, size: int) -> None:
        """No more than `size` bytes, swap included."""

    def weigh_cpu(self, millis: int) -> None:
        """Its share of the processor while others want it too."""

    def cap_cpu(self, millis: int | None) -> None:
        """No more than `millis` thousandths of a core; None lifts it."""

    def freeze(self) -> None:
        """Have everything in it stand still; `frozen` says when it does."""

    def thaw(self) -> None:
        """Let it go on: 0.1 to 0.25 ms, unless a process is just being moved somewhere."""

    def frozen(self) -> bool:
        """Whether everything in it stands still."""

    def end(self) -> None:
        """Let nothing in it fork any more, and kill it whole where the kernel can."""

    def oom_kills(self) -> int:
        """How many processes were killed for want of memory."""

    def cpu_usec(self) -> int | None:
        """Processor time used so far, in µs."""

    def memory(self) -> int | None:
        """Bytes used now, without what the kernel can drop at will."""

    def remove(self) -> bool:
        """Give it back; False while something still lives in it."""


def shares(millis: int) -> int:
    """Version 1's cpu.shares: 1024 for a whole core."""
    return max(2, min(_LARGEST_SHARES, millis * 1024 // 1000))


def weight(millis: int) -> int:
    """Version 2's cpu.weight, by the kernel's own conversion from shares."""
    return 1 + (shares(millis) - 2) * 9999 // (_LARGEST_SHARES - 2)


def quota(millis: int) -> int:
    """µs of processor time in each period."""
    return max(_SMALLEST_QUOTA_USEC, millis * PERIOD_USEC // 1000)


class V2:
    """One directory of the unified hierarchy."""

    def __init__(self, folder: Path, controllers: frozenset[str]) -> None:
        self._folder = folder
        self.caps_memory = "memory" in controllers
        self.caps_cpu = "cpu" in controllers
        self.freezes = True  # it takes no controller

    def create(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def add(self, pid: int) -> None:
        _write(self._folder / "cgroup.procs", pid)

    def pids(self) -> list[int]:
        return _numbers(self._folder / "cgroup.procs")

    def limit_memory(self, size: int) -> None:
        _write(self._folder / "memory.max", size)
        _write_if_there(self._folder / "memory.swap.max", 0)
        _write_if_there(self._folder / "memory.oom.group", 1)

    def weigh_cpu(self, millis: int) -> None:
        _write(self._folder / "cpu.weight", weight(millis))

    def cap_cpu(self, millis: int | None) -> None:
        _write(self._folder / "cpu.max", f"{'max' if millis is None else quota(millis)} {PERIOD_USEC}")

    def freeze(self) -> None:
        _write(self._folder / "cgroup.freeze", 1)

    def thaw(self) -> None:
        _write(self._folder / "cgroup.freeze", 0)

    def frozen(self) -> bool:
        return _field(self._folder / "cgroup.events", "frozen") == 1

    def end(self) -> None:
        _write_if_there(self._folder / "cgroup.kill", 1)

    def oom_kills(self) -> int:
        return _field(self._folder / "memory.events", "oom_kill") or 0

    def cpu_usec(self) -> int | None:
        return _field(self._folder / "cpu.stat", "usage_usec")

    def memory(self) -> int | None:
        return _without_cache(
            _numbers(self._folder / "memory.current"), _field(self._folder / "memory.stat", "inactive_file")
        )

    def remove(self) -> bool:
        return _remove(self._folder)


class V1:
    """A directory in each of some hierarchies. `UNIFIED` among them is one of version 2 that has no controllers but can
    freeze: beside version 1's own freezer it is quicker, and what is killed in it dies."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._distinct = list(dict.fromkeys(folders.values()))
        self.caps_memory = "memory" in folders
        self.caps_cpu = "cpu" in folders
        self._unified = V2(folders[UNIFIED], frozenset()) if UNIFIED in folders else None
        self.freezes = self._unified is not None or "freezer" in folders

    def create(self) -> None:
        for folder in self._distinct:
            folder.mkdir(parents=True, exist_ok=True)

    def add(self, pid: int) -> None:
        for folder in self._distinct:
            _write(folder / "cgroup.procs", pid)

    def pids(self) -> list[int]:
        return sorted({pid for folder in self._distinct for pid in _numbers(folder / "cgroup.procs")})

    def limit_memory(self, size: int) -> None:
        limit, with_swap = (
            self._folders["memory"] / f"memory.{kind}limit_in_bytes" for kind in ("", "memsw.")
        )
        # swap's limit may never be below memory's, so the order depends on whether the limit rises or falls
        if with_swap.exists() and next(iter(_numbers(with_swap)), 0) < size:
            _write(with_swap, size)
        _write(limit, size)
        _write_if_there(with_swap, size)

    def weigh_cpu(self, millis: int) -> None:
        _write(self._folders["cpu"] / "cpu.shares", shares(millis))

    def cap_cpu(self, millis: int | None) -> None:
        _write(self._folders["cpu"] / "cpu.cfs_period_us", PERIOD_USEC)
        _write(self._folders["cpu"] / "cpu.cfs_quota_us", -1 if millis is None else quota(millis))

    def freeze(self) -> None:
        if self._unified is not None:
            self._unified.freeze()
        else:
            _write(self._folders["freezer"] / "freezer.state", "FROZEN")

    def thaw(self) -> None:
        if self._unified is not None:
            self._unified.thaw()
        elif "freezer" in self._folders:
            _write(self._folders["freezer"] / "freezer.state", "THAWED")

    def frozen(self) -> bool:
        if self._unified is not None:
            return self._unified.frozen()
        try:
            return (self._folders["freezer"] / "freezer.state").read_text().strip() == "FROZEN"
        except OSError:
            return False

    def end(self) -> None:
        if "pids" in self._folders:
            _write(self._folders["pids"] / "pids.max", 0)
        self.thaw()  # frozen by version 1 it could not even die

    def oom_kills(self) -> int:
        if "memory" not in self._folders:
            return 0
        return _field(self._folders["memory"] / "memory.oom_control", "oom_kill") or 0

    def cpu_usec(self) -> int | None:
        if "cpuacct" not in self._folders:
            return None
        nanoseconds = _numbers(self._folders["cpuacct"] / "cpuacct.usage")
        return nanoseconds[0] // 1000 if nanoseconds else None

    def memory(self) -> int | None:
        if "memory" not in self._folders:
            return None
        folder = self._folders["memory"]
        used = _numbers(folder / "memory.usage_in_bytes")
        return _without_cache(used, _field(folder / "memory.stat", "total_inactive_file"))

    def remove(self) -> bool:
        removed = [_remove(folder) for folder in self._distinct]
        return all(removed)


def _without_cache(used: list[int], droppable: int | None) -> int | None:
    return max(0, used[0] - (droppable or 0)) if used else None


def _write(path: Path, value: object) -> None:
    with open(path, "w") as file:
        file.write(str(value))


def _write_if_there(path: Path, value: object) -> None:
    if path.exists():
        _write(path, value)


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []


def _field(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    words = (line.split() for line in lines)
    return next((int(word[1]) for word in words if len(word) == 2 and word[0] == name), None)


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
