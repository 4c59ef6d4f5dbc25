"""The OpenAPI 3.1 document of the API, made from the routes and from the very types that validate.

`document` is called once, by the handler that serves it and by tests. Pure.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from handlers import answers, examples
from handlers.operation import CHANGES, Content, Operation, everything_refused, operation_of

Json = dict[str, Any]
Routes = Sequence[tuple[str, type]]

VERSION = "3.1.0"
_METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")
_REFERENCE = "#/components/schemas/{name}"
_GROUP = re.compile(r"\((?!\?).*?\)(?=/|$)")
_LOOKAHEAD = re.compile(r"\(\?!.*?/\)")
_SEGMENT = "([^/]+)"
_API = "/api/v1"
_SERVICE = ("version", "openapi.json", "nodes")

# What the id in the answer of a creation names in other paths.
_CREATED: dict[Any, str] = {
    answers.App: "app_id",
    answers.Deployment: "deployment_id",
    answers.Artifact: "artifact_id",
}

_HEADERS = {
    "X-Request-Id": {"description": "the caller's if it is sane, else made up; the same in the logs"},
    "Server-Timing": {"description": "milliseconds spent: db, actor, total"},
}
_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "the request acts once; sent again within 24 hours it is answered as the first time",
    "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
}
_IF_MATCH: Json = {
    "name": "If-Match",
    "in": "header",
    "description": "change it only at this revision; quotes are optional; what is no revision is never the present one",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH: Json = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the `ETag` of an earlier answer: 304 while there is nothing new",
    "schema": {"type": "string"},
}
_SECURITY: list[Json] = [{"bearer": []}, {"apiKey": []}]
_OF_STREAMS: list[Json] = [{"accessToken": []}, {"ticket": []}]


def document(routes: Routes, version: str) -> Json:
    """The whole document. Paths are in the order of `routes`."""
    schemas = _Schemas(routes)
    paths: Json = {}
    for pattern, kind in routes:
        declared = {
            method.lower(): _operation(schemas, pattern, kind, method, found)
            for method in _METHODS
            if (found := operation_of(kind, method)) is not None and found.answers
        }
        if declared:
            paths[template(pattern, kind)] = declared
    _add_links(paths, routes)
    return {
        "openapi": VERSION,
        "info": {
            "title": "platformd",
            "version": version,
            "summary": "Runs versions of apps, puts them to sleep, wakes them on traffic.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(path) for path in paths)],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "accessToken": {"type": "apiKey", "in": "query", "name": "access_token"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
            "headers": {name: {**said, "schema": {"type": "string"}} for name, said in _HEADERS.items()},
        },
    }


def template(pattern: str, kind: type) -> str:
    """A route's pattern as OpenAPI writes it, its parameters by the names of the handler's arguments."""
    names = iter(_parameters_of(kind))
    bare = _LOOKAHEAD.sub("", pattern).replace(r"\.", ".")
    return _GROUP.sub(lambda _: "{" + next(names) + "}", bare)


def operation_id(declared: Operation) -> str:
    """A name for generated clients: the summary in one word."""
    words = re.findall(r"[a-z0-9]+", declared.summary.lower().replace("'s", ""))
    return "_".join(word for word in words if word not in ("a", "an", "the"))


class _Schemas:
    """The schema of every type that any operation names."""

    def __init__(self, routes: Routes) -> None:
        self._types = list(dict.fromkeys(_types_of(routes)))
        found, self.components = msgspec.json.schema_components(self._types, ref_template=_REFERENCE)
        self._schemas = list(found)

    def of(self, kind: Any) -> Json:
        return self._schemas[self._types.index(kind)]

    def fields_of(self, query: type) -> Json:
        """Parameter name → (schema, required) of a query's Struct."""
        body = self.components[query.__name__]
        return {
            name: (schema, name in body.get("required", ())) for name, schema in body["properties"].items()
        }


def _types_of(routes: Routes) -> Iterable[Any]:
    yield answers.Problem
    for _, kind in routes:
        for method in _METHODS:
            declared = operation_of(kind, method)
            if declared is None:
                continue
            yield declared.query
            for found in (declared.body, *declared.answers.values()):
                named = found.item if isinstance(found, Content) else found
                if named is not None:
                    yield named


def _operation(schemas: _Schemas, pattern: str, kind: type, method: str, declared: Operation) -> Json:
    shown: Json = {
        "operationId": operation_id(declared),
        "summary": declared.summary,
        "tags": [_tag(template(pattern, kind))],
        "parameters": [
            *_path_parameters(pattern, kind),
            *_query_parameters(schemas, declared.query),
            *_header_parameters(method, declared),
        ],
        "responses": _responses(schemas, method, declared, _refused(pattern, method, declared)),
        "security": _security(declared),
    }
    described = inspect.getdoc(getattr(kind, method.lower()))
    if described:
        shown["description"] = described
    if declared.scope is not None:
        shown["x-scope"] = declared.scope.value
    if declared.body is not None:
        shown["requestBody"] = _request_body(schemas, declared)
    return shown


def _security(declared: Operation) -> list[Json]:
    if declared.scope is None:
        return []
    ways = [*_SECURITY, *_OF_STREAMS] if declared.streams else _SECURITY
    return ways if declared.locked else [{}, *ways]


def _tag(path: str) -> str:
    segments = [part for part in path.removeprefix(_API).split("/") if part and part[0] != "{"]
    if not path.startswith(_API) or (len(segments) == 1 and path.count("/") == 3 and segments[0] in _SERVICE):
        return "service"
    return next((name for name in ("logs", "tasks", "deployments") if name in segments), segments[0])


