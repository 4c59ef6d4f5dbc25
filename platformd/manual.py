"""The manual as HTML: the pages of platformd/docs, and a reference of the API made from its OpenAPI document.

Called by the handler of `/docs`, on its loop's thread; pages are made once. Pure but for reading the package's files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).with_name("docs")
API = "api"
_LINK = re.compile(r'href="([a-z-]+)\.md(#[^"]*)?"')
_OUTSIDE = re.compile(r'href="\.\./[^"]*"')


@cache
def names() -> tuple[str, ...]:
    """Of the pages that are written by hand."""
    return tuple(sorted(path.stem for path in ROOT.glob("*.md")))


@cache
def stylesheet() -> bytes:
    return (ROOT / "site" / "style.css").read_bytes()


def index() -> str:
    rows = "".join(
        f'<li><a href="/docs/{name}">{escape(title)}</a></li>'
        for name, title in [*((name, _title(name)) for name in names()), (API, "API reference")]
    )
    return _page("Manual", f"<h1>platformd</h1><ul>{rows}</ul>")


@cache
def page(name: str) -> str | None:
    """A page of the manual; None when there is none of that name."""
    if name not in names():
        return None
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(_shown(name))
    html = _LINK.sub(lambda found: f'href="/docs/{found[1]}{found[2] or ""}"', html)
    html = _OUTSIDE.sub("", html)
    html = html.replace("<table>", '<div class="wide" tabindex="0"><table>').replace(
        "</table>", "</table></div>"
    )
    return _page(_title(name), html.replace("<pre>", '<pre tabindex="0">'))


def api_reference(document: Mapping[str, Any]) -> str:
    """Every path of an OpenAPI document: parameters, body, answers and codes of errors."""
    parts = ['<h1>API reference</h1><p>Made from <a href="/api/v1/openapi.json">openapi.json</a>.</p>']
    for path, item in document["paths"].items():
        for method, found in item.items():
            parts.extend(_operation(path, method.upper(), found))
    parts.append("<h2>Types</h2>")
    for name, schema in document["components"]["schemas"].items():
        text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        parts.append(
            f'<h3 id="{escape(name)}">{escape(name)}</h3><pre tabindex="0"><code>{text}</code></pre>'
        )
    return _page("API reference", "\n".join(parts))


def _shown(name: str) -> str:
    text = (ROOT / f"{name}.md").read_text()
    return re.sub(r"^<!--.*?-->\n", "", text, flags=re.MULTILINE)


def _title(name: str) -> str:
    first = (ROOT / f"{name}.md").read_text().partition("\n")[0]
    return first.removeprefix("# ")


def _page(title: str, body: str) -> str:
    links = "".join(f'<a href="/docs/{name}">{escape(_title(name))}</a>' for name in names())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - platformd</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/docs/style.css"></head>'
        f'<body><nav aria-label="Manual"><a href="/docs">platformd</a>{links}<a href="/docs/{API}">API</a></nav>'
        f"<main>{body}</main></body></html>"
    )


def _operation(path: str, method: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{escape(found["operationId"])}"><code>{method} {escape(path)}</code></h2>'
    scope = found.get("x-scope", "none: public")
    yield f"<p>{escape(found['summary'])}. Scope: {escape(scope)}.</p>"
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
    ]
    yield from _table(("status", "meaning, codes", "body"), answers)


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
