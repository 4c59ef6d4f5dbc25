"""What this machine is and offers. Called by the composition root for handlers, on any thread."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from typing import Any

import psutil

from platformd import __version__

NODE_ID = "local"


def describe(capabilities: Mapping[str, tuple[bool, str]]) -> dict[str, Any]:
    """The machine now; `capabilities` by name: whether it has it, and a word about it."""
    memory = psutil.virtual_memory()
    return {
        "id": NODE_ID,
        "hostname": socket.gethostname(),
        "platformd": __version__,
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": [round(load, 2) for load in os.getloadavg()],
        "memory": {"total": memory.total, "available": memory.available},
        "capabilities": {
            name: {"available": available, "detail": detail}
            for name, (available, detail) in capabilities.items()
        },
    }
