"""What the keeper asks of the kernel beyond the `os` module: clocks, /proc, subreaper, exit codes by pidfd.

Called by every part of the keeper. One thread.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PR_SET_CHILD_SUBREAPER = 36
_SYS_PIDFD_GETFD = 438
_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, 64 bytes)
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("<QQ11Ii")  # mask, cgroup, pid … fsgid, exit status
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

_knows: bool | None = None


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def now_us() -> int:
    return time.time_ns() // 1000


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def ticks(boot_ns: int) -> int:
    """An instant of the boot clock in the unit of start times."""
    return boot_ns // _TICK_NS


def instant(ticks: int) -> int:
    """The instant of the boot clock at which a start time began."""
    return ticks * _TICK_NS


def start_time(pid: int) -> int | None:
    """Ticks after boot at which `pid` started; None when it is gone or a zombie."""
    fields = _stat(pid)
    return None if not fields or fields[0] in (b"Z", b"X") else int(fields[19])


def born_at(pid: int) -> int:
    """As `start_time`, for zombies too; 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on; empty when there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return os.read(fd, 4096).rpartition(b") ")[2].split()
    except ProcessLookupError:
        return []
    finally:
        os.close(fd)


def environment(pid: int) -> dict[bytes, bytes]:
    """The environment `pid` was started with; empty when it may not be read."""
    pairs = (item.partition(b"=") for item in _proc(pid, "environ").split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def arguments(pid: int) -> list[bytes]:
    """The command line of `pid`."""
    return _proc(pid, "cmdline").split(b"\0")[:-1]


def _proc(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def processes() -> Iterator[int]:
    """Every pid there is now."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def is_leader(pid: int) -> bool:
    """True when `pid` began its own session, as every launched task does."""
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def become_subreaper() -> None:
    """Orphans of our tasks become our children, so nothing of them is lost to init."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def fetch_descriptor(pid: int, number: int) -> int | None:
    """A duplicate of descriptor `number` of another process; None when the kernel or its rules refuse."""
    import ctypes

    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        fd = int(ctypes.CDLL(None).syscall(_SYS_PIDFD_GETFD, handle, number, 0))
    finally:
        os.close(handle)
    return fd if fd >= 0 else None


def exit_status(pidfd: int) -> int | None:
    """The wait status of a process that is no child of ours; None where the kernel does not tell (yet)."""
    raw = bytearray(64)
    raw[:8] = struct.pack("<Q", _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, raw)
    except OSError:
        return None
    mask, *_, status = _PIDFD_INFO.unpack_from(raw)
    return status if mask & _PIDFD_INFO_EXIT else None


def knows_exit_status() -> bool:
    """True where the kernel tells the exit status of processes that are no children (probed once, on ourselves)."""
    global _knows
    if _knows is None:
        pidfd = os.pidfd_open(os.getpid())
        raw = bytearray(64)
        raw[:8] = struct.pack("<Q", _PIDFD_INFO_EXIT)
        try:
            fcntl.ioctl(pidfd, _PIDFD_GET_INFO, raw)
            _knows = True
        except OSError:
            _knows = False
        finally:
            os.close(pidfd)
    return _knows


class OomScore:
    """Our own score: low for the keeper, back to what it was for the instant a task is spawned."""

    KEEPER = b"-900"

    def __init__(self) -> None:
        self.fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self.inherited = os.read(self.fd, 16).strip()
        if self.inherited == self.KEEPER:
            self.inherited = b"0"
        self.lowered = self.set(self.KEEPER)

    def set(self, value: bytes) -> bool:
        """False when the privilege is missing."""
        try:
            os.pwrite(self.fd, value, 0)
        except OSError:
            return False
        return True
