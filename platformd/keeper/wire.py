"""Packets on the keeper's socket: one JSON object each, with file descriptors beside it.

Used by the keeper, by serve's link to it and by drivers. Pure functions over a socket; any thread, one sender
and one receiver at a time. A body too large for a packet travels in a memfd, so the size of a launch is not
bounded by socket buffers.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Message = dict[str, Any]

VERSION = 1
SOCKET_NAME = "keeper.sock"
GATEWAY_PREFIX = "gateway-"  # of the task ids that the keeper gives its gateways: nobody else's business
INLINE_BYTES = 64 * 1024
BUFFER_BYTES = 8 * 1024 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_FDS = 16

_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_CREDENTIALS = struct.Struct("3i")


class WireError(Exception):
    """What came is no packet of this protocol, or what should go does not fit one."""


def new_socket() -> socket.socket:
    """A packet socket with room for a burst of messages."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    widen(sock)
    return sock


def widen(sock: socket.socket) -> None:
    """Ask for large buffers; without the privilege the kernel gives what it allows."""
    for force, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)


def connect(run_dir: str | os.PathLike[str]) -> socket.socket:
    """A connection to the keeper of `run_dir`; OSError (ENOENT, ECONNREFUSED) when none listens."""
    folder = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = new_socket()
    try:
        sock.connect(f"/proc/self/fd/{folder}/{SOCKET_NAME}")  # a plain path may exceed 108 bytes
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(folder)
    return sock


def peer(sock: socket.socket) -> tuple[int, int]:
    """(pid, uid) of the process at the other end."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def pack(message: Message, fds: Sequence[int] = ()) -> tuple[bytes, list[int], int | None]:
    """(packet, descriptors to send, the memfd among them to close afterwards or None)."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) <= INLINE_BYTES:
        return body, list(fds), None
    if len(body) > MAX_BODY_BYTES:
        raise WireError(
            f"message {message.get('op')!r} has {len(body)} bytes, at most {MAX_BODY_BYTES} can be sent"
        )
    carrier = os.memfd_create("platformd-message", os.MFD_CLOEXEC)
    os.write(carrier, body)
    return b'{"memfd":%d}' % len(body), [carrier, *fds], carrier


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message; BlockingIOError from a full non-blocking socket leaves nothing half sent."""
    packet, all_fds, carrier = pack(message, fds)
    try:
        send_packet(sock, packet, all_fds)
    finally:
        if carrier is not None:
            os.close(carrier)


def send_packet(sock: socket.socket, packet: bytes, fds: Sequence[int]) -> None:
    """Send what `pack` made."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([packet], ancillary, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors (close-on-exec); None when the peer has gone."""
    packet, ancillary, flags, _ = sock.recvmsg(
        INLINE_BYTES + 1, socket.CMSG_SPACE(4 * MAX_FDS), socket.MSG_CMSG_CLOEXEC
    )
    fds = _descriptors(ancillary)
    if not packet:
        _close(fds)
        return None
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise WireError(
                f"a packet was larger than {INLINE_BYTES} bytes or carried over {MAX_FDS} descriptors"
            )
        message = _parse(packet)
        if "memfd" in message:
            message = _parse(_body(fds, message["memfd"]))
    except BaseException:
        _close(fds)
        raise
    return message, fds


def _body(fds: list[int], length: object) -> bytes:
    if not fds or not isinstance(length, int) or not 0 <= length <= MAX_BODY_BYTES:
        raise WireError(f"a message body of {length!r} bytes was announced beside {len(fds)} descriptors")
    carrier = fds.pop(0)
    try:
        body = os.pread(carrier, length, 0)
    except OSError as error:
        raise WireError(f"a message body cannot be read: {error}") from error
    finally:
        os.close(carrier)
    if len(body) != length:
        raise WireError(f"a message body has {len(body)} bytes instead of {length}")
    return body


def _parse(packet: bytes) -> Message:
    try:
        message = json.loads(packet)
    except ValueError as error:
        raise WireError(f"a packet is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise WireError(f"a packet holds {type(message).__name__} instead of an object")
    return message


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def source_version(folder: str | os.PathLike[str]) -> str:
    """A digest of the keeper's source in `folder`: another value means that an upgrade by exec is due."""
    digest = 0
    names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    for name in names:
        with open(os.path.join(folder, name), "rb") as source:
            digest = zlib.crc32(source.read(), zlib.crc32(name.encode(), digest))
    return f"{digest:08x}"
