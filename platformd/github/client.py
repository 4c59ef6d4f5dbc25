"""Sets commit statuses by GitHub's REST API: one POST, and what its answer means for whoever wants to try again.

Called by `platformd.github.reporter` on its thread; blocks for at most `TIMEOUT_SECS` a step. Never follows a redirect:
the token would go along.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from platformd import __version__, clock
from platformd.domain.commit_status import State

TIMEOUT_SECS = 10.0
LONGEST_DESCRIPTION = 140  # GitHub's own bound
LONGEST_WAIT_SECS = 3600.0
_LONGEST_ANSWER = 64 << 10
_API_VERSION = "2022-11-28"
_FOR_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitStatus:
    """`context` tells statuses of one commit apart; the newest of each counts."""

    state: State
    description: str
    context: str
    target_url: str | None = None


class Refused(Exception):
    """GitHub will not take it, now or later; says what to do."""


class Later(Exception):
    """It could not be had now. `after` is in seconds when GitHub said how long to wait."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class GitHubClient:
    """`api_url` is the base of the REST API: https://api.github.com, or https://HOST/api/v3 of an Enterprise server.
    The environment's proxies are used."""

    def __init__(self, api_url: str, timeout: float = TIMEOUT_SECS) -> None:
        self._api_url = api_url.rstrip("/")
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirects())

    def set_status(self, repository: str, sha: str, token: str, status: CommitStatus) -> None:
        """Returns once GitHub has it; `Refused` or `Later`. `repository` is "owner/name"."""
        url = f"{self._api_url}/repos/{quote(repository)}/statuses/{quote(sha, safe='')}"
        request = urllib.request.Request(url, data=_body(status), headers=_headers(token), method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                response.read(_LONGEST_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                raise _meant(error, url) from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
            raise Later(f"{self._api_url} cannot be reached: {_said(error)}") from None


def _body(status: CommitStatus) -> bytes:
    told = {
        "state": status.state.value,
        "description": _shortened(status.description),
        "context": status.context,
    }
    if status.target_url is not None:
        told["target_url"] = status.target_url
    return json.dumps(told).encode()


def _headers(token: str) -> dict[str, str]:
    return {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "User-Agent": f"platformd/{__version__}",
        "X-GitHub-Api-Version": _API_VERSION,
    }


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_DESCRIPTION else f"{line[: LONGEST_DESCRIPTION - 1]}…"


def _meant(error: urllib.error.HTTPError, url: str) -> Refused | Later:
    """A limit of requests is told with 403 or 429 and one of two headers."""
    wait = _wait(error.headers)
    said = f"{url} answered {error.code}{_message_of(error)}"
    if error.code in _FOR_LATER or (error.code == 403 and wait is not None):
        return Later(said, wait)
    if error.code in (401, 403):
        return Refused(f"{said}; give the source an access_token that may write commit statuses")
    if error.code in (301, 302, 307, 308):
        return Refused(f"{said}; the repository has moved: name its new place in the source")
    if error.code == 404:
        return Refused(
            f"{said}; the access_token cannot see this repository or may not write commit statuses"
        )
    return Refused(said)


def _wait(headers: Message) -> float | None:
    """Seconds until GitHub wants to hear from us again."""
    with contextlib.suppress(ValueError, OverflowError):
        after = headers.get("Retry-After")
        if after is not None:
            return _bounded(
                float(after) if after.strip().isdecimal() else _until(parsedate_to_datetime(after))
            )
        if headers.get("X-RateLimit-Remaining") == "0":
            return _bounded(_until(datetime.fromtimestamp(int(headers["X-RateLimit-Reset"]), UTC)))
    return None


def _until(instant: datetime) -> float:
    return (instant - clock.now()).total_seconds()


def _bounded(secs: float) -> float:
    return min(max(1.0, secs), LONGEST_WAIT_SECS)


def _message_of(error: urllib.error.HTTPError) -> str:
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        told = json.loads(error.read(_LONGEST_ANSWER))
        if isinstance(told, dict) and isinstance(told.get("message"), str):
            return f" ({told['message'][:200]})"
    return ""


def _said(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__
