"""Where tasks' cgroups can be made on this machine, found out by really making one.

Asked once, when the native driver is built, by `Cgroups.detect`; also by the command that examines a machine. Version 2
is preferred when it has the memory controller, else version 1, else nothing: the driver then watches memory itself.
Later any thread may ask for groups.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from platformd.drivers import proc
from platformd.drivers.cgroup import UNIFIED, V1, V2, Group

FOLDER, SUPERVISOR = "platformd", "platformd-supervisor"
_ONLY_UNIFIED = frozenset({UNIFIED})
_WANTED_V2 = ("memory", "cpu", "pids")
_WANTED_V1 = ("memory", "cpu", "cpuacct", "pids", "freezer", UNIFIED)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted hierarchy: `controllers` is empty for version 2, `root` the part of it that is mounted."""

    point: Path
    root: str
    controllers: frozenset[str]

    def place(self, path: str) -> Path:
        """Where the cgroup `path` (as in /proc/PID/cgroup) is found."""
        inside = path.removeprefix(self.root) if self.root != "/" and path.startswith(self.root) else path
        return self.point / inside.strip("/")


@dataclass(frozen=True, slots=True)
class Cgroups:
    """`parents` has a folder for each version-1 controller, or one for version 2 under the name "". No parent: none."""

    parents: Mapping[str, Path]
    controllers: frozenset[str]
    mounts: tuple[Mount, ...] = ()

    @classmethod
    def detect(cls, data_dir: Path) -> Cgroups:
        """What can be used; groups lie under a name of their own for each data directory."""
        name = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
        mounts, own = tuple(_mounts()), _paths(os.getpid())
        return _detect_v2(mounts, own, name) or _detect_v1(mounts, own, name) or cls({}, frozenset())

    @property
    def usable(self) -> bool:
        return bool(self.parents)

    def describe(self) -> str:
        """One line for people."""
        if not self.parents:
            return "no cgroups: memory is watched each second, processors are not limited"
        version = "v2" if "" in self.parents else "v1"
        return f"cgroups {version}: {', '.join(sorted(self.controllers))}"

    def group(self, task_id: str) -> Group:
        """The group of a task, not yet made."""
        return self._at({name: parent / task_id for name, parent in self.parents.items()})

    def group_of(self, pid: int, task_id: str) -> Group | None:
        """The group of that task in which `pid` already is, wherever an earlier server made it."""
        paths = _paths(pid)
        found = {}
        for mount in self.mounts:
            for name in mount.controllers or {""}:
                path = paths.get(name)
                if name in self.parents and path is not None and path.rpartition("/")[2] == task_id:
                    found[name] = mount.place(path)
        return self._at(found) if found.keys() == self.parents.keys() else None

    def left_behind(self) -> list[str]:
        """The tasks that have a group."""
        folders = {path.name for parent in self.parents.values() for path in _folders(parent)}
        return sorted(folders)

    def tidy(self) -> None:
        """Remove the folders above the groups if nothing is in them."""
        for parent in self.parents.values():
            _tidy(parent)

    def _at(self, folders: Mapping[str, Path]) -> Group:
        return V2(folders[""], self.controllers) if "" in folders else V1(folders)


def holding(pid: int, name: str) -> Group | None:
    """The group called `name` (or made of it, as in "docker-<name>.scope") in which `pid` is; None when it is in none
    that can be reached from here."""
    paths, found = _paths(pid), {}
    for mount in _mounts():
        for controller in mount.controllers or {""}:
            path = paths.get(controller)
            if path is not None and name in path and (folder := mount.place(path)).is_dir():
                found[controller] = folder
    if "memory" in found:
        return V1({controller: folder for controller, folder in found.items() if controller})
    return V2(found[""], frozenset({"memory", "cpu"})) if "" in found else None


