"""What can be found out about a machine: each function looks at one thing and answers with a `Check`.

Called by `platformd doctor`; single-threaded. A function never raises for what it finds: a machine without
the thing it looks for is a finding, too. Paths in /proc and /sys are parameters: tests show others.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platformd import clock
from platformd.links.engine import EngineAnswer, EngineLink
from platformd.setting_kinds import Account, show

Status = Literal["ok", "warn", "fail"]

_MIB = 1 << 20
_WANTED_CONTROLLERS = ("cpu", "memory", "pids", "freezer")
_WANTED_DESCRIPTORS = 65536
_NOBODY = 65534
_PATIENCE = 2.0  # seconds for an engine to answer


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, how good it is, what was seen, and what to do ("" if nothing)."""

    name: str
    status: Status
    finding: str
    advice: str = ""

    def describe(self) -> dict[str, str]:
        """The shape of `doctor --json`."""
        return {"name": self.name, "status": self.status, "finding": self.finding, "advice": self.advice}


def _is_there(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises below a folder that may not be entered


def python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def kernel(release: str | None = None) -> Check:
    """pidfds, on which every signal and every adoption rests, came with 5.3; waiting on them with 5.4."""
    release = release or os.uname().release
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if os.uname().sysname != "Linux" or numbers < (5, 4):
        return Check("kernel", "fail", f"{os.uname().sysname} {release}", "run Linux 5.4 or newer")
    return Check("kernel", "ok", f"Linux {release}")


def cgroups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[Check]:
    """One check for each controller that limits or freezes tasks, of whichever version holds it."""
    advice = {
        "cpu": "CPU is shared by the kernel's own rules: run as root, or delegate this controller",
        "memory": "memory is watched, not capped by the kernel: run as root, or delegate this controller",
        "pids": "a fork bomb is not contained: run as root, or delegate this controller",
        "freezer": "sleep.mode freeze stops each process by SIGSTOP: run as root, or delegate cgroups",
    }
    found = dict(_controllers(root, own))
    return [_controller(name, found.get(name), advice[name]) for name in _WANTED_CONTROLLERS]


def _controllers(root: Path, own: Path) -> Iterator[tuple[str, Path]]:
    """Each controller with the folder below which this process may hope to make groups."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names:
            for name in names.split(","):
                yield name, _existing(root / name, path)
            continue
        unified = root if _is_there(root / "cgroup.controllers") else root / "unified"
        folder = _existing(unified, path)
        try:
            listed = (folder / "cgroup.controllers").read_text().split()
        except OSError:
            continue
        for name in (*listed, "freezer"):  # v2 freezes any group without a controller for it
            yield name, folder


def _existing(mount: Path, path: str) -> Path:
    """The process's own group below `mount`; the mount itself where a container shows no more than that."""
    folder = mount / path.lstrip("/")
    return folder if _is_there(folder) else mount


def _controller(name: str, folder: Path | None, advice: str) -> Check:
    title = f"cgroup {name}"
    if folder is None:
        return Check(title, "warn", "not there", advice)
    version = "v2" if _is_there(folder / "cgroup.controllers") else "v1"
    probe = folder / f"platformd-doctor-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return Check(title, "warn", f"{version}, {folder} is not writable: {error.strerror}", advice)
    return Check(title, "ok", f"{version}, writable at {folder}")


def exit_codes() -> Check:
    """PIDFD_GET_INFO of an ended child: how a process that is not its parent learns its exit code."""
    name, needed = "exit codes", "PIDFD_GET_INFO (Linux 6.15)"
    try:
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {})
    except OSError as error:
        return Check(name, "fail", f"/bin/sh cannot be started: {error.strerror}", "see why")
    try:
        handle = os.pidfd_open(pid)
    except OSError as error:
        os.waitpid(pid, 0)
        return Check(name, "fail", f"no pidfds: {error.strerror}", "allow pidfd_open in the seccomp profile")
    try:
        os.waitpid(pid, 0)
        code = _pidfd_exit_code(handle)
    finally:
        os.close(handle)
    if code != 7:
        advice = "none needed; should the keeper be killed, exit codes of that time are unknown"
        return Check(name, "warn", f"{needed} is not there", advice)
    return Check(name, "ok", f"{needed} tells them even after a killed keeper")


class _PidfdInfo(ctypes.Structure):
    """struct pidfd_info of linux/pidfd.h, first version."""

    _fields_ = [
        ("mask", ctypes.c_uint64),
        ("cgroupid", ctypes.c_uint64),
        ("ids", ctypes.c_uint32 * 11),
        ("exit_code", ctypes.c_int32),
    ]


def _pidfd_exit_code(handle: int) -> int | None:
    size, exit_flag = ctypes.sizeof(_PidfdInfo), 1 << 3
    request = (3 << 30) | (size << 16) | (0xFF << 8) | 11  # _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)
    info = bytearray(_PidfdInfo(mask=exit_flag))
    try:
        fcntl.ioctl(handle, request, info)
    except OSError:
        return None
    answer = _PidfdInfo.from_buffer(info)
    return os.waitstatus_to_exitcode(answer.exit_code) if answer.mask & exit_flag else None


