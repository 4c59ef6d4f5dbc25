"""Reads the chunked transfer coding strictly and writes it anew.

Used by both sides of the gateway. Bodies are re-framed, never passed through, so that nothing an app could read
differently (extensions, odd sizes, stray line ends) survives. Pure; knows no socket.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t -~\x80-\xff]*\r\n")
_FRAMING = frozenset(
    b"transfer-encoding content-length content-encoding content-type content-range host connection upgrade te "
    b"trailer expect authorization cookie set-cookie cache-control".split()
)
LINE_LIMIT = 4096
TRAILERS_LIMIT = 65536


class BadChunk(ValueError):
    """The body breaks the chunked coding; the message says how."""


class ChunkReader:
    """Feed it raw bytes; it hands back body bytes. After `done`, `rest` is what follows the message."""

    __slots__ = ("_at", "_buffer", "_left", "_part", "done", "rest", "trailers")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0  # an index instead of cutting the buffer: many tiny chunks stay linear
        self._left = 0
        self._part: Callable[[list[bytes]], bool] = self._size
        self.done = False
        self.rest = b""
        self.trailers = b""

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`; raises BadChunk."""
        self._buffer = self._buffer + data if self._buffer else data
        self._at = 0
        pieces: list[bytes] = []
        while self._at < len(self._buffer) and not self.done and self._part(pieces):
            pass
        self._buffer = self._buffer[self._at :]
        if self.done:
            self.rest, self._buffer = self._buffer, b""
        return b"".join(pieces)

    def _line(self, limit: int) -> bytes | None:
        end = self._buffer.find(b"\n", self._at) + 1
        if (end or len(self._buffer)) - self._at > limit:
            raise BadChunk(f"a line of the chunked body is longer than {limit} bytes")
        if not end:
            return None
        line = self._buffer[self._at : end]
        self._at = end
        return line

    def _size(self, _: list[bytes]) -> bool:
        line = self._line(LINE_LIMIT)
        if line is None:
            return False
        match = _SIZE.fullmatch(line)
        if match is None:
            raise BadChunk(f"bad chunk size line {line[:40]!r}")
        self._left = int(match[1], 16)
        self._part = self._data if self._left else self._trailer
        return True

    def _data(self, pieces: list[bytes]) -> bool:
        piece = self._buffer[self._at : self._at + self._left]
        pieces.append(piece)
        self._at += len(piece)
        self._left -= len(piece)
        if not self._left:
            self._part = self._data_end
        return True

    def _data_end(self, _: list[bytes]) -> bool:
        end = self._buffer[self._at : self._at + 2]
        if end == b"\r":
            return False
        if end != b"\r\n":
            raise BadChunk("chunk data does not end where its size says")
        self._at += 2
        self._part = self._size
        return True

    def _trailer(self, _: list[bytes]) -> bool:
        line = self._line(TRAILERS_LIMIT)
        if line is None:
            return False
        if line == b"\r\n":
            self.done = True
            return False
        match = _TRAILER.fullmatch(line)
        if match is None:
            raise BadChunk(f"bad trailer line {line[:40]!r}")
        if match[1].lower() not in _FRAMING:
            self.trailers += line
        if len(self.trailers) > TRAILERS_LIMIT:
            raise BadChunk(f"trailers are longer than {TRAILERS_LIMIT} bytes")
        return True


def chunk(body: bytes) -> bytes:
    """`body` as one chunk; nothing for an empty body, which would end the message."""
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""


def last_chunk(trailers: bytes = b"") -> bytes:
    """The end of a chunked message with its trailer lines."""
    return b"0\r\n%b\r\n" % trailers
