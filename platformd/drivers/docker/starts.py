"""From a launch order to a running container, or to the reason why not. Jobs of the runs.

Every step may be repeated: the name follows from the task's id, so what an earlier try has made is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from platformd import clock
from platformd.domain.events import ImageFound, ImageWanted, LaunchFailed, LaunchWaits
from platformd.domain.snapshot import Reason
from platformd.drivers.docker.creations import Creation, Creations
from platformd.drivers.docker.ends import GIVEN_UP
from platformd.drivers.docker.engine import Engine, EngineAway, EngineError
from platformd.drivers.docker.facts import Facts
from platformd.drivers.docker.images import Images, PullFailed
from platformd.drivers.docker.run import Run
from platformd.drivers.docker.spares import Spares
from platformd.drivers.launch_order import Refused
from platformd.drivers.workers import Workers

TRIES = 3


class Starts:
    """`drop` takes a run out of the book whose launch did not come about, `remove` its container away; one that is left
    is found as a stray later."""

    def __init__(
        self,
        engine: Engine,
        workers: Workers,
        facts: Facts,
        images: Images,
        creations: Creations,
        spares: Spares,
        drop: Callable[[Run], None],
        remove: Callable[[str], object],
    ) -> None:
        self._engine, self._workers, self._facts = engine, workers, facts
        self._images, self._creations, self._spares = images, creations, spares
        self._drop, self._remove = drop, remove

    def bring_up(self, run: Run) -> None:
        """Pull if need be, create, start, and find out where it is."""
        if run.forgotten or run.killed:
            self._waits(run, GIVEN_UP)
            return
        try:
            if self._start_spare(run):
                return
            image = self._images.find(run.order)
            if image is None:
                self._pull(run)
                return
            if run.order.image_digest != image.digest:
                self._facts.tell(run, ImageFound(run.order.spec.image or "", image.digest))
            self._take(run, self._creations.create(run.order, image))
            self._start(run)
        except Refused as refusal:
            self._fails(run, refusal.reason)
        except PullFailed as failed:
            self._fails(run, failed.reason)
        except EngineAway as error:
            self._waits(run, unavailable(error))
        except EngineError as error:
            self._refused(run, error)

    # ---- the image -----------------------------------------------------------------------------------------

    def _pull(self, run: Run) -> None:
        self._facts.tell(run, ImageWanted(run.order.spec.image or ""))
        self._images.pull(run.order, lambda outcome: run.line.add(lambda: self._pulled(run, outcome)))

    def _pulled(self, run: Run, outcome: Exception | None) -> None:
        match outcome:
            case None:
                self.bring_up(run)
            case PullFailed():
                self._fails(run, outcome.reason)
            case _:
                self._waits(run, unavailable(outcome))

    # ---- the container -------------------------------------------------------------------------------------

    def _start_spare(self, run: Run) -> bool:
        """The short way of a wake: what was made beforehand is started."""
        made = self._spares.claim(run.order)
        if made is None:
            return False
        self._take(run, made)
        try:
            self._start(run)
        except EngineError as error:
            if not (error.missing or error.conflict):
                raise
            return False  # somebody has removed it
        return True

    def _take(self, run: Run, made: Creation) -> None:
        run.container, run.port, run.published = made.container, made.port, made.published

    def _start(self, run: Run) -> None:
        container = run.container or ""
        self._engine.ask("POST", f"/containers/{container}/start")
        at_ns = clock.boot_ns()
        details = self._engine.ask("GET", f"/containers/{container}/json")
        run.address = address_in(details, run.port, run.published)
        self._facts.started(run, at_ns)
        self._facts.follow(run, details)
        self._facts.lift(run)
        if details["State"]["Status"] in ("exited", "dead"):
            self._facts.conclude(run)

    # ---- it did not come about -----------------------------------------------------------------------------

    def _refused(self, run: Run, error: EngineError) -> None:
        """An engine that stumbles is asked again a few times; what it refuses is final."""
        run.tries += 1
        if error.passing and run.tries < TRIES and not is_about_the_app(error.message):
            self._workers.later(0.2 * 4**run.tries, lambda: run.line.add(lambda: self.bring_up(run)))
            return
        self._fails(run, reason_of(error))

    def _fails(self, run: Run, reason: Reason) -> None:
        container, run.container = run.container, None
        if container is not None:
            self._workers.submit(lambda: self._remove(container))
        self._drop(run)
        self._facts.tell(run, LaunchFailed(reason))

    def _waits(self, run: Run, reason: Reason) -> None:
        self._drop(run)
        self._facts.tell(run, LaunchWaits(reason))


def unavailable(error: Exception) -> Reason:
    return Reason(
        code="ENGINE_UNAVAILABLE",
        message=f"the Docker engine does not answer ({error}); it starts when it does",
    )


def is_about_the_app(message: str) -> bool:
    """The engine calls some faults of the app its own."""
    low = message.lower()
    return "executable file not found" in low or "no such file or directory" in low or "oci runtime" in low


def reason_of(error: EngineError) -> Reason:
    low = error.message.lower()
    if "no space left" in low:
        return Reason(
            code="NO_SPACE", message=f"no space on the engine's disk: {error.message}; make room there"
        )
    if is_about_the_app(low):
        if "permission denied" in low:
            return Reason(
                code="EXECUTABLE_FORBIDDEN", message=f"its program cannot be executed: {error.message}"
            )
        return Reason(code="EXECUTABLE_MISSING", message=f"its program cannot be started: {error.message}")
    return Reason(code="LAUNCH_FAILED", message=f"the engine refused it ({error.status}): {error.message}")


def address_in(details: Mapping[str, Any], port: int | None, published: bool) -> tuple[str, int] | None:
    """Where it is going to listen, as far as the engine knows."""
    if port is None:
        return None
    network = details.get("NetworkSettings") or {}
    if published:
        bound = (network.get("Ports") or {}).get(f"{port}/tcp") or []
        return ("127.0.0.1", int(bound[0]["HostPort"])) if bound else None
    addresses = [network.get("IPAddress")]
    addresses += [one.get("IPAddress") for one in (network.get("Networks") or {}).values()]
    return next(((str(address), port) for address in addresses if address), None)
