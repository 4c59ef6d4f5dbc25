"""The log: both forms, ids in every line, libraries routed into it, nothing forged or given away, stacks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually

PRELUDE = """
import asyncio, logging, os, sys, threading, warnings
from platformd import observability
from platformd.observability import configure, context, get_logger
log = get_logger("test")
"""


def run(script: str, *, environ: dict[str, str] | None = None, returncode: int = 0) -> str:
    """What a process of its own writes to stderr; its stdout stays empty."""
    command = [sys.executable, "-c", PRELUDE + script]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | (environ or {}), timeout=30
    )
    assert done.returncode == returncode, done.stderr
    assert done.stdout == ""
    return done.stderr


def lines(script: str, **options: Any) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in run("configure(None, 'info', process='serve')\n" + script, **options).splitlines()
    ]


def test_a_line_is_json_where_there_is_no_terminal() -> None:
    [line] = lines("log.info('task started', task_id='t1', port=20000)")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {"event": "task started", "level": "info", "logger": "test", "process": "serve",
                    "task_id": "t1", "port": 20000}  # fmt: skip


def test_ids_are_in_every_line_of_their_block_and_nowhere_else() -> None:
    script = """
def elsewhere():
    log.info("other thread")

with context(request_id="r1", deployment_id="d1"):
    with context(task_id="t1"):
        log.info("ours")
        logging.getLogger("tornado.general").warning("theirs")
    thread = threading.Thread(target=elsewhere); thread.start(); thread.join()

async def handle(number):
    with context(request_id=number):
        await asyncio.sleep(0)
        log.info("concurrent", number=number)

async def both():
    await asyncio.gather(handle("a"), handle("b"))
asyncio.run(both())
"""
    ours, theirs, other, first, second = lines(script)
    for line in (ours, theirs):
        assert (line["request_id"], line["deployment_id"], line["task_id"]) == ("r1", "d1", "t1")
    assert "request_id" not in other
    assert {line["number"]: line["request_id"] for line in (first, second)} == {"a": "a", "b": "b"}


def test_libraries_speak_through_it() -> None:
    script = """
for name in ("tornado.application", "pykka", "peewee"):
    logging.getLogger(name).error("%s says %d", name, 5, extra={"more": 1})
    logging.getLogger(name).debug("noise")
logging.getLogger("peewee").info(("SELECT secret", ["hunter2"]))
logging.getLogger("tornado.access").error("500 GET /x?access_token=hunter2")
warnings.warn("old thing", DeprecationWarning)
"""
    found = lines(script, environ={"PYTHONWARNINGS": "default"})
    assert [line["event"] for line in found[:3]] == [f"{name} says 5" for name in
                                                     ("tornado.application", "pykka", "peewee")]  # fmt: skip
    assert all(line["level"] == "error" and line["more"] == 1 for line in found[:3])
    [warning] = found[3:]
    assert (warning["logger"], "old thing" in warning["event"]) == ("py.warnings", True)


def test_statements_with_values_are_not_logged_even_at_debug() -> None:
    script = """
configure("json", "debug", process="serve")
logging.getLogger("peewee").debug(("INSERT", ["hunter2"]))
log.debug("ours")
"""
    written = run(script)
    assert "hunter2" not in written
    assert "ours" in written


def test_the_level_holds() -> None:
    assert [line["event"] for line in lines("log.debug('a'); log.info('b'); log.warning('c')")] == ["b", "c"]
    assert run("configure('json', 'error', process='serve'); log.warning('c')") == ""


def test_exceptions_are_one_line_without_local_variables() -> None:
    script = """
def fail():
    password = "hun" + "ter2"
    raise ValueError("broken")
try:
    fail()
except ValueError:
    log.exception("handled")
thread = threading.Thread(target=fail, name="worker"); thread.start(); thread.join()
fail()
"""
    handled, in_thread, uncaught = lines(script, returncode=1)
    for line in (handled, in_thread, uncaught):
        assert "ValueError: broken" in line["exception"]
        assert "hunter2" not in json.dumps(line)
    assert in_thread["thread"] == "worker"
    assert (in_thread["level"], uncaught["level"]) == ("critical", "critical")


def test_the_console_form_keeps_locals_secret_too() -> None:
    written = run("""
configure("console", "info", process="serve")
def fail():
    password = "hun" + "ter2"
    raise ValueError("broken")
try:
    fail()
except ValueError:
    log.exception("handled", task_id="t1")
""")
    assert "handled" in written
    assert "task_id" in written
    assert "ValueError: broken" in written
    assert "hunter2" not in written
    assert "\x1b" not in written, "colours belong to terminals"


def test_credentials_in_addresses_are_masked() -> None:
    script = """
log.info("GET /logs?tail=5&access_token=abc123&x=1", url="/e?ticket=abc123#f")
logging.getLogger("tornado.general").error("HTTPServerRequest(uri='/x?access_token=abc123')")
"""
    first, second = lines(script)
    assert first["event"] == "GET /logs?tail=5&access_token=***&x=1"
    assert first["url"] == "/e?ticket=***#f"
    assert second["event"] == "HTTPServerRequest(uri='/x?access_token=***')"


@pytest.mark.parametrize("form", ["json", "console"])
def test_clients_cannot_forge_lines_or_move_the_cursor(form: str) -> None:
    script = (
        f"configure({form!r}, 'info', process='serve')\n"
        + r"""
log.info("path", path="/x\n2026-01-01 [critical] forged\x1b[2J\r\x9b")
logging.getLogger("tornado.general").warning("bad\nforged\x1b[1A \ud800 \x00")
"""
    )
    written = run(script)
    assert len(written.splitlines()) == 2
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", written)


def test_strange_values_do_not_stop_a_line() -> None:
    [line] = lines("log.info('x', a=object(), b=float('nan'), c=b'\\xff', d={1: {2}}, e='\\ud800')")
    assert line["event"] == "x"
    assert "\ufffd" in line["e"] or line["e"] == "\ud800"


def test_a_terminal_gets_the_console_form() -> None:
    primary, secondary = os.openpty()
    try:
        script = PRELUDE + "configure(None, 'info', process='serve'); log.info('hello', task_id='t1')"
        plain = os.environ | {"NO_COLOR": "1"}
        subprocess.run([sys.executable, "-c", script], stderr=secondary, check=True, env=plain)
        written = os.read(primary, 4096).decode()
    finally:
        os.close(primary)
        os.close(secondary)
    assert "hello" in written
    assert not written.startswith("{")
    assert "\x1b" not in written


def test_a_closed_stderr_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    script = (
        PRELUDE
        + "configure('json', 'info', process='serve')\nfor i in range(3): log.info('x')\nprint('done')"
    )
    try:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, text=True, timeout=30)
    finally:
        os.close(writer)
    assert done.stdout == "done\n"


def test_a_signal_writes_every_stack_even_of_a_stuck_process(tmp_path: Path) -> None:
    script = (
        PRELUDE
        + """
observability.dump_stacks_on_signal()
def stuck_in_thread():
    threading.Event().wait()
threading.Thread(target=stuck_in_thread, daemon=True).start()
print("ready", flush=True)
def stuck_in_c():
    sum(range(10**12))
stuck_in_c()
"""
    )
    written = tmp_path / "stderr"
    with (
        written.open("wb") as stderr,
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"

            def both_shown() -> bool:
                """Asked again until the process has gone where it sticks."""
                process.send_signal(signal.SIGUSR1)
                return {"stuck_in_c", "stuck_in_thread"} <= set(re.findall(r"\w+", written.read_text()))

            eventually(both_shown)
            assert process.poll() is None
        finally:
            process.kill()
