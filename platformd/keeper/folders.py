"""The folders of tasks: made ahead of the launch that takes them, removed when their task is forgotten.

`run/<task>/` holds the two FIFOs and the records, `work/<task>/` is the task's working directory. One thread.
"""

from __future__ import annotations

import errno
import os
import resource
from collections import deque

MOST_SPARES = 256  # so many apps may be woken at once without waiting for the file system
DESCRIPTORS_A_SPARE = 32  # of all there may be, for each spare, which holds four
RESERVE = 32  # descriptors kept back for records, output and serve itself
FIFOS = ("out", "err")
RECORDS = ("launch.json", "exit.json", "launch.json.tmp", "exit.json.tmp")
_TRASH = "trash-"


class Spare:
    """A pair of folders under a passing name, its FIFOs open: `ours` to read, `theirs` for the task."""

    __slots__ = ("name", "ours", "owner", "theirs")

    def __init__(self, name: str, owner: tuple[int, int]) -> None:
        self.name, self.owner = name, owner
        self.ours: list[int] = []
        self.theirs: list[int] = []
        try:
            self._make()
        except BaseException:
            self.discard()
            raise

    def _make(self) -> None:
        os.mkdir(f"run/{self.name}", 0o700)
        os.mkdir(f"work/{self.name}", 0o700)
        if self.owner != (os.geteuid(), os.getegid()):
            os.chown(f"work/{self.name}", *self.owner)
        for fifo in FIFOS:
            path = f"run/{self.name}/{fifo}"
            os.mkfifo(path)
            os.chmod(path, 0o666)  # a task of another user may open /dev/stdout; run/ itself is closed to it
            self.ours.append(open_fifo(path))
            # read-write: the task never gets SIGPIPE, whatever becomes of the keeper
            self.theirs.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        if max(self.theirs) >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVE:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def give(self, task: str, owner: tuple[int, int]) -> None:
        """Put the folders where `task` has them; files left there by an earlier failure are cleared away."""
        if owner != self.owner:
            os.chown(f"work/{self.name}", *owner)
            self.owner = owner
        for room in ("run", "work"):
            try:
                os.rename(f"{room}/{self.name}", f"{room}/{task}")
            except OSError:
                _remove_tree(f"{room}/{task}")
                os.rename(f"{room}/{self.name}", f"{room}/{task}")
        self.name = task

    def close_theirs(self) -> None:
        while self.theirs:
            os.close(self.theirs.pop())

    def discard(self) -> None:
        """Close and remove everything; never raises."""
        self.close_theirs()
        while self.ours:
            os.close(self.ours.pop())
        remove(self.name)


class Spares:
    """Keeps spares ready; `take` makes one on the spot when there is none."""

    def __init__(self) -> None:
        self.ready: deque[Spare] = deque()
        self.owner = (os.geteuid(), os.getegid())
        self._number = 0
        self._refused = False
        self.enough = min(MOST_SPARES, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // DESCRIPTORS_A_SPARE)

    def take(self) -> Spare:
        self._refused = False
        return self.ready.popleft() if self.ready else self._make()

    def short(self) -> bool:
        """True when one more is due: made when there is nothing else to do."""
        return len(self.ready) < self.enough and not self._refused

    def top_up(self) -> None:
        """Make one more. Where none can be had, it is tried again once something was started or forgotten."""
        try:
            self.ready.append(self._make())
        except OSError:
            self._refused = True

    def retry(self) -> None:
        """There may be room again."""
        self._refused = False

    def take_back(self, spare: Spare) -> bool:
        """One that was given and not used; False when it is to be discarded instead."""
        try:
            spare.give(self._name(), spare.owner)
        except OSError:
            return False
        wanted = len(self.ready) < self.enough
        if wanted:
            self.ready.append(spare)
        return wanted

    def _make(self) -> Spare:
        return Spare(self._name(), self.owner)

    def _name(self) -> str:
        self._number += 1
        return f"spare-{self._number}"

    def clear(self) -> None:
        while self.ready:
            self.ready.pop().discard()


def open_fifo(path: str) -> int:
    """The keeper's end: never blocks, and reads its end once no process holds the other one."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def prepare() -> None:
    """Make the rooms, and remove what an earlier keeper had made ahead."""
    for room, mode in (("run", 0o700), ("work", 0o711), ("logs", 0o700)):
        os.makedirs(room, exist_ok=True)
        os.chmod(room, mode)
    for name in {*os.listdir("run"), *os.listdir("work")}:
        if name.startswith("spare-"):
            remove(name)
    for name in os.listdir("work"):
        if name.startswith(_TRASH):
            _delete(f"work/{name}")


def remove(task: str) -> None:
    """Remove the folders of a task; never raises. What a task left behind may be large: `rm` does that beside us."""
    for name in (*FIFOS, *RECORDS):
        try:
            os.unlink(f"run/{task}/{name}")
        except OSError:
            continue
    for room in ("run", "work"):
        _remove_tree(f"{room}/{task}")


def _remove_tree(path: str) -> None:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError:
        trash = f"work/{_TRASH}{os.path.basename(path)}-{os.urandom(4).hex()}"
        try:
            os.rename(path, trash)
        except OSError:
            return
        _delete(trash)


def _delete(path: str) -> None:
    """Reaped with the orphans."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    try:
        os.posix_spawn("/bin/rm", ["rm", "-rf", "--", path], {}, file_actions=actions, setsid=True)
    except OSError:
        return
    finally:
        os.close(null)