def account(run_as: Account | None, uid: int | None = None) -> Check:
    uid = os.geteuid() if uid is None else uid
    if uid == 0:
        runs_as = show(run_as) if run_as else f"{_NOBODY}:{_NOBODY}"
        return Check("account", "ok", f"root; native tasks run as {runs_as}")
    if run_as and run_as.uid != uid:
        advice = "start as root, or leave --run-as out"
        return Check("account", "fail", f"uid {uid} cannot start tasks as {show(run_as)}", advice)
    return Check(
        "account", "warn", f"uid {uid}; native tasks share it", "trust what you deploy, or start as root"
    )


def descriptors() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    finding = f"{soft} of at most {hard}"
    if hard != resource.RLIM_INFINITY and hard < _WANTED_DESCRIPTORS:
        return Check("descriptors", "warn", finding, f"raise the limit (ulimit -Hn) to {_WANTED_DESCRIPTORS}")
    return Check("descriptors", "ok", finding)


def task_ports(wanted: range, source: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> Check:
    """The kernel gives ephemeral ports to any outgoing connection: a task could find its own taken."""
    try:
        low, high = (int(word) for word in source.read_text().split())
    except (OSError, ValueError):
        return Check("task ports", "warn", f"{show(wanted)}; the ephemeral range is not known")
    finding = f"{show(wanted)}, ephemeral range {low}-{high}"
    if wanted.start <= high and low < wanted.stop:
        return Check("task ports", "warn", f"{finding} overlap", f"--task-ports outside {low}-{high}")
    return Check("task ports", "ok", finding)


def listening(title: str, flag: str, host: str, port: int) -> Check:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, number) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return Check(title, "warn", f"{where} is in use", f"fine if by platformd; else another {flag}")
        return Check(title, "fail", f"{where}: {error.strerror}", "give an address and port of this machine")
    return Check(title, "ok", f"{where} is free")


def data_directory(path: Path) -> Check:
    name, folder = "data directory", path
    while not _is_there(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return Check(name, "fail", f"{folder} is no directory", "give another --data-dir")
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return Check(name, "fail", f"{folder} is not writable", "give another --data-dir, or the right to it")
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize // _MIB
    finding = f"{path}, {free} MiB free"
    if free < 100 or (space.f_files and space.f_favail < 1000):
        return Check(name, "fail", finding, "make room: below 100 MiB (or 1000 files) writes soon fail")
    if free < 1024:
        return Check(name, "warn", finding, "make room: artifacts and output fill it")
    return Check(name, "ok", finding)


def engine(address: str | None) -> Check:
    """The Docker engine; unix and tcp addresses are asked, others taken as given."""
    address = address or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    advice = "native apps need none; for containers start the engine, or name it with --docker-host"
    if not address.startswith(("unix://", "tcp://")):
        return Check("docker engine", "warn", f"{address} was not tried", "see that `docker info` answers")
    try:
        link = EngineLink(address, _PATIENCE)
        ping, version = link.ask("GET", "/_ping"), link.ask("GET", "/version")
        link.close()
    except (OSError, ValueError) as error:
        return Check("docker engine", "warn", f"{address}: {error}", advice)
    if not ping.well:
        return Check("docker engine", "warn", f"{address} is something else", advice)
    return _engine_found(address, version)


def _engine_found(address: str, version: EngineAnswer) -> Check:
    """Whose engine it is: Podman does some things otherwise."""
    try:
        said = version.json
        names = [f"{part['Name']} {part['Version']}" for part in said.get("Components") or ()]
        name = names[0] if names else f"version {said['Version']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return Check("docker engine", "ok", f"{address} answers")
    if "podman" in name.lower():
        advice = "mind what it does otherwise: the manual's page on containers lists it"
        return Check("docker engine", "warn", f"{address} answers, {name}", advice)
    return Check("docker engine", "ok", f"{address} answers, {name}")


def clocks(
    source: Path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
) -> Check:
    """Deadlines rest on CLOCK_BOOTTIME and the boot id; a slow source makes each reading a system call."""
    try:
        boot = clock.boot_id()
        clock.boot_ns()
    except OSError as error:
        return Check("clock", "fail", f"no boot clock or boot id: {error}", "mount /proc")
    try:
        name = source.read_text().strip()
    except OSError:
        name = "unknown"
    finding = f"source {name}, boot {boot}"
    if name in ("hpet", "acpi_pm", "jiffies", "refined-jiffies"):
        return Check("clock", "warn", finding, "a slow source: see why the kernel left tsc or kvm-clock")
    return Check("clock", "ok", finding)


def compiler() -> Check:
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return Check("C compiler", "ok", path)
    return Check(
        "C compiler", "warn", "none", "only `platformd bench` wants one, for its floors: install gcc"
    )
