"""Starting a process: the keeper puts on its user, folder and limits, spawns, and is itself again.

posix_spawn can change neither user nor folder nor limits, a fork would copy the keeper, and a helper program would
cost a second exec. The keeper has one thread, so wearing them for the instant of the spawn harms nobody. One thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket

from .linux import OomScore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGNALS = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]
_LIMITS = {
    name: getattr(resource, f"RLIMIT_{name}")
    for name in ("AS", "CORE", "DATA", "FSIZE", "MEMLOCK", "NOFILE", "NPROC", "STACK")
}
_LISTEN_PID = 'export LISTEN_PID=$$; exec "$@"'
_BACKLOG = 4096
SLOTS = 16  # so many, and none below: no slot lies where a child's descriptor is to go


class Identity:
    """What the keeper wears around one spawn."""

    __slots__ = ("gid", "limits", "uid")

    def __init__(self, uid: int | None, gid: int | None, limits: dict[str, int]) -> None:
        self.uid, self.gid = uid, uid if gid is None else gid
        for number in (self.uid, self.gid):
            if number is not None and not 0 <= number < 2**32 - 1:
                raise ValueError(f"{number} is no user or group")
        unknown = sorted(limits.keys() - _LIMITS.keys())
        if unknown:
            raise OSError(
                errno.EINVAL, f"limits {', '.join(unknown)} cannot be set; known: {', '.join(_LIMITS)}"
            )
        self.limits = limits

    @property
    def owner(self) -> tuple[int, int] | None:
        return None if self.uid is None or self.gid is None else (self.uid, self.gid)


def _reserve_slots() -> list[int]:
    """The first one always is /dev/null, the others are while nothing is spawned."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        return [fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, SLOTS) for _ in range(SLOTS)]
    finally:
        os.close(null)


class Spawner:
    """Spawns with an identity; whatever happens, the keeper is as before afterwards.

    What a child inherits is put into low `slots` for the instant of the spawn: the C library passes on no descriptor
    whose number is beyond the child's soft limit (1024 as a rule), and the keeper may hold many thousands.
    """

    def __init__(
        self,
        oom_inherited: str | None = None,
        nofile: int | None = None,
        slots: Sequence[int] = (),
    ) -> None:
        self.oom = OomScore()
        if oom_inherited is not None:
            self.oom.inherited = oom_inherited.encode()
        self.uid, self.gid, self.groups = os.geteuid(), os.getegid(), os.getgroups()
        self.home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.slots = list(slots) or _reserve_slots()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.nofile = soft if nofile is None else nofile
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.soft = {name: resource.getrlimit(number)[0] for name, number in _LIMITS.items()}

    def spawn(
        self,
        argv: Sequence[str],
        env: dict[str, str],
        folder: str,
        fds: Sequence[int],
        identity: Identity | None = None,
    ) -> int:
        """The pid of the new process; OSError says why there is none. `fds` become 1 (stdout), 2, 3, …"""
        null, *slots = self.slots[: 1 + len(fds)]
        actions = [(os.POSIX_SPAWN_DUP2, slot, number) for number, slot in enumerate((null, *slots))]
        try:
            for fd, slot in zip(fds, slots, strict=True):
                os.dup2(fd, slot, inheritable=False)
            self._put_on(folder, identity)
            return _posix_spawn(argv, env, actions)
        finally:
            self._take_off(identity)
            for slot in slots:
                os.dup2(null, slot, inheritable=False)

    def _put_on(self, folder: str, identity: Identity | None) -> None:
        os.chdir(folder)
        if self.oom.lowered:
            self.oom.set(self.oom.inherited)
        for name, soft in {"NOFILE": self.nofile, **(identity.limits if identity else {})}.items():
            _set_soft_limit(name, soft)
        if identity is None or identity.owner is None or identity.owner == (self.uid, self.gid):
            return
        uid, gid = identity.owner
        os.setgroups([gid])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, self.uid)  # the saved one brings us back, and is lost to the child at its exec

    def _take_off(self, identity: Identity | None) -> None:
        if identity is not None and identity.owner is not None:
            if os.geteuid() != self.uid:
                os.setresuid(self.uid, self.uid, self.uid)
            if os.getresgid() != (self.gid, self.gid, self.gid):
                os.setresgid(self.gid, self.gid, self.gid)
            if os.getgroups() != self.groups:
                os.setgroups(self.groups)
        os.fchdir(self.home)
        for name in {"NOFILE", *(identity.limits if identity else ())}:
            _set_soft_limit(name, self.soft[name])
        if self.oom.lowered:
            self.oom.set(self.oom.KEEPER)

    def close(self) -> None:
        for fd in (self.oom.fd, self.home, *self.slots):
            os.close(fd)


def _set_soft_limit(name: str, soft: int) -> None:
    """As asked, or what the hard limit allows."""
    hard = resource.getrlimit(_LIMITS[name])[1]
    allowed = soft if hard == resource.RLIM_INFINITY else hard if soft == -1 else min(soft, hard)
    resource.setrlimit(_LIMITS[name], (allowed, hard))


def _posix_spawn(argv: Sequence[str], env: dict[str, str], actions: list[tuple[int, int, int]]) -> int:
    failure = OSError(errno.ENOENT, f"{argv[0]} is not in the PATH of its environment")
    for path in _candidates(argv[0], env):
        try:
            return os.posix_spawn(
                path, list(argv), env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_SIGNALS
            )
        except FileNotFoundError as error:
            if "/" in argv[0]:
                raise OSError(errno.ENOENT, _missing(path)) from error
        except PermissionError as error:
            failure = OSError(error.errno, f"{path} may not be executed: {error.strerror}")
    raise failure


def _candidates(program: str, env: dict[str, str]) -> list[str]:
    if "/" in program:
        return [program]
    return [f"{folder or '.'}/{program}" for folder in env.get("PATH", "/usr/bin:/bin").split(":")]


def _missing(path: str) -> str:
    if os.path.exists(path):
        return f"{path} names an interpreter or loader in its first bytes that does not exist here"
    return f"{path} does not exist"


def with_listen_pid(argv: Sequence[str]) -> list[str]:
    """`argv` wrapped so that LISTEN_PID names the process that runs it."""
    if "/" in argv[0] and not os.access(argv[0], os.X_OK):
        reason = errno.EACCES if os.path.exists(argv[0]) else errno.ENOENT
        raise OSError(reason, f"{argv[0]} cannot be executed: {os.strerror(reason)}")
    return ["/bin/sh", "-c", _LISTEN_PID, "sh", *argv]


def listen(host: str, port: int) -> socket.socket:
    """A new listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock


def is_free(port: int) -> bool:
    """True when a program can listen on that port of any address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("", port))
        except OSError:
            return False
        return True
