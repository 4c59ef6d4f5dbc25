"""The manual as HTML: the pages of platformd/docs, with their diagrams drawn.

Called by the handler of `/docs`, on its loop's thread; pages are made once. Pure but for reading the package's files.
The API's reference is `platformd.reference`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from platformd import diagrams

ROOT = Path(__file__).with_name("docs")
API = "api"
# Pages that are named nowhere here stand under the last heading.
CHAPTERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Begin", ("tutorial", "concepts")),
    ("Use", ("calling", API, "cli", "client", "builds", "webhooks", "docker")),
    ("Operate", ("operations", "settings", "security", "metrics", "limits")),
    ("Background", ("comparison", "benchmarks", "decisions")),
)
_LINK = re.compile(r'href="([a-z-]+)\.md(#[^"]*)?"')
_OUTSIDE = re.compile(r'href="\.\./[^"]*"')
_LONG = 4
"""A page with so many sections begins with a list of them."""


@cache
def names() -> tuple[str, ...]:
    """Of the pages that are written by hand."""
    return tuple(sorted(path.stem for path in ROOT.glob("*.md")))


@cache
def stylesheet() -> bytes:
    return (ROOT / "site" / "style.css").read_bytes()


@cache
def index() -> str:
    chapters = "".join(
        f"<h2>{heading}</h2><ul class='pages'>"
        + "".join(
            f'<li><a href="/docs/{name}">{escape(title)}</a>{_lead(name)}</li>' for name, title in pages
        )
        + "</ul>"
        for heading, pages in _chapters()
    )
    lead = (
        "<p>Versions of your apps on one Linux machine, behind a REST and SSE API. Apps that nobody calls sleep; "
        "the next request is held, wakes its app in milliseconds, and is answered.</p>"
    )
    return framed("", "Manual", f"<h1>platformd</h1>{lead}{chapters}")


@cache
def page(name: str) -> str | None:
    """A page of the manual; None when there is none of that name."""
    if name not in names():
        return None
    html = rendered(_shown(name))
    html = _LINK.sub(lambda found: f'href="/docs/{found[1]}{found[2] or ""}"', html)
    html = _OUTSIDE.sub("", html)
    html = html.replace("<table>", '<div class="wide" tabindex="0"><table>').replace(
        "</table>", "</table></div>"
    )
    return framed(name, _title(name), html.replace("<pre>", '<pre tabindex="0">'))


def rendered(text: str) -> str:
    """Markdown as HTML: headings can be linked to, a long page lists its sections, state diagrams are pictures."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    sections = [*_anchored(tokens)]
    parts, start = [], 0
    for place, token in enumerate(tokens):
        if token.type == "fence" and token.info == "mermaid":
            parts.append(markdown.renderer.render(tokens[start:place], markdown.options, {}))
            parts.append(diagrams.html(token.content))
            start = place + 1
    parts.append(markdown.renderer.render(tokens[start:], markdown.options, {}))
    html = "".join(parts)
    if len(sections) < _LONG:
        return html
    title, end, rest = html.partition("</h1>")
    return f"{title}{end}{contents(sections)}{rest}"


def contents(sections: Sequence[tuple[str, str]]) -> str:
    """A list of (anchor, HTML) of what is on the page."""
    links = "".join(f'<li><a href="#{anchor}">{shown}</a></li>' for anchor, shown in sections)
    return f'<nav class="contents" aria-label="On this page"><ul>{links}</ul></nav>'


def framed(name: str, title: str, body: str) -> str:
    """A whole page; `name` is the one that the list of pages marks."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - platformd</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="/dashboard/icon.svg" type="image/svg+xml">'
        '<link rel="stylesheet" href="/dashboard/theme.css"><link rel="stylesheet" href="/docs/style.css"></head>'
        '<body><a class="skip" href="#main">Skip to content</a><header class="top">'
        '<a class="brand" href="/docs">platformd <span>manual</span></a>'
        '<a href="/">Dashboard</a></header><div class="frame"><nav class="pages" aria-label="Manual">'
        f'{_links(name)}</nav><main id="main">{body}</main></div></body></html>'
    )


def _links(shown: str) -> str:
    return "".join(
        f"<details open><summary>{heading}</summary><ul>"
        + "".join(
            f'<li><a href="/docs/{name}"{_current(name, shown)}>{escape(title)}</a></li>'
            for name, title in pages
        )
        + "</ul></details>"
        for heading, pages in _chapters()
    )


def _current(name: str, shown: str) -> str:
    return ' aria-current="page"' if name == shown else ""


def _chapters() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Headings with (name, title) of the pages that there are."""
    there = {*names(), API}
    named = {name for _, pages in CHAPTERS for name in pages}
    for number, (heading, pages) in enumerate(CHAPTERS, 1):
        others = sorted(there - named) if number == len(CHAPTERS) else []
        yield heading, [(name, _title(name)) for name in (*pages, *others) if name in there]


def _anchored(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Gives each section's heading an id; yields (id, HTML) of them."""
    for heading, inline in pairwise(tokens):
        if heading.type != "heading_open" or heading.tag not in ("h2", "h3"):
            continue
        anchor = re.sub(r"[^a-z0-9]+", "-", inline.content.lower()).strip("-")
        heading.attrSet("id", anchor)
        if heading.tag == "h2":
            yield anchor, escape(inline.content.replace("`", ""))


def _shown(name: str) -> str:
    text = (ROOT / f"{name}.md").read_text()
    return re.sub(r"^<!--.*?-->\n", "", text, flags=re.MULTILINE)


def _title(name: str) -> str:
    if name == API:
        return "API reference"
    first = (ROOT / f"{name}.md").read_text().partition("\n")[0]
    return first.removeprefix("# ")


def _lead(name: str) -> str:
    """What a page is about: its first sentence, where it begins with one."""
    if name == API:
        return " Every operation with its parameters, bodies, answers and codes."
    paragraphs = _shown(name).split("\n\n")
    first = paragraphs[1].replace("\n", " ") if len(paragraphs) > 1 else ""
    if not re.match(r"[A-Za-z`]", first) or len(first) > 600:
        return ""
    sentence = re.split(r"(?<=[.:])\s", first)[0].rstrip(":.")
    return " " + re.sub(r"</?p>", "", MarkdownIt("commonmark", {"html": False}).renderInline(sentence)) + "."
