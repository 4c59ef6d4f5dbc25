"""How a gateway is started: the command line and the environment that serve gives to the keeper. Any thread."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from platformd.config import Settings

_LASTING = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TZ", "VIRTUAL_ENV")


def command(settings: Settings, serve_socket: Path) -> list[str]:
    """The command line of a gateway that connects to `serve_socket` and gets its listener as descriptor 3."""
    proxies = [str(network) for network in settings.trusted_proxy]
    return [
        sys.executable,
        "-m",
        "platformd.gateway",
        "--serve-socket",
        str(serve_socket),
        "--log-format",
        settings.log_format or "json",
        "--log-level",
        settings.log_level,
        *(["--trusted-proxy", *proxies] if proxies else []),
    ]


def environment() -> dict[str, str]:
    """Only what a Python needs to run. With what differs from one start of serve to the next, such as a service
    manager's ids, the keeper would replace a gateway that could go on."""
    return {
        name: value for name, value in os.environ.items() if name in _LASTING or name.startswith("PYTHON")
    }
