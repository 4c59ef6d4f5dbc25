"""`bench sse`: one app's output to many readers at once: what it costs the server, and how late lines arrive.

The server's threads have a core of their own, where there are two; readers and app share another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from platformd.cli.bench.api import pin
from platformd.cli.bench.floors import CannotMeasure
from platformd.cli.bench.report import Report, cores, ms
from platformd.cli.bench.stage import Subject, folder_and_server
from platformd.cli.bench.traffic import address_of
from platformd.cli.local import LocalServer, pause
from platformd.cli.scripts import executable

SOURCE = Path(__file__).with_name("talker.py")
CORE_GOAL, P99_GOAL = 0.6, 0.060
_SETTLE_SECS = 2.0


def measure(readers: int, rate: int, seconds: int) -> Report:
    """`readers` of an app that writes `rate` lines a second, watched for `seconds`."""
    report = Report("sse", figures={"readers": readers, "rate": rate, "seconds": seconds})
    ours, theirs = cores(report)
    with folder_and_server() as (folder, server):
        script = executable(SOURCE, folder / "talker", options="-IS")
        if script is None:
            raise CannotMeasure(f"nothing can be started in {folder}; name another place with TMPDIR")
        server.add_flags(*script.flags)
        server.start()
        env = {"RATE": str(rate)}
        subject = Subject(server.client, "talker", script.path, networking={"protocol": "none"}, env=env)
        os.sched_setaffinity(subject.pid(), theirs)
        pin(server.pid, ours)
        pause(_SETTLE_SECS)
        found = _watched(server, subject, readers, seconds, theirs)
    report.figures |= found
    wanted = readers * rate * found["seconds"]
    core, share = found["core"], found["lines"] / wanted
    report.add(
        f"serve, {readers:,} readers x {rate} lines/s", f"{core:.0%} of a core", "60%", core <= CORE_GOAL
    )
    late = f"p50 {ms(found['p50'])}, p99 {ms(found['p99'])}"
    report.add("delay", late, ms(P99_GOAL), found["p99"] <= P99_GOAL)
    report.add("lines delivered", f"{found['lines'] / found['seconds']:,.0f}/s, {share:.1%} of those written")
    return report


def _watched(
    server: LocalServer, subject: Subject, readers: int, seconds: int, cpus: set[int]
) -> dict[str, Any]:
    host, port = address_of(server.api_url)
    path = f"/api/v1/deployments/{subject.id}/logs/stream"
    order: dict[str, Any] = {"host": host, "port": port, "path": path, "readers": readers, "seconds": seconds}
    order["cpus"] = sorted(cpus)
    serve = psutil.Process(server.pid)
    with subprocess.Popen(
        [sys.executable, "-m", "platformd.cli.bench.readers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            process.stdin.write(json.dumps(order))
            process.stdin.close()
            process.stdout.readline()  # they are reading, or it ended
            before = serve.cpu_times()
            said = process.stdout.read()
            after = serve.cpu_times()
            if process.wait(60) != 0:
                raise CannotMeasure(f"the readers did not work: {process.stderr.read().strip()[-1000:]}")
        finally:
            process.kill()
    found: dict[str, Any] = json.loads(said)
    user, system = after.user - before.user, after.system - before.system
    return found | {"core": (user + system) / found["seconds"], "user": user, "system": system}
