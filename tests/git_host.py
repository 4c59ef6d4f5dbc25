"""Real repositories behind a real `git http-backend` on loopback, with authentication as GitHub has it."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

ENV = {
    **os.environ,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada Lovelace",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


def git(*arguments: str, cwd: Path, input: bytes | None = None) -> str:
    """What git says; CalledProcessError when it fails."""
    command = ["git", "-c", "safe.directory=*", *arguments]
    done = subprocess.run(command, cwd=cwd, env=ENV, input=input, capture_output=True, check=True, timeout=60)
    return done.stdout.decode().strip()


class Repository:
    """One repository "owner/name"; `work` is a clone that is pushed from."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.bare = root / f"{name}.git"
        self.work = root / "work" / name
        self.bare.mkdir(parents=True)
        self.work.mkdir(parents=True)
        git("init", "-q", "--bare", "-b", "main", cwd=self.bare)
        git("config", "http.receivepack", "false", cwd=self.bare)
        git("init", "-q", "-b", "main", cwd=self.work)

    def commit(self, files: Mapping[str, str | bytes], message: str = "Change", branch: str = "main") -> str:
        """Push `files` on top of what is there; the commit's id. A text that begins with #! is executable."""
        if git("branch", "--show-current", cwd=self.work) != branch:
            git("checkout", "-q", "-B", branch, cwd=self.work)
        for path, content in files.items():
            file = self.work / path
            file.parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            file.write_bytes(data)
            if data.startswith(b"#!"):
                file.chmod(0o755)
        git("add", "-A", cwd=self.work)
        git("commit", "-q", "--allow-empty", "-m", message, cwd=self.work)
        return self.push(branch)

    def push(self, branch: str = "main") -> str:
        git("push", "-q", "-f", str(self.bare), f"HEAD:refs/heads/{branch}", cwd=self.work)
        return git("rev-parse", "HEAD", cwd=self.work)


class GitHost:
    """`token` opens every repository; None lets everybody in. `gate` holds back every answer while it is cleared."""

    def __init__(self, root: Path, token: str | None = None) -> None:
        self.root, self.token = root, token
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.known: dict[str, Repository] = {}
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.answer(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def repository(self, name: str) -> Repository:
        made = self.known[name] = Repository(self.root, name)
        return made

    @contextmanager
    def serving(self) -> Iterator[GitHost]:
        self._thread.start()
        try:
            yield self
        finally:
            self.gate.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request, as a CGI program answers it."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.headers.get("Transfer-Encoding", "") == "chunked":
            body = _chunked(request.rfile)
        if not self._let_in(request.headers.get("Authorization", "")):
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="git"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        self.waiting.set()
        self.gate.wait(60)
        parts = urlsplit(request.path)
        env = {
            **ENV,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": request.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, timeout=60)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        status = 200
        lines = [line.partition(": ") for line in head.decode().split("\r\n") if line]
        for name, _, value in lines:
            if name == "Status":
                status = int(value.split()[0])
        try:
            request.send_response(status)
            for name, _, value in lines:
                if name != "Status":
                    request.send_header(name, value)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            request.wfile.write(content)
        except OSError:  # the client was killed meanwhile
            return

    def _let_in(self, given: str) -> bool:
        if self.token is None:
            return True
        wanted = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        return given == f"Basic {wanted}"


def _chunked(stream) -> bytes:
    body = b""
    while size := int(stream.readline().split(b";")[0], 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body
