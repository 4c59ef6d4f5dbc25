"""`bench fleet`: many sleeping apps on one server: woken at once, and what they cost asleep, at start and at end."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from platformd.cli.bench.floors import CannotMeasure, Floors
from platformd.cli.bench.report import Report, ms
from platformd.cli.bench.stage import Subject, folder_and_server, make_them_crash, put_in_stock
from platformd.cli.bench.traffic import burst
from platformd.cli.local import LocalServer, pause, wait_until
from platformd.domain.deployment.state import Deployment as Snapshot

ROUNDS = 3
RATE_GOAL = 0.4
READY_GOAL = 3.0
BYTES_GOAL = 3000
DROP_GOAL = 1.0
_SLEEP_SECS = 60.0
_SETTLE_SECS = 2.0


def measure(apps: int, sleeping: int) -> Report:
    """`apps` woken at once among `sleeping`."""
    report = Report("fleet", figures={"apps": apps, "sleeping": sleeping})
    with folder_and_server() as (folder, server):
        floors = Floors(folder)
        server.start()
        subject = Subject(server.client, "pattern", floors.server)
        subject.sleep()
        server.stop()
        base = _started(server)
        base_stop = server.stop()
        stock = put_in_stock(server.data_dir, subject.id, sleeping)
        full = _started(server)
        _cost_asleep(report, base, full, sleeping)
        _wake_at_once(report, server, floors, stock[:apps])
        server.stop()
        make_them_crash(server.data_dir, stock)
        awake = _started(server)
        _cost_awake(report, full, awake, server.stop(), base_stop, sleeping)
    return report


@dataclass(frozen=True, slots=True)
class Started:
    """A server just after its start: seconds until it was ready, bytes that its two processes have resident."""

    ready: float
    serve: int
    gateway: int

    @property
    def memory(self) -> int:
        return self.serve + self.gateway


def _started(server: LocalServer) -> Started:
    ready = server.start()
    pause(_SETTLE_SECS)
    gateway = next((each for each in server.family() if "platformd.gateway" in each.cmdline()), None)
    if gateway is None:
        raise CannotMeasure("the gateway's process is not to be found")
    return Started(ready, psutil.Process(server.pid).memory_info().rss, gateway.memory_info().rss)


def _cost_asleep(report: Report, base: Started, full: Started, count: int) -> None:
    each = (full.memory - base.memory) / count
    report.figures["asleep"] = {
        "ready": full.ready,
        "ready_with_one": base.ready,
        "memory": full.memory,
        "memory_with_one": base.memory,
        "bytes_each": each,
        "gateway_bytes_each": (full.gateway - base.gateway) / count,
    }
    what = f"ready with {count:,} sleeping"
    measured = f"{full.ready:.2f} s, with one {base.ready:.2f} s"
    report.add(what, measured, f"{READY_GOAL:g} s", full.ready <= READY_GOAL)
    gateways = (full.gateway - base.gateway) / count
    beyond = f"{each:,.0f} bytes beyond {base.memory / 1e6:.0f} MB, {gateways:,.0f} of them the gateway's"
    report.add("memory of each", beyond, f"{BYTES_GOAL:,} bytes", each <= BYTES_GOAL)


def _wake_at_once(report: Report, server: LocalServer, floors: Floors, stock: Sequence[Snapshot]) -> None:
    hosts = [each.identity.preview_host for each in stock]
    floor, woken, statuses = [], [], []
    for _ in range(ROUNDS):
        floor.append(floors.all_at_once(len(hosts)))
        found = burst(server.gateway_url, hosts)
        woken.append(found.last)
        statuses.append(found.statuses)
        _put_to_sleep(server, stock)
    took, base = statistics.median(woken), statistics.median(floor)
    ratio = base / took
    report.figures["at_once"] = {"floor": floor, "woken": woken, "statuses": statuses, "ratio": ratio}
    rate = f"{len(hosts) / took:,.0f} wakes/s, floor {len(hosts) / base:,.0f}: {ratio:.2f} x in {ms(took)}"
    report.add(f"{len(hosts)} woken at once", rate, f"{RATE_GOAL:g} x the floor", ratio >= RATE_GOAL)
    well = min(each.get(200, 0) for each in statuses)
    report.add("of them answered 200", str(well), str(len(hosts)), well == len(hosts))


def _put_to_sleep(server: LocalServer, stock: Sequence[Snapshot]) -> None:
    client = server.client
    for each in stock:
        client.sleep(each.id)
    awake = {each.id for each in stock}

    def all_asleep() -> bool:
        awake.intersection_update(
            found["id"]
            for found in client.deployments()
            if found["id"] in awake and found["phase"] != "asleep"
        )
        return not awake

    if not wait_until(all_asleep, _SLEEP_SECS, every=0.5):
        raise CannotMeasure(f"{len(awake)} of {len(stock)} apps do not fall asleep again")


def _cost_awake(
    report: Report, full: Started, awake: Started, stop: float, base_stop: float, count: int
) -> None:
    each = (awake.memory - full.memory) / count
    report.figures["awake"] = {
        "ready": awake.ready,
        "bytes_each": each,
        "stop": stop,
        "stop_with_one": base_stop,
    }
    report.add(f"ready with {count:,} actors", f"{awake.ready:.2f} s")
    report.add("memory of each actor", f"{each:,.0f} bytes more than asleep")
    longer = stop - base_stop
    measured = f"{stop:.2f} s, without {base_stop:.2f} s: +{longer:.2f} s"
    report.add(f"end of serve with {count:,} actors", measured, f"+ {DROP_GOAL:g} s", longer <= DROP_GOAL)
