"""Herds: many requests released at once at apps that can take few."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.gateway.harness import App, Gateway, Reply, answering, say
from tests.gateway.test_hold import held, hold, replies
from tests.support import eventually

Apps = Callable[..., App]


@pytest.mark.parametrize("count", [100, 1000])
def test_a_herd_at_an_app_with_a_backlog_of_five(gateway: Gateway, tmp_path: Path, count: int) -> None:
    (tmp_path / "file").write_text("x" * 128)
    gateway.sleep()
    with ThreadPoolExecutor(count) as pool:
        answers: list[Future[Reply]] = [pool.submit(gateway.get, "/file", timeout=60) for _ in range(count)]
        eventually(lambda: held(gateway) == count, timeout=30)
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = free.getsockname()
        command = [
            sys.executable,
            "-m",
            "http.server",
            str(address[1]),
            "--bind",
            "127.0.0.1",
            "-d",
            str(tmp_path),
        ]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            eventually(lambda: socket.create_connection(address).close() is None)
            gateway.release(address)
            assert [answer.result().status for answer in answers] == [200] * count
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()


def test_a_single_threaded_app_with_no_backlog_loses_none(gateway: Gateway) -> None:
    """It accepts, answers and closes one at a time; everything else waits in our queue, not in SYN retries."""
    gateway.sleep()
    waiting = hold(gateway, 200)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1)
    gateway.release(listener.getsockname())
    listener.settimeout(10)
    began = time.monotonic()
    for _ in range(200):
        connection, _ = listener.accept()
        with connection:
            while b"\r\n\r\n" not in connection.recv(65536):
                pass
            connection.sendall(say())
    assert [reply.status for reply in replies(waiting)] == [200] * 200
    assert time.monotonic() - began < 8
    listener.close()


def test_a_herd_of_one_connection_each_at_a_keep_alive_app(gateway: Gateway, app: Apps) -> None:
    gateway.sleep()
    web = app(answering(say()))
    waiting = hold(gateway, 300)
    gateway.release(web.address)
    assert [reply.status for reply in replies(waiting)] == [200] * 300
    assert web.connections < 300
