"""Images: which one a task runs, and fetching it when the engine does not have it.

`find` is called in a worker; `pull` from any thread, it goes on in the streams' thread and calls back there. Tasks that
want the same image share one pull.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from platformd import clock
from platformd.domain.registries import registry_of
from platformd.domain.snapshot import Reason
from platformd.drivers.base import LaunchOrder
from platformd.drivers.docker import names
from platformd.drivers.docker.engine import Engine, EngineAway, EngineError
from platformd.drivers.docker.progress import Progress
from platformd.drivers.docker.settings import Credentials, DockerSettings
from platformd.drivers.docker.streams import Streams
from platformd.errors import PlatformError
from platformd.observability import get_logger

PULL_SECS = 600.0
SILENCE_SECS = 120.0
TRIES, TRY_AGAIN_SECS = 3, 5.0
_TELL_EACH_SECS, _LINE_EACH_SECS = 1.0, 5.0
_log = get_logger("docker")

Tell = Callable[[LaunchOrder, str | None, Mapping[str, object]], None]
"""Takes an order, a line for its log if there is one, and what the event about it says."""


class PullFailed(Exception):
    """An image cannot be had; `reason` is for people. `passing`: a registry that may be back in a moment."""

    def __init__(self, code: str, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.reason, self.passing = Reason(code=code, message=message), passing


@dataclass(frozen=True, slots=True)
class Image:
    """`reference` is what a container is created from, `digest` what it is pinned to: the registry's digest, or the
    engine's own id of an image that came from no registry."""

    reference: str
    digest: str
    details: Mapping[str, Any]


@dataclass(slots=True)
class _Pull:
    reference: str
    credentials: Credentials | None
    orders: list[tuple[LaunchOrder, Callable[[Exception | None], None]]] = field(default_factory=list)


