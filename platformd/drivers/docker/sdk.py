"""The Docker SDK over our own connections to the engine: each call is bounded as a whole, and connections are kept.

Its own transport bounds every single read, and opens a connection for each path that is asked. Used by `Engine`, in the
threads of its callers. For calls that are answered once: what goes on and on is read by `Streams`.
"""

from __future__ import annotations

from typing import Any

from docker import APIClient
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from platformd.links.engine import EngineLink


def sdk_over(link: EngineLink, address: str) -> APIClient:
    """Asks the engine for its version. The link stays its maker's to close."""
    answer = link.ask("GET", "/version")
    if not answer.well:
        raise OSError(f"asked for its version it answers with status {answer.status}")
    client = APIClient(address, version=(answer.json or {})["ApiVersion"])
    client.mount(client.base_url, _LinkAdapter(link))
    return client


class _LinkAdapter(BaseAdapter):
    def __init__(self, link: EngineLink) -> None:
        super().__init__()
        self._link = link

    def send(self, request: PreparedRequest, *_args: Any, **_how: Any) -> Response:
        """Time limits are the link's."""
        body = request.body.encode() if isinstance(request.body, str) else request.body
        assert body is None or isinstance(body, bytes)
        kind = request.headers.get("Content-Type")
        headers = {} if kind is None else {"Content-Type": str(kind)}
        answer = self._link.ask(str(request.method), request.path_url, body, headers)
        response = Response()
        response.request, response.url = request, str(request.url)
        response.status_code, response._content = answer.status, answer.body
        return response

    def close(self) -> None:
        """The link is closed by whoever made it."""
