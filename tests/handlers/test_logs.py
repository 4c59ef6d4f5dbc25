"""Stored entries: which ones, in which order, with which fields."""

from __future__ import annotations

import re
from typing import Any

import pytest

from platformd.ids import new_id
from platformd.keeper import segments
from tests.handlers.served import Served


def messages(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["message"] for entry in entries]


async def test_entries_are_a_bare_array_oldest_first(api: Served) -> None:
    deployment = await api.deployment()
    task_id = new_id()
    lines = api.lines(deployment["id"], task_id)
    ids = lines.write("one", "two \u00e4 \x1b[31m")
    ids += lines.write("oops", stream=segments.STDERR)
    entries = (await api.client.get(f"/api/v1/deployments/{deployment['id']}/logs")).json
    assert [entry["id"] for entry in entries] == ids
    assert [(entry["stream"], entry["message"]) for entry in entries] == [
        ("stdout", "one"),
        ("stdout", "two \u00e4 \x1b[31m"),
        ("stderr", "oops"),
    ]
    first = entries[0]
    assert list(first) == ["id", "timestamp", "deployment_id", "task_id", "stream", "message"]
    assert (first["deployment_id"], first["task_id"]) == (deployment["id"], task_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["timestamp"])


async def test_no_output_yet(api: Served) -> None:
    deployment = await api.deployment()
    assert (await api.client.get(f"/api/v1/deployments/{deployment['id']}/logs")).json == []


async def test_selections(api: Served) -> None:
    deployment = await api.deployment()
    path = f"/api/v1/deployments/{deployment['id']}/logs"
    one, other = new_id(), new_id()
    ids = api.lines(deployment["id"], one).write(*(f"a{n}" for n in range(10)))
    api.lines(deployment["id"], other).write("b0", stream=segments.SYSTEM)

    async def ask(query: str) -> list[str]:
        return messages((await api.client.get(f"{path}?{query}")).json)

    assert await ask("limit=2") == ["a9", "b0"]
    assert await ask(f"after={ids[3]}&limit=2") == ["a4", "a5"]
    assert await ask("after=0&limit=1") == ["a0"]
    assert await ask(f"before={ids[3]}&limit=2") == ["a1", "a2"]
    assert await ask(f"before={ids[3]}&after={ids[0]}") == ["a1", "a2"]
    assert await ask("tail=1") == ["b0"]
    assert await ask("tail=0") == []
    assert await ask(f"task_id={one.upper()}&tail=1") == ["a9"]
    assert await ask("stream=system") == ["b0"]
    assert await ask("since=1h&limit=1") == ["b0"]
    assert await ask("until=2000-01-01T00:00:00Z") == []
    assert len(await ask("since=2000-01-01T00:00:00%2B02:00")) == 11


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("limit=0", ["/limit"]),
        ("limit=1001", ["/limit"]),
        ("tail=-1", ["/tail"]),
        ("after=x", ["/after"]),
        (f"after={1 << 60}", ["/after"]),
        ("stream=stdin", ["/stream"]),
        ("task_id=7", ["/task_id"]),
        ("since=yesterday&until=x", ["/since", "/until"]),
        ("since=999999999d", ["/since"]),
        ("limit=0&since=x&stream=foo", ["/limit", "/since", "/stream"]),
        ("follow=1", ["/follow"]),
    ],
)
async def test_selections_that_are_none(api: Served, query: str, pointers: list[str]) -> None:
    deployment = await api.deployment()
    answer = await api.client.get(f"/api/v1/deployments/{deployment['id']}/logs?{query}")
    answer.problem(422, "INVALID")
    assert answer.pointers == pointers


async def test_one_tasks_entries(api: Served) -> None:
    deployment = await api.deployment()
    task = await api.task(deployment)
    api.lines(deployment["id"]).write("somebody else's")
    api.lines(deployment["id"], task.id).write("ours")
    path = f"/api/v1/tasks/{task.id}/logs"
    assert messages((await api.client.get(path)).json) == ["ours"]
    assert (await api.client.get(f"{path}?task_id={task.id}")).pointers == ["/task_id"]


async def test_a_task_id_leads_nowhere_else(api: Served) -> None:
    deployment, other = await api.deployment(), await api.deployment(await api.app_id("other"))
    foreign = new_id()
    api.lines(other["id"], foreign).write("foreign")
    path = f"/api/v1/deployments/{deployment['id']}/logs"
    assert (await api.client.get(f"{path}?task_id={foreign}")).json == []
    assert (await api.client.get(f"{path}?task_id=..")).pointers == ["/task_id"]
