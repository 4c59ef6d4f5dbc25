"""Signals, ends, and the removal of containers. Jobs of the runs; what the engine does not answer is asked again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from operator import methodcaller
from typing import Any

from platformd import clock
from platformd.domain.events import LaunchWaits
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.spec import StopPolicy
from platformd.drivers.docker.engine import Engine, EngineAway, EngineError
from platformd.drivers.docker.facts import Facts
from platformd.drivers.docker.run import Job, Run
from platformd.drivers.workers import Workers
from platformd.observability import get_logger

AGAIN_SECS = 1.0
_KILLED_SECS = 0.3
_KILL_ANSWERED_SECS = 10.0
_SIGNALS_AT = 128
GIVEN_UP = Reason(code="GIVEN_UP", message="its end was asked for before it began")
_log = get_logger("docker")


class Ends:
    def __init__(self, engine: Engine, workers: Workers, facts: Facts) -> None:
        self._engine, self._workers, self._facts = engine, workers, facts

    def conclude(self, run: Run) -> None:
        """Look whether it has exited, and if so tell."""
        if run.container is None or run.told is not None or run.ending:
            return
        container = run.container
        try:
            details = self._engine.call(lambda client: client.inspect_container(container))
        except EngineAway:
            return  # looked at again when it is back
        except EngineError as error:
            if error.missing:
                self._facts.exited(run, Exit(unknown=True), lambda: self._after_exit(run))
            return
        state = details.get("State") or {}
        if state.get("Status") in ("exited", "dead"):
            self._facts.exited(run, exit_of(state), lambda: self._after_exit(run))

    def _after_exit(self, run: Run) -> None:
        if run.killed:
            self.sweep(run)

    def signal(self, run: Run, name: str) -> None:
        """To the container's first process, as the engine does."""
        if run.told is not None or run.container is None:
            return
        container = run.container
        try:
            self._engine.call(lambda client: client.kill(container, name))
        except EngineAway:
            self._again(run, lambda: None if run.killed else self.signal(run, name))
        except EngineError as error:
            if error.transient:
                self._again(run, lambda: None if run.killed else self.signal(run, name))
            else:
                self.conclude(run)

    def kill(self, run: Run) -> None:
        """SIGKILL, then Exited and Swept."""
        if run.told is not None:
            self.sweep(run)
            return
        container = run.container
        if container is None:
            self._facts.tell(run, LaunchWaits(GIVEN_UP))
            self.sweep(run)
            return
        try:
            self._engine.call(lambda client: _kill(client, container))
        except EngineAway:
            self._again(run, lambda: self.kill(run))
            return
        except EngineError as error:
            if error.transient:
                self._again(run, lambda: self.kill(run))
                return
        self._workers.later(_KILLED_SECS, lambda: run.line.add(lambda: self._see_it_dead(run)))

    def _see_it_dead(self, run: Run) -> None:
        """What was killed and runs on, whatever the engine said, is killed again."""
        self.conclude(run)
        if run.told is None and not run.ending:
            self._again(run, lambda: self.kill(run))

    def sweep(self, run: Run) -> None:
        """Remove it, then Swept."""
        if self._remove(run, lambda: self.sweep(run)):
            self._facts.swept(run)

    def remove_quietly(self, run: Run) -> None:
        """Without a word to its actor, which is gone."""
        self._remove(run, lambda: self.remove_quietly(run))

    def remove(self, container: str) -> bool:
        """True when it is not there any more."""
        try:
            self._engine.call(lambda client: client.remove_container(container, v=True, force=True))
        except EngineError as error:
            if not error.missing and not error.conflict:
                _log.warning("a container cannot be removed", container=container, detail=error.message)
            return error.missing
        except EngineAway:
            return False
        return True

    def _remove(self, run: Run, again: Job) -> bool:
        if run.container is None or self.remove(run.container):
            run.container = None
            return True
        self._again(run, again)
        return False

    def _again(self, run: Run, job: Job) -> None:
        self._workers.later(AGAIN_SECS, lambda: run.line.add(job))

    def and_wait(self, run: Run, stop: StopPolicy) -> None:
        """Signal, wait out the grace, kill, remove; blocks, in a thread of its own."""
        container = run.container
        if container is None:
            return
        over = threading.Event()
        for limit, name in ((stop.grace_secs, stop.signal), (_KILL_ANSWERED_SECS, "SIGKILL")):
            self._try(partial(self._engine.call, methodcaller("kill", container, name)))
            deadline = clock.monotonic() + limit
            while clock.monotonic() < deadline and not self._stopped(container):
                over.wait(0.05)
            if self._stopped(container):
                break
        self.remove(container)

    def _stopped(self, container: str) -> bool:
        found: dict[str, Any] = {}
        self._try(lambda: found.update(self._engine.call(lambda client: client.inspect_container(container))))
        return not (found.get("State") or {}).get("Running", False)

    @staticmethod
    def _try(call: Callable[[], object]) -> None:
        try:
            call()
        except (EngineAway, EngineError) as error:
            _log.debug("the engine did not do it", detail=str(error))


def _kill(client: Any, container: str) -> None:
    details = client.inspect_container(container)
    if (details.get("State") or {}).get("Paused"):
        client.unpause(container)
    client.kill(container, "SIGKILL")


def exit_of(state: Mapping[str, Any]) -> Exit:
    """Of the engine's words: 128 and more is the signal, as shells have it."""
    code = int(state.get("ExitCode") or 0)
    oom = bool(state.get("OOMKilled"))
    if code > _SIGNALS_AT and (name := _signal_name(code - _SIGNALS_AT)):
        return Exit(signal=name, oom_killed=oom)
    return Exit(code=code, oom_killed=oom)


def _signal_name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
