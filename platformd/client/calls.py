"""What all calls to a server stand on: one exchange of JSON, and lists that come in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from platformd.client.errors import BadAnswer
from platformd.client.network import Network
from platformd.client.transport import Transport

_PAGE = 100


class Calls:
    """A server's API, over some network."""

    def __init__(
        self, server: str, token: str | None, timeout: float, patience: float, network: Network
    ) -> None:
        self._patience = patience
        self._transport = Transport(server, token, timeout, network)
        self.server = self._transport.server

    async def version(self) -> str:
        """The server's."""
        return str((await self._get("/version"))["version"])

    async def _get(self, path: str, **query: Any) -> Any:
        return await self._transport.json("GET", path, query=query)

    async def _post(self, path: str, body: Mapping[str, Any] | None = None, key: str | None = None) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self._transport.json("POST", path, body=body, headers=headers)

    async def _change(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return await self._transport.json(method, path, body=body)

    async def _pages(self, path: str, **query: Any) -> AsyncIterator[Any]:
        page = 1
        while True:
            answer = await self._get(path, page=page, page_size=_PAGE, **query)
            if not isinstance(answer, dict) or "data" not in answer:
                raise BadAnswer(f"{self.server} answered something else than a list; is it a platformd?")
            for each in answer["data"]:
                yield each
            if page * _PAGE >= answer["total"]:
                return
            page += 1
