"""The pages a browser sees instead of the app's: one for errors, one that waits for a slow wake.

Called by `answers`. Each is one document that asks nobody else for anything, in light and dark; its policy allows the
very style and script it carries. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable

# Where the waiting page hears how far the wake is; see `follow`.
WAKE_PATH = "/.well-known/platformd/wake"

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--paper:#fff;--line:#d5dbe1;--mark:#1f5fd6}
@media (prefers-color-scheme:dark){
:root{--ink:#e9ecef;--soft:#a6b0bb;--paper:#14171b;--line:#343b43;--mark:#84aaff}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
main{width:100%;max-width:36rem;padding:2rem 1.25rem}
h1{margin:0 0 .5rem;font-size:1.5rem;line-height:1.25}
p,ul{margin:.5rem 0;overflow-wrap:anywhere}
pre{margin:1rem 0;padding:.75rem;border:1px solid var(--line);border-radius:.5rem;white-space:pre-wrap;
overflow-wrap:anywhere}
.soft,pre,code{color:var(--soft);font-size:.875rem}
a{color:var(--mark)}
.bar{height:4px;margin:1.25rem 0;border-radius:2px;overflow:hidden;background:var(--line)}
.bar::before{content:"";display:block;width:35%;height:100%;background:var(--mark);
animation:go 1.4s ease-in-out infinite alternate}
@keyframes go{to{transform:translateX(186%)}}
@media (prefers-reduced-motion:reduce){.bar::before{animation:none;width:100%;opacity:.6}}
[hidden]{display:none}
"""

_SCRIPT = """
const at = id => document.getElementById(id);
const source = new EventSource("WAKE_PATH");
source.addEventListener("phase", event => { at("phase").textContent = JSON.parse(event.data).phase; });
source.addEventListener("ready", () => { source.close(); location.reload(); });
source.addEventListener("failed", event => {
  source.close();
  const failure = JSON.parse(event.data);
  document.title = at("title").textContent = "It could not be started";
  at("what").textContent = failure.detail;
  at("phase").textContent = failure.code;
  at("bar").hidden = true;
  at("again").hidden = false;
});
source.onerror = () => { if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000); };
""".replace("WAKE_PATH", WAKE_PATH)


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_POLICY = f"default-src 'none'; style-src {_hash(_STYLE)}; img-src data:; base-uri 'none'; form-action 'none'"
ERROR_POLICY = _POLICY
WAKE_POLICY = f"{_POLICY}; script-src {_hash(_SCRIPT)}; connect-src 'self'"


def error_page(
    *,
    title: str,
    detail: str,
    names: Iterable[str],
    lines: Iterable[str],
    retry_after: int | None,
    marks: Iterable[str],
) -> bytes:
    """Why there is no answer of the app; `marks` (code, request id) are what to quote when asking for help."""
    listed = "".join(f"<li>{html.escape(name)}</li>" for name in names)
    output = html.escape("\n".join(lines))
    main = (
        f"<h1>{html.escape(title)}</h1><p>{html.escape(detail)}</p>"
        + (f"<ul>{listed}</ul>" if listed else "")
        + (f"<pre>{output}</pre>" if output else "")
        + (f'<p><a href="">Try again</a> in {retry_after} s.</p>' if retry_after else "")
        + f'<p class="soft">{html.escape(" · ".join(marks))}</p>'
    )
    return _document(title, "", main)


def wake_page(*, host: str, phase: str, retry_after: int) -> bytes:
    """The app is starting: shows how far it is, and the app once it is ready, or why it could not be started. Without
    scripts it looks again every few seconds."""
    refresh = f'<noscript><meta http-equiv="refresh" content="{retry_after}"></noscript>'
    main = (
        f'<h1 id="title">Starting…</h1><div role="status" aria-live="polite"><p id="what">{html.escape(host)} was '
        "asleep. It is starting now and will appear here as soon as it is ready.</p>"
        f'<div class="bar" id="bar"></div><p class="soft" id="phase">{html.escape(phase)}</p></div>'
        f'<p id="again" hidden><a href="">Try again</a></p><script>{_SCRIPT}</script>'
    )
    return _document(f"Starting {host}", refresh, main)


def _document(title: str, head: str, main: str) -> bytes:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><link rel="icon" href="data:,">{head}<style>{_STYLE}</style></head>'
        f"<body><main>{main}</main></body></html>\n"
    ).encode()
