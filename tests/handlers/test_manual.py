"""`/docs`: every page is there, every link leads somewhere, nothing comes from elsewhere."""

from __future__ import annotations

import re

from handlers.routes import ROUTES
from platformd import manual, reference
from tests.handlers.served import Served


async def test_every_page_and_every_link_of_it(api: Served) -> None:
    waiting, seen = ["/docs"], set[str]()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = await api.client.get(path)
        assert answer.status == 200, (path, answer)
        if not path.startswith("/docs") or path.endswith(".css"):
            continue
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        text = answer.body.decode()
        assert "<script" not in text and not re.search(r"\b(src|srcset)=", text)
        for link in re.findall(r'href="(/[^"#]*)', text):
            if link not in seen and link not in waiting:
                waiting.append(link)
    assert {f"/docs/{name}" for name in manual.names()} | {"/docs/api", "/docs/style.css"} <= seen


async def test_the_reference_shows_every_operation_and_every_code(api: Served) -> None:
    text = (await api.client.get("/docs/api")).body.decode()
    document = (await api.client.get("/api/v1/openapi.json")).json
    for path, item in document["paths"].items():
        for method, found in item.items():
            assert f"<code>{method.upper()} {path}</code>" in text
            assert f'id="{found["operationId"]}"' in text
    for anchor in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{anchor}"' in text
    assert "DEPLOYMENT_NOT_FOUND" in text and len(ROUTES) > 10


async def test_a_page_that_is_not_there_names_those_that_are(api: Served) -> None:
    problem = (await api.client.get("/docs/nothing")).problem(404, "PAGE_NOT_FOUND")
    assert "concepts" in problem["detail"]


def test_markup_in_a_page_is_text() -> None:
    document = {"paths": {}, "components": {"schemas": {"<b>": {"description": "<script>"}}}}
    shown = reference.page(document)
    assert "<script>" not in shown and "<b>" not in shown
