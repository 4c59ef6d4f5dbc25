"""Apps: creation, both ways to name one, the list."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.handlers.served import Served

APPS = "/api/v1/apps"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_create_and_get(api: Served) -> None:
    body = {"name": "My-Api", "description": "ä", "labels": {"team": "core"}}
    made = await api.client.post(APPS, body)
    app = made.json
    assert made.status == 201
    assert made.headers["location"] == f"{APPS}/{app['id']}"
    assert list(app) == [
        "id",
        "name",
        "namespace",
        "subdomain",
        "description",
        "labels",
        "default_deployment_spec",
        "created_at",
        "updated_at",
        "revision",
    ]
    assert (app["name"], app["namespace"], app["subdomain"]) == ("My-Api", "default", "my-api-default")
    assert (app["description"], app["labels"], app["revision"]) == ("ä", {"team": "core"}, 1)
    assert TIME.fullmatch(app["created_at"])
    for path in (
        f"{APPS}/{app['id']}",
        f"{APPS}/{app['id'].upper()}",
        f"{APPS}/default/My-Api",
        made.headers["location"],
    ):
        assert (await api.client.get(path)).json == app


async def test_a_taken_address(api: Served) -> None:
    assert (await api.client.post(APPS, {"name": "a-b"})).status == 201
    for other in ({"name": "a-b"}, {"name": "A-B"}, {"name": "a", "namespace": "b-default"}):
        (await api.client.post(APPS, other)).problem(409, "SUBDOMAIN_TAKEN")
    assert (await api.client.get(APPS)).json["total"] == 1


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/name"]),
        ({"name": ""}, ["/name"]),
        ({"name": "a" * 41}, ["/name"]),
        ({"name": "a b"}, ["/name"]),
        ({"name": "-a"}, ["/name"]),
        ({"name": "ä"}, ["/name"]),
        ({"name": "a\n"}, ["/name"]),
        ({"name": None, "namespace": 3}, ["/name", "/namespace"]),
        ({"name": "Deployments"}, ["/name"]),
        ({"name": "a", "namespace": "by-subdomain"}, ["/namespace"]),
        ({"name": "a", "namespace": "3f0e0c3e-0000-4000-8000-00000000abcd"}, ["/namespace"]),
        ({"name": "a", "labels": {"": "x", "k": 1}}, ["/labels/", "/labels/k"]),
        ({"name": "a", "labels": {"k": "v" * 257}}, ["/labels/k"]),
        ({"name": "a", "labels": []}, ["/labels"]),
        ({"name": "a", "description": "\0"}, ["/description"]),
        ({"name": "a", "subdomain": "x"}, ["/subdomain"]),
        ([], [""]),
        ("x", [""]),
        (7, [""]),
    ],
)
async def test_what_is_no_app(api: Served, body: Any, pointers: list[str]) -> None:
    answer = await api.client.post(APPS, body)
    answer.problem(422, "INVALID")
    assert answer.pointers == pointers
    assert (await api.client.get(APPS)).json["total"] == 0


async def test_the_list(api: Served) -> None:
    for name, namespace in (("b", "x"), ("a", "x"), ("c", "y")):
        await api.client.post(APPS, {"name": name, "namespace": namespace})
    envelope = (await api.client.get(f"{APPS}?namespace=x&sort_by=name&sort_order=asc&page_size=1")).json
    assert {key: envelope[key] for key in ("total", "page", "page_size")} == {
        "total": 2,
        "page": 1,
        "page_size": 1,
    }
    assert [app["name"] for app in envelope["data"]] == ["a"]
    second = (await api.client.get(f"{APPS}?namespace=x&sort_by=name&sort_order=asc&page_size=1&page=2")).json
    assert [app["name"] for app in second["data"]] == ["b"]
    newest_first = (await api.client.get(APPS)).json
    assert [app["name"] for app in newest_first["data"]] == ["c", "a", "b"]
    assert (await api.client.get(f"{APPS}?page=1000000000")).json["data"] == []


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("page=0", ["/page"]),
        ("page_size=101", ["/page_size"]),
        ("page_size=0&page=x", ["/page_size", "/page"]),
        ("sort_by=id", ["/sort_by"]),
        ("sort_order=DESC", ["/sort_order"]),
        ("page=1&page=2", ["/page"]),
        ("limit=3", ["/limit"]),
        ("namespace=%ff", ["/namespace"]),
    ],
)
async def test_queries_out_of_range(api: Served, query: str, pointers: list[str]) -> None:
    answer = await api.client.get(f"{APPS}?{query}")
    answer.problem(422, "INVALID")
    assert answer.pointers == pointers
