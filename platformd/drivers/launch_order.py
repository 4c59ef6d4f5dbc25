"""From a launch order to the keeper's `launch` message: whom it runs as, which volumes it may use, its environment.

Called by the native driver on the way of a wake: no file is written and, for a task without volumes or a user of its
own, none is read. What cannot be is a `Refused` with the reason to show.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformd.domain.snapshot import Reason
from platformd.domain.spec import Protocol
from platformd.drivers.base import LaunchOrder
from platformd.ownership import HOST

NOBODY = (65534, 65534)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DATA = Path("/data")


class Refused(Exception):
    """The order cannot be carried out; trying again changes nothing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.reason = Reason(code=code, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeSettings:
    """`run_as` is (uid, gid) of native tasks or None for the default; `task_ports` are those that may be given out."""

    data_dir: Path
    task_ports: range = range(20000, 30000)
    run_as: tuple[int, int] | None = None
    volume_roots: tuple[Path, ...] = ()


def message(
    order: LaunchOrder, port: int | None, handle: Mapping[str, object], settings: NativeSettings
) -> dict[str, object]:
    """The keeper's message; `handle` is echoed in its records."""
    spec = order.spec
    owner = _owner(spec.user, settings.run_as)
    for volume in spec.volumes:
        check_volume(volume.host_path, settings.data_dir, settings.volume_roots)
    ids = {} if owner is None else {"uid": owner[0], "gid": owner[1]}
    inherits = spec.networking.protocol is Protocol.HTTP_FD
    listen = {"listen": [HOST, port]} if inherits else {}
    return {
        "op": "launch",
        "task": order.task_id,
        "deployment": order.deployment_id,
        "slot": order.slot,
        "generation": order.generation,
        "argv": _argv(order),
        "env": environment(order, None if inherits else port),
        "rlimits": {"CORE": 0},
        "handle": dict(handle),
        **ids,
        **listen,
    }


def environment(order: LaunchOrder, port: int | None) -> dict[str, str]:
    """All the task sees. Its own variables win over PATH, HOST and the names of app and environment, never over what
    must be true for it to be found and reached: the two ids and PORT."""
    env = {"PATH": PATH, "HOST": HOST, "APP_NAME": order.app_name, "ENVIRONMENT": order.environment}
    env.update(order.env)
    env["DEPLOYMENT_ID"], env["TASK_ID"] = order.deployment_id, order.task_id
    if port is not None:
        env["PORT"] = str(port)
    return env


def _argv(order: LaunchOrder) -> list[str]:
    spec = order.spec
    if spec.command:
        return [*spec.command, *spec.args]
    if order.executable is None:
        raise Refused("NO_EXECUTABLE", "there is neither an artifact nor a command to run; give one of them")
    return [str(order.executable), *spec.args]


def _owner(user: str | None, run_as: tuple[int, int] | None) -> tuple[int, int] | None:
    """(uid, gid) to run as; None for our own."""
    if user is None:
        return task_owner(run_as)
    if os.geteuid() == 0:
        return _account(user)
    if _account(user)[0] == os.geteuid():
        return None
    raise Refused("USER_NOT_ALLOWED", f"user {user!r} needs platformd to run as root; leave user out")


def task_owner(run_as: tuple[int, int] | None) -> tuple[int, int] | None:
    """(uid, gid) that tasks run as unless they say otherwise; None for our own."""
    return (run_as or NOBODY) if os.geteuid() == 0 else None


def _account(user: str) -> tuple[int, int]:
    """The account of "name", "uid" or "uid:gid"; never root's, which would hand the machine to whoever may deploy."""
    uid, _, gid = user.partition(":")
    try:
        if uid.isascii() and uid.isdigit():
            found = int(uid), int(gid) if gid else _group_of(int(uid))
        else:
            entry = pwd.getpwnam(user)
            found = entry.pw_uid, entry.pw_gid
    except (KeyError, ValueError):
        raise Refused(
            "USER_UNKNOWN", f"user {user!r} is no account of this machine; create it or give UID:GID"
        ) from None
    if 0 in found:
        raise Refused(
            "USER_NOT_ALLOWED", f"user {user!r} is root or in its group; native tasks never run as that"
        )
    return found


def _group_of(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except (KeyError, OverflowError):
        return uid


def check_volume(host_path: str, data_dir: Path, volume_roots: tuple[Path, ...]) -> None:
    """Symlinks may have changed since the deployment was accepted, so where it leads is asked at each start."""
    path = Path(os.path.realpath(host_path))
    if not path.exists():
        raise Refused(
            "VOLUME_MISSING", f"volume {host_path} does not exist; create it for the user the task runs as"
        )
    data_dir = Path(os.path.realpath(data_dir))
    volumes = data_dir / "volumes"
    roots = (_DATA, volumes, *volume_roots)
    allowed = any(path.is_relative_to(os.path.realpath(root)) for root in roots)
    private = (path.is_relative_to(data_dir) and not path.is_relative_to(volumes)) or data_dir.is_relative_to(
        path
    )
    if not allowed or private:
        shown = host_path if str(path) == host_path else f"{host_path} (which is {path})"
        raise Refused(
            "VOLUME_NOT_ALLOWED",
            f"volume {shown} is not below {', '.join(map(str, roots))}, or shows the data directory; "
            "move it there or start the server with --volume-root",
        )
