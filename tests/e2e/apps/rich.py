#!/usr/bin/env python3
"""A server for the tests that does what takes more than C: bodies, event streams, WebSockets, answers side by side.

POST /sha256 answers the digest of its body · GET /slow?MS answers after MS without holding up others · GET /events
streams server-sent events until it is left · GET /ws echoes WebSocket frames · anything else answers "ok".
/redirect answers 302, /flap 503, /health 200 but 503 for MS after a GET /sicken?MS. Listens after START_MS.
"""

import asyncio
import base64
import hashlib
import os

ill_until = 0.0


async def head_of(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
    method, path, _ = head[0].split()
    return (
        method,
        path,
        {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)},
    )


def say(writer, body, status=b"200 OK"):
    writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


def health(name):
    """The status of the paths that play at being well or ill."""
    if name == "/redirect":
        return b"302 Found\r\nLocation: /"
    ill = name == "/flap" or (name == "/health" and asyncio.get_running_loop().time() < ill_until)
    return b"503 Service Unavailable" if ill else b"200 OK"


async def body_of(reader, headers):
    """The pieces of a body of known or chunked length."""
    if headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readline()
        return
    left = int(headers.get("content-length", 0))
    while left:
        piece = await reader.read(min(left, 65536))
        if not piece:
            raise EOFError
        left -= len(piece)
        yield piece


async def digest(reader, writer, headers):
    found = hashlib.sha256()
    async for piece in body_of(reader, headers):
        found.update(piece)
    say(writer, found.hexdigest().encode())


async def events(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    number = 0
    while not writer.transport.is_closing():
        writer.write(b"data: %d\n\n" % (number := number + 1))
        await asyncio.sleep(0.2)


async def websocket(reader, writer, headers):
    """Text and binary frames come back, a close is answered."""
    key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    while True:
        first, second = await reader.readexactly(2)
        length = second & 127
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2), "big")
        mask = await reader.readexactly(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(await reader.readexactly(length)))
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
        writer.write(bytes([first]) + size + data)
        if first & 15 == 8:
            return


async def client(reader, writer):
    global ill_until
    try:
        while True:
            _, path, headers = await head_of(reader)
            name, _, rest = path.partition("?")
            if name == "/events":
                return await events(writer)
            if name == "/ws":
                return await websocket(reader, writer, headers)
            if name == "/sha256":
                await digest(reader, writer, headers)
                continue
            if name == "/slow":
                await asyncio.sleep(int(rest) / 1000)
            if name == "/sicken":
                ill_until = asyncio.get_running_loop().time() + int(rest) / 1000
            say(writer, b"ok\n", health(name))
    except (EOFError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    await asyncio.sleep(int(os.environ.get("START_MS", 0)) / 1000)
    server = await asyncio.start_server(client, os.environ["HOST"], int(os.environ["PORT"]), backlog=1024)
    async with server:
        await server.serve_forever()


asyncio.run(main())
