"""The configurations that the manual shows for Caddy and nginx: an app is woken through them, streams and forwarded
headers come through. Only addresses and certificates are replaced."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.architecture.house import ROOT
from tests.e2e.platform import Platform, host_of
from tests.support import eventually

PAGE = (ROOT / "platformd" / "docs" / "operations.md").read_text()
ECHO = b"""#!/usr/bin/env python3
import http.server, os, time

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if self.path == "/stream":
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"data: first\\n\\n")
            self.wfile.flush()
            self.rfile.read(1)  # until the reader leaves
            return
        told = "|".join(self.headers.get(name, "") for name in ("Host", "X-Forwarded-For", "X-Forwarded-Proto"))
        self.end_headers()
        self.wfile.write(told.encode())

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""


def shown(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"operations.md shows no {language} configuration"
    return found[1]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def caddy(folder: Path, port: int, gateway: str) -> list[str]:
    site = (
        shown("caddy")
        .replace("127.0.0.1:47000", gateway)
        .replace("*.apps.example.com", f"http://*.localhost:{port}")
    )
    site = re.sub(r"\ttls .*\n", "", site)
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + site)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def nginx(folder: Path, port: int, gateway: str) -> list[str]:
    site = shown("nginx").replace("127.0.0.1:47000", gateway).replace("*.apps.example.com", "*.localhost")
    site = re.sub(r" *ssl_.*\n", "", site).replace("443 ssl", f"127.0.0.1:{port}")
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/errors;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{site}}}\n"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return [program, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "errors")]


Configure = Callable[[Path, int, str], list[str]]
PROXIES: dict[str, Configure] = {"caddy": caddy, "nginx": nginx}


@pytest.fixture(scope="module")
def server() -> Iterator[Platform]:
    root = Path(tempfile.mkdtemp(prefix="platformd-"))
    root.chmod(0o777)
    running = Platform(root / "data", "--public-scheme", "https", "--trusted-proxy", "127.0.0.1")
    try:
        yield running.start()
    finally:
        running.destroy()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest, server: Platform, tmp_path: Path) -> Iterator[int]:
    """The port of a proxy before the gateway."""
    if not shutil.which(request.param) and not Path(f"/usr/sbin/{request.param}").exists():
        pytest.skip(f"{request.param} is not installed")
    port = free_port()
    command = PROXIES[request.param](tmp_path, port, urlsplit(server.gateway_url).netloc)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    with (tmp_path / "said").open("w") as said:
        running = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=said, stderr=said)

    def listens() -> bool:
        assert running.poll() is None, (tmp_path / "said").read_text()
        with socket.create_connection(("127.0.0.1", port), 1):
            return True

    try:
        eventually(listens, 20)
        yield port
    finally:
        running.terminate()
        running.wait(20)


@pytest.mark.needs("caddy", "nginx", "python3 for tasks")
def test_an_app_is_woken_through_the_proxy(server: Platform, proxy: int) -> None:
    deployment = server.deploy(ECHO)
    assert deployment["preview_url"].startswith("https://")
    server.sleep(deployment["id"])
    host = host_of(deployment)
    connection = http.client.HTTPConnection("127.0.0.1", proxy, timeout=30)
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse()
    assert answer.status == 200
    told_host, client, scheme = answer.read().decode().split("|")
    assert (told_host, client.split(",")[0], scheme) == (host, "127.0.0.1", "http")
    assert "wake;dur=" in (answer.headers["Server-Timing"] or "")

    connection.request("GET", "/stream", headers={"Host": host})
    stream = connection.getresponse()
    assert stream.readline() == b"data: first\n", "it comes before the stream has ended"
    connection.close()
