"""How commands find a server, and what they say when there is none, or something else."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Commands, program


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def stranger() -> Iterator[str]:
    """Another web server."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.startswith("/api/v1/apps")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<h1>welcome</h1>")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["ps"],
        ["apps", "list"],
        ["status", "a@1"],
        ["logs", "a@1", "-f"],
        ["deploy", "a", "--binary", "/bin/sh"],
        ["ps", "--json"],
    ],
)
def test_no_server_is_exit_3(arguments: list[str], closed_port: str) -> None:
    done = program(*arguments, PLATFORMD_SERVER=closed_port)
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    assert f"{closed_port} cannot be reached" in done.stderr
    assert "--server" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_that_does_not_resolve_is_exit_3() -> None:
    assert program("ps", "--server", "http://no-such-host.invalid:1").returncode == 3


def test_another_web_server_is_said_to_be_one(stranger: str) -> None:
    for arguments in (["apps", "list"], ["status", "a@1"], ["ps"]):
        done = program(*arguments, "--server", stranger)
        assert done.returncode == 1
        assert "is it a platformd?" in done.stderr


def test_flag_beats_environment(shared: Commands, closed_port: str) -> None:
    assert program("ps", "--server", shared.server, PLATFORMD_SERVER=closed_port).returncode == 0
    assert program("ps", "--server", shared.server.removeprefix("http://")).returncode == 0
    assert program("ps", "--server", closed_port, PLATFORMD_SERVER=shared.server).returncode == 3


def test_a_server_that_breaks_off_an_answer_is_exit_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            peer, _ = listener.accept()
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{")
            peer.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        done = program("ps", "--server", f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
