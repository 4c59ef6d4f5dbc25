"""`python -m platformd.gateway`: started by the keeper with the listening socket as descriptor 3.

Runs until SIGTERM, SIGINT or serve's goodbye, then exits with 0 once the requests under way are done.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import signal
import socket
import sys
from ipaddress import ip_network
from pathlib import Path

import uvloop

from platformd import observability
from platformd.gateway.core import Gateway, Settings
from platformd.gateway.sockets import keep_alive

LISTENER = 3
# Descriptors for everything that is no client and no connection to a task.
RESERVE = 128


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    options = _parser().parse_args(arguments)
    observability.configure(options.log_format, options.log_level, process="gateway")
    observability.dump_stacks_on_signal()
    settings = Settings(
        serve_socket=options.serve_socket,
        trusted=tuple(ip_network(text, strict=False) for text in options.trusted_proxy),
        full_errors=options.errors == "full",
        answer_timeout=options.answer_timeout,
        most_clients=_most_clients(),
    )
    try:
        listener = socket.socket(fileno=LISTENER)
    except OSError as error:
        print(f"descriptor {LISTENER} must be a listening socket: {error.strerror}", file=sys.stderr)  # noqa: T201 # before there is a log
        return 2
    listener.set_inheritable(False)
    listener.setblocking(False)
    keep_alive(listener)
    uvloop.run(_run(settings, listener))
    return 0


async def _run(settings: Settings, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    gateway = Gateway(settings, loop)
    loop.set_exception_handler(lambda _, context: _report(gateway, context))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop)
    # What is there now stays; later garbage is little, as connections take their references back themselves.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gateway.log.info("gateway listening", address=listener.getsockname()[:2])
    await gateway.run(listener)


def _report(gateway: Gateway, context: dict[str, object]) -> None:
    error = context.get("exception")
    if isinstance(error, ConnectionError | TimeoutError):
        return
    gateway.log.error("error in a connection", detail=str(context.get("message")), exc_info=error)


def _most_clients() -> int:
    """Every client may need a connection to a task besides its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(64, (min(hard, 1 << 20) - RESERVE) // 2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m platformd.gateway", description=__doc__)
    parser.add_argument("--serve-socket", type=Path, required=True, help="serve's unix socket")
    parser.add_argument("--log-format", choices=("json", "console"), default=None)
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--trusted-proxy", action="extend", nargs="*", default=[], metavar="CIDR")
    parser.add_argument("--errors", choices=("full", "brief"), default="brief")
    parser.add_argument(
        "--answer-timeout", type=float, default=300.0, metavar="SECONDS", help="until an answer's first byte"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