class Images:
    """`pulled` is told the name of each image that came."""

    def __init__(
        self,
        engine: Engine,
        streams: Streams,
        settings: DockerSettings,
        tell: Tell,
        pulled: Callable[[str], None],
    ) -> None:
        self._engine, self._streams, self._settings, self._tell = engine, streams, settings, tell
        self._told_pulled = pulled
        self._lock = threading.Lock()
        self._pulls: dict[tuple[str, Credentials | None], _Pull] = {}

    def find(self, order: LaunchOrder) -> Image | None:
        """The image the order means, None when it has to be pulled."""
        image, digest = order.spec.image or "", order.image_digest
        plain = self._inspect(image)
        if digest is None:
            return None if plain is None else Image(image, _digest(image, plain), plain)
        if plain is not None and digest in (_digest(image, plain), plain.get("Id")):
            return Image(image, digest, plain)
        for reference in (names.pinned(image, digest), digest):
            found = self._inspect(reference)
            if found is not None:
                return Image(reference, digest, found)
        return None

    def pull(self, order: LaunchOrder, done: Callable[[Exception | None], None]) -> None:
        """Fetch it; `done` gets PullFailed, EngineAway, or None when it is there."""
        image = order.spec.image or ""
        reference = image if order.image_digest is None else names.pinned(image, order.image_digest)
        try:
            credentials = self._settings.credentials(order.app_id, image)
        except PlatformError as error:
            done(PullFailed(error.code, f"the app's credentials for {image} cannot be used: {error}"))
            return
        with self._lock:
            key = (reference, credentials)
            pull = self._pulls.get(key)
            new = pull is None
            if pull is None:
                pull = self._pulls[key] = _Pull(reference, credentials)
            pull.orders.append((order, done))
        if new:
            self._streams.run(self._fetch(key, pull))

    def _inspect(self, reference: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._engine.call(lambda client: client.inspect_image(reference))
        except EngineError as error:
            if error.missing:
                return None
            if error.status == 400:
                raise PullFailed(
                    "IMAGE_INVALID", f"{reference!r} is no image's name: {error.message}"
                ) from error
            raise
        return found

    # ---- in the streams' thread ----------------------------------------------------------------------------

    async def _fetch(self, key: tuple[str, Credentials | None], pull: _Pull) -> None:
        outcome: Exception | None = EngineAway("the service is stopping")
        try:
            outcome = await self._tries(pull)
        except Exception as error:
            _log.exception("a pull failed in an unforeseen way", image=pull.reference)
            outcome = PullFailed("PULL_FAILED", f"{pull.reference} could not be pulled: {error!r}")
        finally:
            with self._lock:
                del self._pulls[key]
                waiting = list(pull.orders)
            if outcome is None:
                self._told_pulled(pull.reference)
            for _, done in waiting:
                done(outcome)

    async def _tries(self, pull: _Pull) -> Exception | None:
        began = clock.monotonic()
        self._say(pull, f"pulling image {pull.reference}", {"state": "started"})
        for left in reversed(range(TRIES)):
            try:
                async with asyncio.timeout(PULL_SECS):
                    await self._once(pull)
            except TimeoutError:
                return PullFailed("PULL_TIMEOUT", f"{pull.reference} did not come within {PULL_SECS:g} s")
            except EngineAway as error:
                return error
            except PullFailed as error:
                if not error.passing or not left:
                    self._say(pull, error.reason.message, {"state": "failed", "code": error.reason.code})
                    return error
                self._say(
                    pull,
                    f"{error.reason.message}; tried again in {TRY_AGAIN_SECS:g} s",
                    {"state": "retrying"},
                )
                await asyncio.sleep(TRY_AGAIN_SECS)
            else:
                took = clock.monotonic() - began
                self._say(
                    pull, f"pulled {pull.reference} in {took:.1f} s", {"state": "done", "seconds": took}
                )
                return None
        return None

    async def _once(self, pull: _Pull) -> None:
        repository, tag = names.split(pull.reference)
        query = {"fromImage": repository, "tag": tag}
        headers = {} if pull.credentials is None else {"X-Registry-Auth": _auth(pull.credentials)}
        progress, told, written = Progress(), *[clock.monotonic()] * 2
        try:
            async with self._streams.open("POST", "/images/create", query, headers, SILENCE_SECS) as body:
                rest = b""
                async for piece in body:
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in filter(None, (raw.strip() for raw in lines)):
                        error = progress.take(json.loads(line))
                        if error is not None:
                            raise failure(pull.reference, error)
                    now = clock.monotonic()
                    if now - told < _TELL_EACH_SECS:
                        continue
                    told, text = now, None
                    if now - written >= _LINE_EACH_SECS:
                        written, text = now, f"pulling {pull.reference}: {progress}"
                    self._say(pull, text, progress.describe())
        except EngineError as error:
            raise failure(pull.reference, _message(error.message)) from error

    def _say(self, pull: _Pull, text: str | None, about: Mapping[str, object]) -> None:
        with self._lock:
            orders = {order.deployment_id: order for order, _ in pull.orders}
        for order in orders.values():
            self._tell(order, text, {"image": pull.reference, **about})


def failure(image: str, message: str) -> PullFailed:
    """What the engine says of a pull that failed, sorted by what can be done about it."""
    low = message.lower()
    if "no space left" in low:
        return PullFailed(
            "NO_SPACE", f"no space for {image} on the engine's disk: {message}; make room there"
        )
    if any(word in low for word in ("unauthorized", "authentication required", "denied", "no basic auth")):
        return PullFailed(
            "REGISTRY_UNAUTHORIZED",
            f"the registry {registry_of(image)} does not let {image} be pulled: {message}; "
            "give the app credentials for it under /registries",
        )
    if any(word in low for word in ("not found", "manifest unknown", "name unknown", "no such image")):
        return PullFailed("IMAGE_NOT_FOUND", f"there is no image {image}: {message}; check its name and tag")
    if "invalid reference" in low or "invalid tag" in low:
        return PullFailed("IMAGE_INVALID", f"{image!r} is no image's name: {message}")
    return PullFailed(
        "REGISTRY_UNREACHABLE",
        f"the registry {registry_of(image)} cannot be reached for {image}: {message}",
        passing=True,
    )


def _digest(image: str, details: Mapping[str, Any]) -> str:
    return names.digest_of(image, details.get("RepoDigests") or ()) or str(details["Id"])


def _auth(credentials: Credentials) -> str:
    raw = json.dumps({"username": credentials.username, "password": credentials.password})
    return base64.urlsafe_b64encode(raw.encode()).decode()


def _message(body: str) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:500]
