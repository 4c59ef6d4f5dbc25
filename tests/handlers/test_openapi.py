"""The OpenAPI document: complete, of the very routes and types that serve, with examples that are valid."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from handlers import examples, openapi
from handlers.operation import Content, operation_of
from handlers.routes import ROUTES
from handlers.validation import collect
from tests.handlers.served import Served

DOCUMENT = openapi.document(ROUTES, "1.2.3")
OPERATIONS = [
    (path, method, found) for path, item in DOCUMENT["paths"].items() for method, found in item.items()
]
DECLARED = [
    (pattern, kind, method, declared)
    for pattern, kind in ROUTES
    for method in ("GET", "PUT", "POST", "DELETE", "PATCH")
    if (declared := operation_of(kind, method)) is not None and declared.answers
]


async def test_it_is_served(api: Served) -> None:
    answer = await api.client.get("/api/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["paths"] == json.loads(json.dumps(DOCUMENT["paths"]))


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    routed = {(openapi.template(pattern, kind), method.lower()) for pattern, kind, method, _ in DECLARED}
    assert {(path, method) for path, method, _ in OPERATIONS} == routed


@pytest.mark.parametrize(("path", "method", "found"), OPERATIONS)
def test_every_documented_path_has_a_route(path: str, method: str, found: Any) -> None:
    concrete = path
    for parameter in found["parameters"]:
        if parameter["in"] == "path":
            example = parameter["schema"].get("examples", ["some-name"])[0]
            concrete = concrete.replace("{" + parameter["name"] + "}", example)
    serving = next(kind for pattern, kind in ROUTES if re.fullmatch(pattern, concrete))
    declared = operation_of(serving, method)
    assert declared is not None
    assert openapi.operation_id(declared) == found["operationId"]


def test_names_of_operations_are_unique() -> None:
    names = [found["operationId"] for _, _, found in OPERATIONS]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere() -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))):
        place: Any = DOCUMENT
        for step in reference.split("/"):
            place = place[step]


BODIES = {
    declared.body
    for *_, declared in DECLARED
    if declared.body is not None and not isinstance(declared.body, Content)
}


@pytest.mark.parametrize("kind", sorted(BODIES, key=lambda kind: kind.__name__))
def test_every_body_has_examples_and_they_are_valid(kind: Any) -> None:
    for example in examples.BODIES[kind].values():
        parsed, faults = collect(kind, example)
        assert parsed is not None, faults


def test_locked_operations_ask_for_a_token_and_public_ones_for_none() -> None:
    for pattern, kind, method, declared in DECLARED:
        security = DOCUMENT["paths"][openapi.template(pattern, kind)][method.lower()]["security"]
        if declared.scope is None:
            assert security == []
        else:
            assert ({} in security) is not declared.locked
