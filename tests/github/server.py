"""A server on loopback in GitHub's place: remembers what it was asked and answers as it was told to."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class GitHubServer:
    """`requests` are all there were, oldest first. Answers 201 unless `answer` said otherwise for the next one."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: deque[tuple[int, bytes, Mapping[str, str]]] = deque()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner._serve(self)

            do_GET = do_POST

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> None:
        """What the next request that has no answer yet gets."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answers.append((status, raw, headers or {}))

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", "0"))
        body = handler.rfile.read(length)
        self.requests.append(Request(handler.command, handler.path, dict(handler.headers), body))
        status, answer, headers = self._answers.popleft() if self._answers else (201, b"{}", {})
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
