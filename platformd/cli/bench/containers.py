"""`bench cold-start` and `bench thaw` with `--driver docker`: the same app in a container, over what the engine takes
for the bare call in the same run.

Single-threaded. The image is made here and removed again.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from platformd import clock
from platformd.cli.bench.floors import CannotMeasure, Floors
from platformd.cli.bench.report import Report, ms, percentile
from platformd.cli.bench.stage import Subject, folder_and_server
from platformd.cli.bench.thaws import visits
from platformd.cli.bench.wakes import SPACING_MS, woken_ones
from platformd.cli.local import pause
from platformd.links.engine import EngineLink

REPOSITORY, TAG = "platformd-bench", "server"
IMAGE = f"{REPOSITORY}:{TAG}"
PORT = 8080
WAKE_GOAL, THAW_GOAL, UNPAUSE_GOAL = 0.010, 0.001, 0.005
_CALL_SECS, _READY_SECS, _PROBE_SECS = 30.0, 10.0, 0.0002
_BLOCKS = 20
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


def measure_wakes(wakes: int) -> Report:
    """Floor: one call that starts a container made beforehand, one that says where it is, a connect tried each 0.2 ms,
    one GET."""
    report = Report("cold-start", figures={"wakes": wakes, "driver": "docker"})
    floor: list[float] = []
    woken: list[float] = []
    with folder_and_server() as (folder, server), _engine(folder) as engine:
        server.start()
        subject = Subject(server.client, "subject", IMAGE)
        subject.sleep()
        for count in _blocks(wakes):
            floor += [engine.bare_start() for _ in range(count)]
            woken += woken_ones(server, subject, count)
    for percent, goal in ((50, WAKE_GOAL), (99, None)):
        base, found = percentile(floor, percent), percentile(woken, percent)
        report.figures |= {f"floor_p{percent}": base, f"wake_p{percent}": found}
        measured = f"{ms(found)}, floor {ms(base)}: {(found - base) * 1000:+.2f} ms"
        words = "" if goal is None else f"floor + {goal * 1000:g} ms"
        report.add(
            f"wake of a container, p{percent}",
            measured,
            words,
            None if goal is None else found - base <= goal,
        )
    return report


def measure_thaws(thaws: int) -> Report:
    """Floors: a request to the same app while it runs, and the engine's `unpause` of another one with a request."""
    report = Report("thaw", figures={"thaws": thaws, "driver": "docker"})
    warm: list[float] = []
    thawed: list[float] = []
    bare: list[float] = []
    with folder_and_server() as (folder, server), _engine(folder) as engine:
        server.start()
        subject = Subject(server.client, "subject", IMAGE, sleep={"mode": "freeze"})
        with engine.running() as container:
            for count in _blocks(thaws):
                warm += visits(server, subject, count, frozen=False)
                thawed += visits(server, subject, count, frozen=True)
                bare += [engine.bare_unpause(*container) for _ in range(count)]
        if subject.starts() != 1:
            raise CannotMeasure("it was started anew instead of thawed")
    base, found, unpaused = (percentile(times, 50) for times in (warm, thawed, bare))
    report.figures |= {"warm_p50": base, "thaw_p50": found, "unpause_p50": unpaused}
    report.figures["thaw_p95"] = percentile(thawed, 95)
    measured = f"{ms(found)}, warm {ms(base)}: {(found - base) * 1000:+.2f} ms"
    report.add("thaw of a container, p50", measured, "warm + 1 ms by its cgroup", found - base <= THAW_GOAL)
    measured = f"{ms(found)}, unpause {ms(unpaused)}: {(found - unpaused) * 1000:+.2f} ms"
    report.add("thaw, by the engine", measured, "unpause + 5 ms", found - unpaused <= UNPAUSE_GOAL)
    return report


