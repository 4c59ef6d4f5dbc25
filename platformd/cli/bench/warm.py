"""`bench warm`: a running app under load through the gateway, through nginx, and without a proxy.

The proxy under test has a core of its own; the load and the app share another. All three have the same upstream.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from platformd.cli.bench.floors import FLOOR_PORTS, CannotMeasure, Floors, tool
from platformd.cli.bench.report import Report, cores, ms
from platformd.cli.bench.stage import Subject, folder_and_server
from platformd.cli.bench.traffic import Visitor
from platformd.cli.local import LocalServer, wait_until

CONNECTIONS = 32
RATE_GOAL, P99_GOAL = 0.6, 2.0
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_NGINX = """
daemon off; master_process on; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; server_tokens off; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream app {{ server {upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-Id $request_id;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Round:
    """One run of wrk: answers a second, p99 in seconds, and what was no 2xx."""

    rate: float
    p99: float
    failed: int


def measure(seconds: int, rounds: int) -> Report:
    wrk = tool("wrk", "wrk")
    report = Report("warm", figures={"connections": CONNECTIONS, "seconds": seconds, "rounds": rounds})
    ours, theirs = cores(report)
    with folder_and_server() as (folder, server):
        floors = Floors(folder)
        server.start()
        subject = Subject(server.client, "subject", floors.server)
        os.sched_setaffinity(subject.pid(), theirs)
        os.sched_setaffinity(_gateway_of(server), ours)
        address = subject.address()

        def load(url: str, host: str) -> Round:
            return _load(wrk, url, host, seconds, theirs)

        found: dict[str, list[Round]] = {"gateway": [], "nginx": [], "direct": []}
        with _nginx(folder, address, ours, report) as nginx:
            _warm_up(server, subject)
            for _ in range(rounds):
                found["gateway"].append(load(server.gateway_url, subject.host))
                if nginx is not None:
                    found["nginx"].append(load(nginx, subject.host))
            found["direct"].append(load(f"http://{address}", subject.host))
    _compare(report, {name: turns for name, turns in found.items() if turns})
    return report


def _compare(report: Report, found: dict[str, list[Round]]) -> None:
    rates = {name: statistics.median(turn.rate for turn in turns) for name, turns in found.items()}
    p99s = {name: statistics.median(turn.p99 for turn in turns) for name, turns in found.items()}
    failed = {name: sum(turn.failed for turn in turns) for name, turns in found.items()}
    report.figures |= {"rates": rates, "p99": p99s, "failed": failed}
    for name, title in (("direct", "no proxy"), ("nginx", "nginx"), ("gateway", "gateway")):
        if name not in rates:
            continue
        goal, met = "", None
        if name == "gateway" and "nginx" in rates:
            goal = f"{RATE_GOAL:g} x nginx; p99 {P99_GOAL:g} x its"
            met = rates[name] >= RATE_GOAL * rates["nginx"] and p99s[name] <= P99_GOAL * p99s["nginx"]
        of = f", {rates[name] / rates['nginx']:.2f} x nginx" if goal else ""
        report.add(f"{title}: requests/s", f"{rates[name]:,.0f}, p99 {ms(p99s[name])}{of}", goal, met)
    report.add("gateway: failed requests", str(failed["gateway"]), "0", failed["gateway"] == 0)


def _load(wrk: str, url: str, host: str, seconds: int, cores: set[int]) -> Round:
    command = ["taskset", "-c", ",".join(map(str, sorted(cores))), wrk, "-t1", f"-c{CONNECTIONS}"]
    command += [f"-d{seconds}", "--latency", "-H", f"Host: {host}", f"{url}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    if done.returncode != 0 or rate is None or p99 is None:
        raise CannotMeasure(f"wrk did not work: {done.stderr or done.stdout}")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", done.stdout)
    count = int(failed[1]) if failed else 0
    count += sum(int(number) for number in errors.groups()) if errors else 0
    return Round(float(rate[1]), float(p99[1]) * _UNITS[p99[2]], count)


@contextmanager
def _nginx(folder: Path, upstream: str, cores: set[int], report: Report) -> Iterator[str | None]:
    """Its URL while it runs; None where there is none."""
    try:
        program = tool("nginx", "nginx-light")
    except CannotMeasure as error:
        report.notes.append(f"Nothing to compare with: {error}.")
        yield None
        return
    port = FLOOR_PORTS.start
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, upstream=upstream, port=port))
    command = [
        "taskset",
        "-c",
        ",".join(map(str, sorted(cores))),
        program,
        "-c",
        str(config),
        "-p",
        str(folder),
    ]
    log = folder / "nginx.err"
    with log.open("wb") as errors, subprocess.Popen(command, stderr=errors, stdout=errors) as process:
        try:
            if (
                not wait_until(lambda: _answers(port) or process.poll() is not None, 10)
                or process.poll() is not None
            ):
                raise CannotMeasure(f"nginx does not start: {log.read_text(errors='replace')[-1000:]}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError, CannotMeasure), Visitor(f"http://127.0.0.1:{port}", "x") as visitor:
        return visitor.visit().status == 200
    return False


def _warm_up(server: LocalServer, subject: Subject) -> None:
    with Visitor(server.gateway_url, subject.host) as visitor:
        for _ in range(100):
            visitor.visit()


def _gateway_of(server: LocalServer) -> int:
    for process in server.family():
        with contextlib.suppress(psutil.Error):
            if "platformd.gateway" in process.cmdline():
                return process.pid
    raise CannotMeasure("the gateway's process is not to be found")
