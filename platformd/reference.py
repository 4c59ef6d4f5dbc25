"""The reference of the API as HTML, made from its OpenAPI document. Called by the handler of `/docs/api`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from platformd.manual import API, contents, framed

_FIRST = (
    "apps",
    "deployments",
    "tasks",
    "artifacts",
    "builds",
    "webhooks",
    "events",
    "usage",
    "tokens",
    "actors",
)
_COMMON = 0.9
"""The share of operations that a code belongs to before it is said once for all."""


def page(document: Mapping[str, Any]) -> str:
    """Every path of an OpenAPI document: parameters, body, answers and codes of errors."""
    operations = [
        (path, method.upper(), found)
        for path, item in document["paths"].items()
        for method, found in item.items()
    ]
    common = _common(operations)
    groups: dict[str, list[str]] = {}
    for path, method, found in sorted(operations, key=lambda one: _place(one[0])):
        groups.setdefault(_group(path), []).extend(_operation(path, method, found, common))
    parts = [
        '<h1>API reference</h1><p>Made from <a href="/api/v1/openapi.json">openapi.json</a>, which is made from '
        "the code that validates.</p>",
        contents([*((f"group-{name}", escape(name)) for name in groups), ("types", "types")]),
    ]
    if common:
        parts.append(
            f"<p>Besides what is listed, almost any request may be answered {_refusals(common)}.</p>"
        )
    for name, shown in groups.items():
        parts.append(f'<h2 id="group-{escape(name)}">{escape(name)}</h2>')
        parts.extend(shown)
    parts.append('<h2 id="types">types</h2>')
    for name, schema in document["components"]["schemas"].items():
        text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        parts.append(
            f'<h3 id="{escape(name)}">{escape(name)}</h3><pre tabindex="0"><code>{text}</code></pre>'
        )
    return framed(API, "API reference", "\n".join(parts))


Codes = Mapping[str, tuple[str, ...]]


def _group(path: str) -> str:
    parts = path.removeprefix("/api/v1").strip("/").split("/")
    return parts[0] or "dashboard"


def _place(path: str) -> tuple[int, str]:
    """What people look for first comes first."""
    group = _group(path)
    return (_FIRST.index(group), "") if group in _FIRST else (len(_FIRST), group)


def _codes(found: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The codes of problems by status."""
    return {
        status: tuple(answer["description"].partition(": ")[2].split(", "))
        for status, answer in found["responses"].items()
        if status >= "400" and ": " in answer["description"]
    }


def _common(operations: Sequence[tuple[str, str, Mapping[str, Any]]]) -> dict[str, tuple[str, ...]]:
    counted: dict[tuple[str, str], int] = {}
    for _, _, found in operations:
        for status, codes in _codes(found).items():
            for code in codes:
                counted[status, code] = counted.get((status, code), 0) + 1
    common: dict[str, tuple[str, ...]] = {}
    for (status, code), count in sorted(counted.items()):
        if count >= _COMMON * len(operations):
            common[status] = (*common.get(status, ()), code)
    return common


def _refusals(codes: Codes) -> str:
    return ", ".join(
        f"{escape(status)} {', '.join(f'<code>{escape(code)}</code>' for code in names)}"
        for status, names in codes.items()
        if names
    )


def _operation(path: str, method: str, found: Mapping[str, Any], common: Codes) -> Iterator[str]:
    anchor = escape(found["operationId"])
    yield f'<section class="operation"><h3 id="{anchor}"><code>{method} {escape(path)}</code></h3>'
    yield f"<p>{escape(found['summary'])}. <span class='scope'>{escape(found.get('x-scope', 'public'))}</span></p>"
    if "description" in found:
        yield f"<p>{escape(found['description'])}</p>"
    rows = [
        (each["name"], each["in"], _type(each["schema"]), "yes" if each.get("required") else "")
        for each in found["parameters"]
    ]
    yield from _table(("parameter", "in", "type", "required"), rows)
    for media, body in found.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(media)}</code>, {_type(body['schema'])}</p>"
        for example in body.get("examples", {}).values():
            text = escape(json.dumps(example["value"], indent=2, ensure_ascii=False))
            yield f'<pre tabindex="0"><code>{text}</code></pre>'
    answers = [
        (
            status,
            escape(answer["description"]),
            ", ".join(_type(each["schema"]) for each in answer.get("content", {}).values()),
        )
        for status, answer in found["responses"].items()
        if status < "400"
    ]
    yield from _table(("status", "meaning", "body"), answers)
    own = {
        status: tuple(code for code in codes if code not in common.get(status, ()))
        for status, codes in _codes(found).items()
    }
    if refused := _refusals(own):
        yield f"<p class='refusals'>Refused with {refused}.</p>"
    yield "</section>"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Cells are HTML."""
    if not rows:
        return
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    yield f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _type(schema: Mapping[str, Any]) -> str:
    if reference := schema.get("$ref"):
        name = escape(reference.rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[choice]))
    if schema.get("type") == "array":
        return "array of " + _type(schema.get("items", {}))
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    return escape(str(schema.get("format") or schema.get("type", "anything")))