def _blocks(count: int) -> list[int]:
    """In turns, so that a noisy neighbour hits floor and subject alike."""
    blocks = min(_BLOCKS, count)
    return [count // blocks + (block < count % blocks) for block in range(blocks)]


@contextlib.contextmanager
def _engine(folder: Path) -> Iterator[_Engine]:
    engine = _Engine()
    engine.take_image(Floors(folder).server)
    try:
        yield engine
    finally:
        engine.close()


class _Engine:
    """The engine that the measured server uses, asked without a server in between."""

    def __init__(self) -> None:
        self.address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self._link = EngineLink(self.address, _CALL_SECS)

    def take_image(self, server: Path) -> None:
        query = [("fromSrc", "-"), ("repo", REPOSITORY), ("tag", TAG)]
        query += [("changes", 'CMD ["/server"]'), ("changes", f"EXPOSE {PORT}")]
        self._ask("POST", f"/images/create?{urlencode(query)}", _archive(server))

    def close(self) -> None:
        with contextlib.suppress(CannotMeasure):
            self._ask("DELETE", f"/images/{IMAGE}?force=1")
        self._link.close()

    def bare_start(self) -> float:
        """Seconds from the start call to the first byte of an answer."""
        made = self._made()
        try:
            pause(SPACING_MS / 1000)
            begun = clock.monotonic()
            self._ask("POST", f"/containers/{made}/start")
            _answer_of(self._address_of(made))
            return clock.monotonic() - begun
        finally:
            self._ask("DELETE", f"/containers/{made}?force=1")

    @contextlib.contextmanager
    def running(self) -> Iterator[tuple[str, str]]:
        """(id, address) of a container."""
        made = self._made()
        try:
            self._ask("POST", f"/containers/{made}/start")
            address = self._address_of(made)
            _answer_of(address)
            yield made, address
        finally:
            self._ask("DELETE", f"/containers/{made}?force=1")

    def bare_unpause(self, container: str, address: str) -> float:
        self._ask("POST", f"/containers/{container}/pause")
        pause(SPACING_MS / 1000)
        begun = clock.monotonic()
        self._ask("POST", f"/containers/{container}/unpause")
        _answer_of(address)
        return clock.monotonic() - begun

    def _made(self) -> str:
        limits = {"Memory": 128 << 20, "MemorySwap": 128 << 20, "CpuShares": 102}
        env = [f"PORT={PORT}", "HOST=0.0.0.0"]
        return str(
            self._ask("POST", "/containers/create", {"Image": IMAGE, "Env": env, "HostConfig": limits})["Id"]
        )

    def _address_of(self, container: str) -> str:
        found = self._ask("GET", f"/containers/{container}/json")["NetworkSettings"]
        addresses = [found.get("IPAddress"), *(one["IPAddress"] for one in found["Networks"].values())]
        address = next(filter(None, addresses), None)
        if address is None:
            raise CannotMeasure(f"containers of {self.address} have no address of their own to compare with")
        return str(address)

    def _ask(self, method: str, path: str, body: bytes | dict[str, object] | None = None) -> Any:
        try:
            answer = self._link.ask(method, path, body)
        except OSError as error:
            raise CannotMeasure(
                f"the engine {self.address} does not answer ({error}); start one, or name it with DOCKER_HOST"
            ) from error
        if not answer.well:
            raise CannotMeasure(f"the engine refuses {method} {path.partition('?')[0]}: {answer.message}")
        return answer.json if answer.body.startswith(b"{") and method != "DELETE" else None


def _answer_of(address: str) -> None:
    """Connect as soon as that works, ask, wait for the first byte."""
    deadline = clock.monotonic() + _READY_SECS
    while clock.monotonic() < deadline:
        with socket.socket() as peer:
            peer.settimeout(_READY_SECS)
            try:
                peer.connect((address, PORT))
                peer.sendall(_REQUEST)
                if peer.recv(4096):
                    return
            except OSError:
                pause(_PROBE_SECS)
    raise CannotMeasure(f"a container at {address} does not answer; can it be reached from here?")


def _archive(server: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("server")
        entry.size, entry.mode = server.stat().st_size, 0o755
        archive.addfile(entry, io.BytesIO(server.read_bytes()))
    return stream.getvalue()
