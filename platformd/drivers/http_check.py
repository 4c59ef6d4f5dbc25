"""One GET at a task's own address, of which only the status is read.

Used by the prober. Loop thread only; nothing here waits.
"""

from __future__ import annotations

import errno
import re
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable

from platformd.ownership import HOST

_STATUS = re.compile(rb"HTTP/1\.[01] (?P<status>[1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_LONGEST_HEAD = 64 * 1024


class HttpCheck:
    """Calls `done` once, later: with the final status, or None when no HTTP came within `timeout` seconds."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        port: int,
        path: str,
        timeout: float,
        done: Callable[[int | None], None],
        host: str = HOST,
    ) -> None:
        self._loop, self._done = loop, done
        self._request = _request(host, port, path)
        self._answer = b""
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        self._timer = loop.call_later(timeout, self._finish, None)
        outcome = self._socket.connect_ex((host, port))
        if outcome in (0, errno.EINPROGRESS):
            loop.add_writer(self._socket, self._writable)
        else:
            loop.call_soon(self._finish, None)

    def cancel(self) -> None:
        """Stop without calling `done`."""
        if self._socket.fileno() < 0:
            return
        self._timer.cancel()
        self._loop.remove_writer(self._socket)
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _finish(self, status: int | None) -> None:
        if self._socket.fileno() >= 0:
            self.cancel()
            self._done(status)

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._request)
        except BlockingIOError:
            return
        except OSError:
            self._finish(None)
            return
        self._request = self._request[sent:]
        if not self._request:
            self._loop.remove_writer(self._socket)
            self._loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        try:
            piece = self._socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self._answer += piece
        status, self._answer = final_status(self._answer)
        if status is not None or not piece or len(self._answer) > _LONGEST_HEAD:
            self._finish(status)


def final_status(answer: bytes) -> tuple[int | None, bytes]:
    """(the status of the first answer that is not 1xx or None so far, what is left to look at)."""
    while match := _STATUS.match(answer):
        status = int(match["status"])
        if status >= 200:
            return status, answer
        end = answer.find(b"\r\n\r\n")
        if end < 0:
            break
        answer = answer[end + 4 :]
    return None, answer


def _request(host: str, port: int, path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: platformd-probe\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
