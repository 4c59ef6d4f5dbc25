"""Reads the heads of requests and answers, refuses what is ambiguous, and rewrites them for the other side.

llhttp (through httptools) judges the syntax of every header block; this module adds what llhttp lets through and
takes the block apart. Results are never changed and depend on their input alone, so callers keep the last one per
connection. Called by `server` and `upstream`. Pure; knows no socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

HEAD_LIMIT = 65536
HEAD_END = b"\r\n\r\n"
# Methods that may be sent again when a pooled connection was closed under them.
SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS"))

_ORIGIN_FORM = re.compile(rb"/[!-~\x80-\xff]*")
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?#]*)([!-~\x80-\xff]*)")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(rb"([0-9a-z._~\-]+|\[[0-9a-f:.]+\])(?::[0-9]{0,5})?")
_SANE_ID = re.compile(rb"[0-9A-Za-z._\-]{1,128}")
_BARE_LF = re.compile(rb"(?<!\r)\n")

# Never forwarded: they speak of one connection only, or let a client dress up as a proxy.
_DROP = frozenset(
    (
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"http2-settings",
        b"te",
    )
)
_OWN = frozenset(
    b"host content-length transfer-encoding connection upgrade expect forwarded x-request-id".split()
)


class Fault(Exception):
    """A request that is refused: its status, stable code and a sentence."""

    def __init__(self, detail: str, status: int = 400, code: str = "BAD_FRAMING") -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class BadAnswer(ValueError):
    """An app's answer that is not HTTP/1.x; the message says why."""


class _Silent:
    """httptools looks for callbacks on its protocol; here only its verdict is wanted."""


_SILENT = _Silent()


@dataclass(slots=True, eq=False)
class Block:
    """The header block of a request: what the gateway must know and the bytes it forwards.

    `forward` holds whole lines and no end of head; `request_id` is empty unless the caller's is sane.
    """

    host: bytes
    authority: bytes
    forward: bytes
    request_id: bytes
    length: int
    chunked: bool
    has_body: bool
    close: bool
    http10: bool
    expects: bool
    websocket: bool
    navigate: bool
    plain: bool


@dataclass(slots=True, eq=False)
class Answer:
    """The head of an app's answer. `length` is None when the body ends at close; `out` lacks the end of head.

    `whole` marks a final answer with a stated length, without an id of its own, on a connection that stays open: the
    usual case.
    """

    status: int
    out: bytes
    length: int | None
    chunked: bool
    keep_alive: bool
    event_stream: bool
    upgrade: bytes
    has_id: bool
    whole: bool


def read_block(rest: bytes, peer: bytes, trusted: bool) -> Block:
    """Read a head from its version on (`HTTP/1.1\\r\\nHost: …\\r\\n\\r\\n`); raises Fault."""
    http10 = rest.startswith(b"HTTP/1.0\r\n")
    if not http10 and not rest.startswith(b"HTTP/1.1\r\n"):
        raise Fault("The request line must be METHOD TARGET HTTP/1.1 (or 1.0).")
    _judge(HttpRequestParser(_SILENT), b"POST / " + rest)
    own, kept = _split(rest[10:-2])
    host = _host(own)
    length, chunked = _body_framing(own, http10)
    has_body = chunked or length > 0
    options = _tokens(own.get(b"connection", []))
    upgrade = [value.lower() for value in own.get(b"upgrade", [])]
    websocket = upgrade == [b"websocket"] and b"upgrade" in options and not http10 and not has_body
    if upgrade and not websocket and has_body:
        raise Fault(f"Upgrade to {upgrade[0][:40]!r} with a body is not supported; send it without Upgrade.")
    expects = not http10 and has_body and _lowered(own.get(b"expect", [])) == [b"100-continue"]
    lines = [b"Host: " + host]
    lines += [line for name, line in kept if name not in options and _wanted(name, trusted)]
    lines += _framing_lines(length, chunked, b"content-length" in own)
    lines += [b"Expect: 100-continue"] * expects
    lines += [b"Connection: Upgrade", b"Upgrade: websocket"] * websocket
    lines += _forwarded(kept, host, peer, trusted)
    lines += [b"Forwarded: " + value for value in own.get(b"forwarded", []) if trusted]
    ids = own.get(b"x-request-id", [])
    close = b"close" in options or (http10 and b"keep-alive" not in options)
    return Block(
        host=_host_name(host),
        authority=host.lower(),
        forward=b"\r\n".join(lines) + b"\r\n",
        request_id=ids[0] if len(ids) == 1 and _SANE_ID.fullmatch(ids[0]) else b"",
        length=length,
        chunked=chunked,
        has_body=has_body,
        close=close,
        http10=http10,
        expects=expects,
        websocket=websocket,
        navigate=any(n == b"sec-fetch-mode" and line[15:].strip().lower() == b"navigate" for n, line in kept),
        plain=not close and not http10 and not websocket,
    )


