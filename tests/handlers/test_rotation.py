"""Output that is rotated away from under a live stream: its readers are told, in the right place."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from handlers import feeds
from platformd.keeper import segments
from platformd.logstore import Entry
from tests.handlers.served import Served
from tests.handlers.streams import streaming, texts
from tests.support import eventually


@pytest.mark.parametrize("during", [False, True], ids=["before a read", "during a read"])
@pytest.mark.parametrize(("portion", "query"), [("PAGE", "?after=0"), ("BATCH", "?tail=0")])
async def test_what_is_rotated_away_before_a_reader_comes_to_it_is_a_gap(
    api: Served, monkeypatch: pytest.MonkeyPatch, portion: str, query: str, during: bool
) -> None:
    """While it catches up, and while it follows: after its first portion nothing of the second is kept."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(feeds, portion, 2)
    deployment = await api.deployment()
    lines, read, gone = api.lines(deployment["id"]), api.context.logs.read, threading.Event()
    ids: list[int] = []
    later: list[int] = []

    def outrun(*args: Any, **selection: Any) -> list[Entry]:
        found = read(*args, **selection)
        if ids and selection.get("after") == ids[1] and not gone.is_set():
            gone.set()
            later.extend(id for n in range(20) for id in lines.write(f"later {n}", announce=False))
            return found if during else read(*args, **selection)
        return found

    monkeypatch.setattr(api.context.logs, "read", outrun)
    if portion == "PAGE":
        ids += [id for n in range(5) for id in lines.write(f"early {n}")]
    async with streaming(api, deployment, query) as source:
        await asyncio.to_thread(eventually, lambda: len(api.app.feeds))
        if portion == "BATCH":
            ids += lines.write("early 0", "early 1", "early 2", "early 3", "early 4")
        assert [event.id for event in await source.messages(2)] == ids[:2]
        gap = await source.next()
        kept = later[-segments.SEGMENTS :]
        assert (gap.name, gap.data["code"]) == ("gap", "NOT_KEPT")
        assert (gap.data["after"], gap.data["oldest"]) == (ids[1], kept[0])
        rest = [await source.next() for _ in kept]
        assert [(event.name, event.id) for event in rest] == [(None, id) for id in kept]
        lines.write("last")
        assert texts(await source.messages(1)) == ["last"]