def _detect_v2(mounts: tuple[Mount, ...], own: Mapping[str, str], name: str) -> Cgroups | None:
    for mount in mounts:
        if mount.controllers or "" not in own:
            continue
        for base in _bases(mount, own[""].removesuffix(f"/{SUPERVISOR}")):
            parent = base / FOLDER / name
            if _delegated(base, parent) and _works(parent, "memory.max"):
                controllers = frozenset((parent / "cgroup.subtree_control").read_text().split())
                return Cgroups({"": parent}, controllers, (mount,))
    return None


def _detect_v1(mounts: tuple[Mount, ...], own: Mapping[str, str], name: str) -> Cgroups | None:
    parents: dict[str, Path] = {}
    mounts = tuple(
        mount if mount.controllers else replace(mount, controllers=_ONLY_UNIFIED) for mount in mounts
    )
    for mount in mounts:
        for controller in _WANTED_V1:
            if controller not in mount.controllers:
                continue
            file = "cgroup.freeze" if controller == UNIFIED else "cgroup.procs"
            bases = (base / FOLDER / name for base in _bases(mount, own.get(controller, "/")))
            usable = (parent for parent in bases if _works(parent, file))
            if parent := next(usable, None):
                parents[controller] = parent
    if not parents.keys() - {UNIFIED}:
        return None
    if UNIFIED in parents and "freezer" in parents:
        _tidy(parents.pop("freezer"))
    used = tuple(mount for mount in mounts if mount.controllers & parents.keys())
    return Cgroups(parents, frozenset(parents), used)


def _bases(mount: Mount, own: str) -> list[Path]:
    """Below ourselves first, so that limits on this service hold for its tasks; then, for root, at the top."""
    return list(dict.fromkeys([mount.place(own), mount.point] if os.geteuid() == 0 else [mount.place(own)]))


def _works(parent: Path, file: str) -> bool:
    trial = parent / f"trial-{os.getpid()}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        trial.mkdir()
    except OSError:
        return False
    try:
        return os.access(trial / file, os.W_OK)
    finally:
        trial.rmdir()


def _delegated(base: Path, parent: Path) -> bool:
    """Give the controllers of `base` down to the children of `parent`; False when that cannot be had."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for folder in (base, base / FOLDER, parent):
            try:
                _enable(folder)
            except OSError as error:
                if error.errno != errno.EBUSY or folder != base or not _all_ours(base):
                    raise
                _move_members(base, base / SUPERVISOR)
                _enable(folder)
    except OSError:
        _tidy(parent)
        return False
    return True


def _tidy(parent: Path) -> None:
    with contextlib.suppress(OSError):
        parent.rmdir()
        parent.parent.rmdir()


def _enable(folder: Path) -> None:
    """Version 2 hands controllers only to children of a group that has no processes of its own."""
    offered = (folder / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in _WANTED_V2 if name in offered)
    if "memory" not in offered:
        raise OSError(errno.EOPNOTSUPP, f"{folder} offers no memory controller")
    (folder / "cgroup.subtree_control").write_text(wanted)


def _all_ours(base: Path) -> bool:
    """True when only we and what we started live in `base`, or it is that of a container with its first process."""
    members = {int(word) for word in (base / "cgroup.procs").read_text().split()}
    return 1 in members or members <= {os.getpid(), *(proc.below([os.getpid()]) or ())}


def _move_members(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for word in (source / "cgroup.procs").read_text().split():
        try:
            (target / "cgroup.procs").write_text(word)
        except ProcessLookupError:
            continue


def _mounts() -> Iterator[Mount]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        fields = left.split()
        point, root = Path(fields[4].replace("\\040", " ")), fields[3]
        if kind == "cgroup2":
            yield Mount(point, root, frozenset())
        elif kind == "cgroup" and (controllers := frozenset(options.split(",")) & frozenset(_WANTED_V1)):
            yield Mount(point, root, controllers)


def _paths(pid: int) -> dict[str, str]:
    """Controller → cgroup of `pid`; version 2 under ""."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path.removesuffix(" (deleted)")
            if not name:
                found[UNIFIED] = found[name]
    return found


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir()]
    except OSError:
        return []
