"""What can go wrong between a client and a server. Raised by this package only; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Any failure of a call; its text is a sentence for people."""


class Unreachable(ClientError):
    """Nobody answers at the server's address, or stopped doing so."""


class BadAnswer(ClientError):
    """Something answered that is no platformd."""


class NotNamed(ClientError):
    """A name, prefix or version that means nothing, or more than one thing."""


class Problem(ClientError):
    """The server refused: its problem+json.

    `code` is stable UPPER_SNAKE; `faults` are (JSON pointer, sentence) of invalid input; `retry_after` whole seconds
    or None; `document` is all of it as it came.
    """

    def __init__(self, document: Mapping[str, Any], retry_after: int | None = None) -> None:
        self.document = dict(document)
        self.status = int(document["status"])
        self.code = str(document.get("code", "UNKNOWN"))
        self.detail = str(document.get("detail", document.get("title", "")))
        self.request_id = document.get("request_id")
        self.retry_after = retry_after
        errors = document.get("errors") or ()
        self.faults = tuple((str(fault["pointer"]), str(fault["message"])) for fault in errors)
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        lines = [f"{pointer}: {message}" for pointer, message in self.faults if message not in self.detail]
        return "\n".join([f"{self.detail} ({self.code})", *lines])
