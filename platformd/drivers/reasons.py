"""Why a native task cannot start, in words for people; and who is behind a port.

Used by the native driver; `who_listens` reads every process's descriptors, so only in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platformd.domain.snapshot import Reason
from platformd.drivers import proc
from platformd.ownership import Listeners, holder

_CODES = {
    "ENOENT": "EXECUTABLE_MISSING",
    "EACCES": "EXECUTABLE_FORBIDDEN",
    "ENOEXEC": "NOT_EXECUTABLE",
    "EADDRINUSE": "PORT_IN_USE",
}
_ADVICE = {
    "ENOEXEC": "; upload an ELF executable for this machine or a script that begins with #!",
    "EACCES": "; it must be readable and executable for the user the task runs as",
    "E2BIG": "; shorten env, command or args",
}


def port_held(port: int, who: str) -> Reason:
    return Reason(
        code="PORT_IN_USE", message=f"port {port} is held by {who}; it starts when the port is free"
    )


def ports_exhausted(ports: range) -> Reason:
    return Reason(
        code="PORTS_EXHAUSTED",
        message=f"no free port was found in {ports.start}-{ports.stop - 1}; it starts when one is given back. "
        "Stop something or widen --task-ports",
    )


def keeper_unavailable(error: Exception) -> Reason:
    return Reason(
        code="KEEPER_UNAVAILABLE", message=f"the process keeper cannot be reached ({error}); tried again"
    )


def not_launched(event: Mapping[str, Any]) -> Reason:
    """What the keeper's `launch_failed` says."""
    code, message = str(event.get("code")), str(event.get("message"))
    return Reason(
        code=_CODES.get(code, "LAUNCH_FAILED"), message=f"{message}{_ADVICE.get(code, '')} ({code})"
    )


def who_listens(listeners: Listeners, port: int) -> str:
    """The process behind a listener, as well as it can be found out."""
    listener = listeners.at(port)
    pid = None if listener is None else holder(listener.inode, proc.table())
    return who_is(pid)


def who_is(pid: int | None) -> str:
    return "a process that cannot be seen from here" if pid is None else f"pid {pid} ({proc.command(pid)})"
