"""Fifty readers of a log that never read, and five that do."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.e2e.platform import Platform
from tests.recovery.conftest import chatter
from tests.recovery.follow import Follower
from tests.support import eventually

__all__ = ["chatter"]
STUCK, GOOD = 50, 5
LINES, SIZE, PAUSE_MS = 4_000, 1_500, 2
MOST_GROWTH = 64 << 20


@contextlib.contextmanager
def _stuck(platform: Platform, deployment_id: str) -> Iterator[socket.socket]:
    """Asks for the stream and reads nothing; a small window, so that little lies in the kernel."""
    where = urlsplit(platform.api_url)
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(60)
        peer.connect((where.hostname, where.port))
        peer.sendall(
            f"GET /api/v1/deployments/{deployment_id}/logs/stream HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        )
        yield peer


def _received(peer: socket.socket, last: str) -> list[dict[str, Any]]:
    """Every event until the end, or until the line that begins with `last`: its `name`, `id` and `data`."""
    found: list[dict[str, Any]] = []
    with peer.makefile("rb") as lines:
        fields: dict[str, str] = {}
        for raw in lines:
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            fields[name] = value
            if not name and "data" in fields:
                data = json.loads(fields["data"])
                found.append({"name": fields.get("event"), "id": int(fields.get("id", 0)), "data": data})
                if data.get("message", "").startswith(last):
                    break
            if not name:
                fields = {}
    return found


@pytest.mark.slow
def test_who_does_not_read_bothers_nobody_and_is_told_where_to_go_on(
    platform: Platform, chatter: Path, common: Path
) -> None:
    gate = common / "gate"
    env = {"GATE": str(gate), "LINES": str(LINES), "SIZE": str(SIZE), "PAUSE_MS": str(PAUSE_MS)}
    id = platform.deploy(chatter, env=env, networking={"protocol": "none"}, idle_timeout_secs=600)["id"]
    serve = psutil.Process(platform.pid)
    with contextlib.ExitStack() as stack:
        good = [stack.enter_context(Follower(platform.api_url, id, "?tail=0")) for _ in range(GOOD)]
        stuck = [stack.enter_context(_stuck(platform, id)) for _ in range(STUCK)]
        eventually(lambda: len(serve.net_connections("tcp")) >= GOOD + STUCK)
        before = serve.memory_info().rss
        gate.touch()
        last = f"{LINES - 1:08d}"
        eventually(lambda: all(one.entries[-1]["message"].startswith(last) for one in good), 60, every=0.1)
        assert serve.memory_info().rss - before < MOST_GROWTH
        assert max(_behind(one) for one in good) < 1.0
        expected, told = _lines(good[0]), []
        for peer in stuck:
            *events, end = _received(peer, last)
            seen = [
                (event["id"], event["data"]["message"])
                for event in events
                if event["data"].get("stream") == "stdout"
            ]
            assert seen == expected[: len(seen)]
            if end["name"] == "gap":
                told.append(seen)
                assert end["data"]["code"] == "SLOW_READER"
            else:  # it was still catching up, at its own pace
                assert len(seen) == LINES - 1
        [seen, *_] = told
        resumed = stack.enter_context(Follower(platform.api_url, id, f"?after={seen[-1][0]}"))
        eventually(lambda: resumed.entries[-1]["message"].startswith(last), 30, every=0.1)
        assert seen + _lines(resumed) == expected, "what it missed is there, once and in order"


def _behind(follower: Follower) -> float:
    """How much later than it was written an entry was seen, at the most, in seconds."""
    offset = time.time() - time.monotonic()
    return max(
        seen + offset - datetime.fromisoformat(entry["timestamp"]).timestamp()
        for entry, seen in zip(follower.entries, follower.seen_at, strict=False)
        if entry["stream"] == "stdout"
    )


def _lines(follower: Follower) -> list[tuple[int, str]]:
    return [
        (entry["id"], entry["message"]) for entry in list(follower.entries) if entry["stream"] == "stdout"
    ]
