"""The log: one line an event on stderr, people's form on a terminal, JSON elsewhere; stacks on SIGUSR1.

`configure` is called once by each process (serve, gateway) in its main thread before others start.
`get_logger` and `context` may be used on any thread; what `context` binds belongs to the running thread or
asyncio task and appears in each of its lines, those of libraries that use the standard `logging` included.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import signal
import sys
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import IO, Any, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from platformd import clock

# What these say at lower levels is either noise or, in peewee's case, values that belong to users.
_QUIET = {
    "asyncio": logging.INFO,
    "docker": logging.INFO,
    "peewee": logging.WARNING,
    "pykka": logging.INFO,
    "urllib3": logging.INFO,
}
# It writes whole URLs with their queries; the handlers write access lines without.
_SILENT = "tornado.access"

_CREDENTIAL = re.compile(r"([?&](?:access_token|ticket)=)[^&\s'\"#]+")
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")}


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `logger=name`. Call it as `log.info("what happened", key=value)`."""
    return cast(FilteringBoundLogger, structlog.get_logger(name))


def context(**values: object) -> AbstractContextManager[None]:
    """Adds `values` (request_id, deployment_id, task_id) to every line logged within the block."""
    return structlog.contextvars.bound_contextvars(**values)


def configure(format: str | None, level: str, *, process: str, stream: IO[str] | None = None) -> None:
    """Sends every log line of this process to `stream` (stderr).

    `format` is "console", "json", or None for console on a terminal and JSON elsewhere; `level` one of
    "debug", "info", "warning", "error"; `process` appears in each JSON line. Uncaught exceptions and warnings
    are logged too. May be called again; the last call holds.
    """
    stream = stream or sys.stderr
    number = getattr(logging, level.upper())
    terminal = stream.isatty()
    console = terminal if format is None else format == "console"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(console=console, colours=terminal, process=process))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(number)
    for name, floor in _QUIET.items():
        logging.getLogger(name).setLevel(max(number, floor))
    silent = logging.getLogger(_SILENT)
    silent.propagate = False
    silent.handlers[:] = [logging.NullHandler()]
    logging.captureWarnings(True)
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a later configure, as in tests, must reach loggers already made
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def debugging() -> bool:
    """True when debug lines are written: what is made for them only need not be made otherwise."""
    return logging.root.isEnabledFor(logging.DEBUG)


def dump_stacks_on_signal(stream: IO[str] | None = None) -> None:
    """SIGUSR1 writes the stack of each thread to `stream` (stderr), even while the interpreter is stuck."""
    faulthandler.register(signal.SIGUSR1, file=stream or sys.stderr, all_threads=True)


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_timestamp,
    ]


def _formatter(*, console: bool, colours: bool, process: str) -> logging.Formatter:
    render: list[Processor]
    if console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=colours and not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,  # the richer ones print local variables
        )
        render = [_escape_control, renderer]
    else:

        def add_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
            event["process"] = process
            return event

        render = [structlog.processors.format_exc_info, add_process, structlog.processors.JSONRenderer()]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _mask_credentials, *render],
    )


def _add_timestamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["timestamp"] = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _mask_credentials(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str) and "=" in value:
            event[key] = _CREDENTIAL.sub(r"\1***", value)
    return event


def _escape_control(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keeps text from clients from moving a terminal's cursor or forging a line."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = value.translate(_CONTROL)
    return event


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    get_logger(__name__).critical("uncaught exception", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: Any) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else None
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    get_logger(__name__).critical("uncaught exception in thread", thread=name, exc_info=exc_info)