@cache
def _parameters_of(kind: type) -> tuple[str, ...]:
    """The names of what the path gives to the handler's methods."""
    methods = (getattr(kind, name.lower()) for name in _METHODS if operation_of(kind, name))
    signature = inspect.signature(next(methods))
    return tuple(name for name in signature.parameters if name != "self")


def _path_parameters(pattern: str, kind: type) -> Iterable[Json]:
    groups = _GROUP.findall(_LOOKAHEAD.sub("", pattern))
    for name, group in zip(_parameters_of(kind), groups, strict=True):
        schema: Json = {"type": "string", "minLength": 1}
        if group != _SEGMENT:
            schema = {"type": "string", "pattern": f"^{group[1:-1]}$"}
            if "{12}" in group:
                schema |= {"format": "uuid", "examples": ["0b7f6b6e-6b0c-4d5e-9d51-3d1f0f6e2a11"]}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(schemas: _Schemas, query: type) -> Iterable[Json]:
    for name, (schema, required) in schemas.fields_of(query).items():
        yield {"name": name, "in": "query", "required": required, "schema": schema}


def _header_parameters(method: str, declared: Operation) -> Iterable[Json]:
    if method == "POST":
        yield _IDEMPOTENCY_KEY
    if method in CHANGES or (method == "POST" and "412 REVISION_MISMATCH" in declared.problems):
        yield _IF_MATCH
    if _has_validator(method, declared):
        yield _IF_NONE_MATCH


def _has_validator(method: str, declared: Operation) -> bool:
    answer = declared.answers.get(200)
    return method == "GET" and answer is not None and not isinstance(answer, Content)


def _request_body(schemas: _Schemas, declared: Operation) -> Json:
    if isinstance(declared.body, Content):
        return {"required": not declared.optional_body, "content": _bytes(declared.body)}
    json: Json = {"schema": schemas.of(declared.body)}
    if declared.body in examples.BODIES:
        json["examples"] = {name: {"value": value} for name, value in examples.BODIES[declared.body].items()}
    content = {"application/json": json} | (_bytes(declared.instead) if declared.instead else {})
    return {"required": not declared.optional_body, "content": content}


def _bytes(content: Content) -> Json:
    return {media: {"schema": {"type": "string", "format": "binary"}} for media in content.types}


def _refused(pattern: str, method: str, declared: Operation) -> set[str]:
    """With what a path answers whose parameter is no id, or fits another path."""
    refused = everything_refused(declared, method)
    return refused | {"404 NOT_FOUND", "405 METHOD_NOT_ALLOWED"} if "(" in pattern else refused


def _responses(schemas: _Schemas, method: str, declared: Operation, refused: set[str]) -> Json:
    responses: Json = {
        str(status): _answer(schemas, status, kind) for status, kind in declared.answers.items()
    }
    if _has_validator(method, declared):
        responses["200"]["headers"]["ETag"] = {
            "schema": {"type": "string"},
            "description": "of the body, weak",
        }
        responses["304"] = _answer(schemas, 304, None)
    for status, codes in _by_status(refused).items():
        responses[status] = _problem(schemas, int(status), codes)
    return responses


def _answer(schemas: _Schemas, status: int, kind: Any) -> Json:
    shown: Json = {
        "description": HTTPStatus(status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS},
    }
    if status == 201:
        shown["headers"]["Location"] = {"schema": {"type": "string"}, "description": "where it is"}
    if isinstance(kind, Content):
        shown["content"] = {media: {"schema": _schema_of(schemas, media, kind)} for media in kind.types}
    elif kind is not None:
        shown["content"] = {"application/json": {"schema": schemas.of(kind)}}
    return shown


def _schema_of(schemas: _Schemas, media: str, kind: Content) -> Json:
    """Of bytes, of the items there are, of one server-sent event, or of a text with a JSON document on each line."""
    if kind.item is None:
        return {"type": "string", "format": "binary"}
    if media == "application/json":
        return {"type": "array", "items": schemas.of(kind.item)}
    if media != "text/event-stream":
        return {"type": "string", "description": "one JSON document a line", "x-item": schemas.of(kind.item)}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schemas.of(kind.item)}
    return {
        "description": "one event; an unnamed one is an item, a named one says what befell the stream",
        "anyOf": [_event({"const": "message"}, data), _event({"enum": ["gap", "end"]}, {"type": "string"})],
    }


def _event(name: Json, data: Json) -> Json:
    properties = {"id": {"type": "string"}, "event": name, "data": data}
    return {"type": "object", "properties": properties}


def _by_status(problems: Iterable[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for problem in sorted(problems):
        status, code = problem.split()
        found.setdefault(status, []).append(code)
    return found


def _problem(schemas: _Schemas, status: int, codes: list[str]) -> Json:
    schema = {"allOf": [schemas.of(answers.Problem)], "properties": {"code": {"enum": codes}}}
    shown: Json = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status in (429, 503):
        shown["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    return shown


def _add_links(paths: Json, routes: Routes) -> None:
    """From what creates an object to what takes its id."""
    takers: dict[str, list[Json]] = {}
    for shown in paths.values():
        for found in shown.values():
            for parameter in found["parameters"]:
                if parameter["in"] == "path":
                    takers.setdefault(parameter["name"], []).append(found)
    for pattern, kind in routes:
        declared = operation_of(kind, "POST")
        parameter = _CREATED.get(declared.answers.get(201)) if declared else None
        if declared is None or parameter is None:
            continue
        paths[template(pattern, kind)]["post"]["responses"]["201"]["links"] = {
            taker["operationId"]: {
                "operationId": taker["operationId"],
                "parameters": {parameter: "$response.body#/id"},
            }
            for taker in takers.get(parameter, ())
        }