def read_target(method: bytes, target: bytes, block: Block) -> bytes:
    """The target in origin form; raises Fault for what cannot be routed without doubt."""
    if not _TOKEN.fullmatch(method):
        raise Fault("The method is not a token.")
    if _ORIGIN_FORM.fullmatch(target):
        return target
    if target == b"*" and method == b"OPTIONS":
        return target
    if method == b"CONNECT":
        raise Fault("CONNECT is not offered: this is no forward proxy.")
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        raise Fault("The request target must be a path that begins with '/'.")
    if absolute[1].lower() != block.authority:
        raise Fault("The absolute request target names another host than the Host header.")
    path = absolute[2]
    if not path and method == b"OPTIONS":
        return b"*"
    return path if path.startswith(b"/") else b"/" + path


def is_origin_form(target: bytes) -> bool:
    """True for the usual target, a path; the rest goes through `read_target`."""
    return _ORIGIN_FORM.fullmatch(target) is not None


def check_partial(head: bytes) -> None:
    """Refuse an unfinished head that can never become a good one; raises Fault."""
    if len(head) > HEAD_LIMIT:
        raise Fault(f"The request head is longer than {HEAD_LIMIT} bytes.", 431, "HEADER_TOO_LARGE")
    if _BARE_LF.search(head):
        raise Fault("Lines of the head must end in CR LF.")
    line, newline, _ = head.partition(b"\r\n")
    method = line.partition(b" ")[0]
    if (newline and b" HTTP/1." not in line) or (method and not _TOKEN.fullmatch(method)):
        raise Fault("The request line must be METHOD TARGET HTTP/1.1.")


def read_answer(head: bytes) -> Answer:
    """Read an answer's head, up to and with the end of its last line; raises BadAnswer."""
    if not head.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
        raise BadAnswer(f"it begins with {head[:20]!r}, not with HTTP/1.1")
    try:
        _judge(HttpResponseParser(_SILENT), head + b"\r\n")
    except Fault as fault:
        raise BadAnswer(fault.detail) from None
    line, _, block = head.partition(b"\r\n")
    status = int(line[9:12])
    if status < 100:
        raise BadAnswer(f"its status is {status}")
    own, kept = _split(block)
    options = _tokens(own.get(b"connection", []))
    codings = _lowered(own.get(b"transfer-encoding", []))
    if codings not in ([], [b"chunked"]):
        raise BadAnswer(f"its transfer coding {codings[0][:40]!r} is not chunked")
    length = int(own[b"content-length"][0]) if b"content-length" in own else None
    http10 = head.startswith(b"HTTP/1.0")
    keep_alive = b"close" not in options and (not http10 or b"keep-alive" in options)
    lines = [b"HTTP/1.1" + line[8:]]
    lines += [raw for name, raw in kept if name not in options and name not in _DROP]
    lines += [b"X-Request-Id: " + value for value in own.get(b"x-request-id", [])[:1]]
    if length is not None and status != 204 and status >= 200:
        lines.append(b"Content-Length: %d" % length)
    return Answer(
        status=status,
        out=b"\r\n".join(lines) + b"\r\n",
        length=length,
        chunked=bool(codings),
        keep_alive=keep_alive,
        event_stream=any(
            name == b"content-type" and b"text/event-stream" in raw[:64].lower() for name, raw in kept
        ),
        upgrade=own.get(b"upgrade", [b""])[0],
        has_id=b"x-request-id" in own,
        whole=length is not None
        and keep_alive
        and status >= 200
        and status not in (204, 304)
        and b"x-request-id" not in own,
    )


