"""Reads the heads of requests and answers, refuses what is ambiguous, and rewrites them for the other side.

llhttp (through httptools) judges the syntax of every header block; this module adds what llhttp lets through and
takes the block apart. Results are never changed and depend on their input alone, so callers keep the last one per
connection. Called by `server` and `upstream`. Pure; knows no socket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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
_EVENT_STREAM = re.compile(rb"(?i:^content-type:[ \t]*text/event-stream)", re.MULTILINE)
_BARE_LF = re.compile(rb"(?<!\r)\n")

# Names the gateway deals with itself; all others are passed on as they are.
_OWN = frozenset(
    b"host content-length transfer-encoding connection upgrade expect forwarded x-request-id sec-fetch-mode".split()
)
# Never forwarded: they speak of one connection only.
_DROPPED = frozenset(
    b"keep-alive proxy-connection proxy-authorization proxy-authenticate http2-settings te".split()
)
_REWRITTEN = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
_PASS, _DROP = b"", b"-"
_KINDS_LIMIT = 4096
_PERSISTENCE = frozenset((b"close", b"keep-alive", b"upgrade"))


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
    own, lines = _split(rest[10:-4])
    host, name = _host(own)
    options = _tokens(own[b"connection"]) if b"connection" in own else frozenset()
    if not options <= _PERSISTENCE:
        lines = [line for line in lines if line.partition(b":")[0].lower() not in options]
    lines.insert(0, b"Host: " + host)
    length, chunked = 0, False
    if b"content-length" in own or b"transfer-encoding" in own:
        length, chunked = _body_framing(own, http10)
        lines.append(b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % length)
    has_body = chunked or length > 0
    websocket = b"upgrade" in own and _upgrades(own, options, has_body=has_body, http10=http10)
    if websocket:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket")
    expects = has_body and not http10 and _lowered(own.get(b"expect", ())) == [b"100-continue"]
    if expects:
        lines.append(b"Expect: 100-continue")
    modes = own.get(b"sec-fetch-mode", ())
    lines += [b"Sec-Fetch-Mode: " + mode for mode in modes]
    lines += _forwarded(own, host, peer) if trusted else ()
    if not trusted:
        lines.append(b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: %b" % (peer, host))
    lines.append(b"")
    ids = own.get(b"x-request-id", ())
    close = b"close" in options or (http10 and b"keep-alive" not in options)
    return Block(
        host=name,
        authority=host.lower(),
        forward=b"\r\n".join(lines),
        request_id=ids[0] if len(ids) == 1 and _SANE_ID.fullmatch(ids[0]) else b"",
        length=length,
        chunked=chunked,
        has_body=has_body,
        close=close,
        http10=http10,
        expects=expects,
        websocket=websocket,
        navigate=b"navigate" in modes,
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
    own, lines = _split(block[:-2])
    options = _tokens(own[b"connection"]) if b"connection" in own else frozenset()
    if not options <= _PERSISTENCE:
        lines = [line for line in lines if line.partition(b":")[0].lower() not in options]
    codings = _lowered(own.get(b"transfer-encoding", ()))
    if codings not in ([], [b"chunked"]):
        raise BadAnswer(f"its transfer coding {codings[0][:40]!r} is not chunked")
    length = int(own[b"content-length"][0]) if b"content-length" in own else None
    http10 = head.startswith(b"HTTP/1.0")
    keep_alive = b"close" not in options and (not http10 or b"keep-alive" in options)
    has_id = b"x-request-id" in own
    if has_id:
        lines.append(b"X-Request-Id: " + own[b"x-request-id"][0])
    if length is not None and status != 204 and status >= 200:
        lines.append(b"Content-Length: %d" % length)
    lines.append(b"")
    return Answer(
        status=status,
        out=b"HTTP/1.1%b\r\n%b" % (line[8:], b"\r\n".join(lines)),
        length=length,
        chunked=bool(codings),
        keep_alive=keep_alive,
        event_stream=b"event-stream" in block and _EVENT_STREAM.search(block) is not None,
        upgrade=own[b"upgrade"][0] if b"upgrade" in own else b"",
        has_id=has_id,
        whole=length is not None and keep_alive and status >= 200 and status not in (204, 304) and not has_id,
    )


def _judge(parser: HttpRequestParser | HttpResponseParser, head: bytes) -> None:
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        return
    except HttpParserError as error:
        raise Fault(f"The head is not well-formed HTTP/1.1: {error}.") from None


def _split(block: bytes) -> tuple[dict[bytes, list[bytes]], list[bytes]]:
    """The values of headers the gateway deals with, by lower-case name, and the other lines in order."""
    own: dict[bytes, list[bytes]] = {}
    lines: list[bytes] = []
    for line in block.split(b"\r\n"):
        name, _, value = line.partition(b":")
        kind = _kinds.get(name)
        if kind is None:
            kind = _kind_of(name)
        if not kind:
            lines.append(line)
        elif kind in own:
            own[kind].append(value.strip(b" \t"))
        else:
            own[kind] = [value.strip(b" \t")]
    return own, lines


# What was found out about header names, spelt as they came; emptied when it grows beyond reason.
_kinds: dict[bytes, bytes] = {}


def _kind_of(name: bytes) -> bytes:
    """The lower-case name if the gateway deals with it, _DROP, or _PASS."""
    lower = name.lower()
    # CGI-like servers read X_Forwarded_For as X-Forwarded-For, so the other spelling never passes.
    plain = lower.replace(b"_", b"-")
    kind = _PASS
    if plain in _OWN or plain.startswith(b"x-forwarded-"):
        kind = lower if plain == lower else _DROP
    elif plain in _DROPPED or not name:
        kind = _DROP
    if len(_kinds) >= _KINDS_LIMIT:
        _kinds.clear()
    _kinds[name] = kind
    return kind


def _forwarded(own: dict[bytes, list[bytes]], host: bytes, peer: bytes) -> list[bytes]:
    """What a trusted proxy said of the request, and it itself as one more link of the chain."""
    said = {name: b", ".join(values) for name, values in own.items() if name.startswith(b"x-forwarded-")}
    chain = said.get(b"x-forwarded-for")
    return [
        b"X-Forwarded-For: " + (chain + b", " + peer if chain else peer),
        b"X-Forwarded-Proto: " + (said.get(b"x-forwarded-proto") or b"http"),
        b"X-Forwarded-Host: " + (said.get(b"x-forwarded-host") or host),
        *(name.title() + b": " + value for name, value in said.items() if name not in _REWRITTEN),
        *(b"Forwarded: " + value for value in own.get(b"forwarded", ())),
    ]


def _upgrades(
    own: dict[bytes, list[bytes]], options: frozenset[bytes], *, has_body: bool, http10: bool
) -> bool:
    """True for a WebSocket; other upgrades are served without one, as HTTP allows, unless a body follows."""
    asked = _lowered(own[b"upgrade"])
    if asked == [b"websocket"] and b"upgrade" in options and not http10 and not has_body:
        return True
    if has_body:
        raise Fault(f"Upgrade to {asked[0][:40]!r} with a body is not supported; send it without Upgrade.")
    return False


def _body_framing(own: dict[bytes, list[bytes]], http10: bool) -> tuple[int, bool]:
    codings = _lowered(own.get(b"transfer-encoding", ()))
    if codings and http10:
        raise Fault("HTTP/1.0 has no transfer codings.")
    if codings and codings != [b"chunked"]:
        raise Fault("The only transfer coding supported is chunked.", 501)
    lengths = own.get(b"content-length", ())
    if len(lengths) > 1 or (lengths and codings) or not all(length.isdigit() for length in lengths):
        raise Fault("The length of the body is stated in more than one way or is no number.")
    return (int(lengths[0]) if lengths else 0), bool(codings)


def _host(own: dict[bytes, list[bytes]]) -> tuple[bytes, bytes]:
    """The Host as it came, and the name it is routed by."""
    hosts = own.get(b"host", [])
    match = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
    if match is None:
        raise Fault("A request needs exactly one valid Host header.")
    return hosts[0], match[1].rstrip(b".")


def _tokens(values: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))


def _lowered(values: Iterable[bytes]) -> list[bytes]:
    return [value.lower() for value in values]