def _judge(parser: HttpRequestParser | HttpResponseParser, head: bytes) -> None:
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        return
    except HttpParserError as error:
        raise Fault(f"The head is not well-formed HTTP/1.1: {error}.") from None


def _split(block: bytes) -> tuple[dict[bytes, list[bytes]], list[tuple[bytes, bytes]]]:
    """Headers the gateway owns, by name, and the other lines in order, each with its lower-case name."""
    own: dict[bytes, list[bytes]] = {}
    kept: list[tuple[bytes, bytes]] = []
    for line in block.split(b"\r\n"):
        raw, colon, value = line.partition(b":")
        name = raw.lower()
        if name in _OWN:
            own.setdefault(name, []).append(value.strip(b" \t"))
        elif colon:
            kept.append((name, line))
    return own, kept


def _wanted(name: bytes, trusted: bool) -> bool:
    # CGI-like servers read X_Forwarded_For as X-Forwarded-For, so both spellings are one name here.
    plain = name.replace(b"_", b"-") if b"_" in name else name
    if plain is not name and (plain in _OWN or plain.startswith(b"x-forwarded-")):
        return False
    if plain in (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"):
        return False
    return plain not in _DROP and (trusted or not plain.startswith(b"x-forwarded-"))


def _forwarded(kept: list[tuple[bytes, bytes]], host: bytes, peer: bytes, trusted: bool) -> list[bytes]:
    said: dict[bytes, bytes] = {}
    if trusted:
        for name, line in kept:
            if name.startswith(b"x-forwarded-"):
                value = line.partition(b":")[2].strip()
                said[name] = said[name] + b", " + value if name in said else value
    chain = said.get(b"x-forwarded-for")
    return [
        b"X-Forwarded-For: " + (chain + b", " + peer if chain else peer),
        b"X-Forwarded-Proto: " + (said.get(b"x-forwarded-proto") or b"http"),
        b"X-Forwarded-Host: " + (said.get(b"x-forwarded-host") or host),
    ]


def _framing_lines(length: int, chunked: bool, stated: bool) -> list[bytes]:
    if chunked:
        return [b"Transfer-Encoding: chunked"]
    return [b"Content-Length: %d" % length] if stated else []


def _body_framing(own: dict[bytes, list[bytes]], http10: bool) -> tuple[int, bool]:
    codings = _lowered(own.get(b"transfer-encoding", []))
    if codings and http10:
        raise Fault("HTTP/1.0 has no transfer codings.")
    if codings and codings != [b"chunked"]:
        raise Fault("The only transfer coding supported is chunked.", 501)
    lengths = own.get(b"content-length", [])
    if len(lengths) > 1 or (lengths and codings) or not all(length.isdigit() for length in lengths):
        raise Fault("The length of the body is stated in more than one way or is no number.")
    return (int(lengths[0]) if lengths else 0), bool(codings)


def _host(own: dict[bytes, list[bytes]]) -> bytes:
    hosts = own.get(b"host", [])
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0].lower()):
        raise Fault("A request needs exactly one valid Host header.")
    return hosts[0]


def _host_name(host: bytes) -> bytes:
    match = _HOST.fullmatch(host.lower())
    assert match is not None
    return bytes(match[1].rstrip(b"."))


def _tokens(values: list[bytes]) -> set[bytes]:
    return {token.strip().lower() for value in values for token in value.split(b",")}


def _lowered(values: list[bytes]) -> list[bytes]:
    return [value.lower() for value in values]
