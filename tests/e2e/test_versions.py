"""Changing a deployment in place and where addresses lead, from outside: rolls that fail, promotions, rollbacks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.platform import Answer, Platform, host_of
from tests.support import eventually


def address(app: Any, slug: str) -> str:
    return f"{app['subdomain']}.localhost" if slug == "production" else f"{app['subdomain']}-{slug}.localhost"


def patch(server: Platform, id: str, **spec: Any) -> Any:
    answer = server.api("PATCH", f"/deployments/{id}", {"spec": spec})
    assert answer.status == 200, answer.text
    return answer.json


def current(server: Platform, id: str) -> Any:
    return server.wait(id, lambda d: d["current"])


def starts(marks: Path) -> int:
    return len(marks.read_text().splitlines()) if marks.exists() else 0


def promote(server: Platform, id: str, environment: str = "production") -> str:
    answer = server.api("POST", f"/deployments/{id}/promote", {"environment": environment})
    assert answer.status == 201, answer.text
    return str(answer.json["deployment_id"])


def rollback(server: Platform, app: Any, environment: str = "development") -> Answer:
    return server.api("POST", f"/apps/{app['id']}/rollback", {"environment": environment})


def test_restart_replaces_the_task_and_loses_no_request(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny)
    host = host_of(deployment)
    before = server.get(host, "/pid").text
    answer = server.api("POST", f"/deployments/{deployment['id']}/restart")
    assert answer.status == 202
    statuses = set()

    def another() -> bool:
        seen = server.get(host, "/pid")
        statuses.add(seen.status)
        return seen.text != before

    eventually(another)
    assert statuses == {200}
    server.wait(deployment["id"], lambda d: d["observed_generation"] == d["generation"] == 2)


APP = """#!/usr/bin/env python3
import os, time
from http.server import BaseHTTPRequestHandler, HTTPServer
worse = os.path.exists(os.environ["WORSE"])
class App(BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self):
        if self.path == "/health" and worse:
            kind = open(os.environ["WORSE"]).read()
            if kind == "hangs": time.sleep(30)
            if kind == "redirects":
                self.send_response(302); self.send_header("Location", "/"); self.end_headers(); return
            if kind == "fails":
                self.send_response(503); self.end_headers(); return
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), App).serve_forever()
"""


@pytest.mark.parametrize("how", ["hangs", "redirects", "fails"])
def test_a_roll_whose_health_never_comes_goes_back_and_the_old_one_serves_on(
    server: Platform, common: Path, how: str
) -> None:
    worse = common / f"worse-{how}"
    deployment = server.deploy(
        APP.encode(),
        env={"WORSE": str(worse)},
        networking={"health_check": {"path": "/health", "interval": "0.2s", "timeout": "0.3s"}},
        progress_deadline_secs=3,
        stop={"grace_secs": 0.2},
    )
    id, host = deployment["id"], host_of(deployment)
    [old] = eventually(lambda: server.tasks(id, "running"))
    worse.write_text(how)
    worse.chmod(0o644)
    patch(server, id, resources={"memory": "130Mi"})
    shown = server.wait(id, lambda d: d["generation"] == 3 and d["phase"] == "ready", 30)
    assert shown["reason"]["code"] == "ROLLED_BACK"
    assert shown["spec"]["resources"]["memory"] == "128Mi"
    assert server.get(host).status == 200
    assert [task["id"] for task in server.tasks(id, "running")] == [old["id"]]
    lines = server.api("GET", f"/deployments/{id}/logs?stream=system").json
    assert any("went back to generation 1" in line["message"] for line in lines)
    events = server.api("GET", f"/deployments/{id}/events").text
    assert "deployment.rolled_back" in events


def test_promoted_while_asleep_nothing_starts_and_the_next_wake_runs_the_new_one(
    server: Platform, tiny: Path, common: Path
) -> None:
    app, marks = server.app(), common / "marks-asleep"
    env = {"MARK_FILE": str(marks)}
    first = server.deploy(tiny, app["id"], env=env)
    current(server, first["id"])
    server.sleep(first["id"])
    began = starts(marks)
    production = promote(server, first["id"])
    shown = current(server, production)
    assert (shown["status"], shown["phase"], shown["tasks_total"]) == ("running", "asleep", 0)

    second = server.deploy(tiny, app["id"], env={**env, "VERSION": "2"})
    began = starts(marks)
    newer = promote(server, second["id"])
    assert current(server, newer)["phase"] == "asleep", "production sleeps; so does what it is given"
    assert starts(marks) == began, "nothing starts"
    server.wait(production, lambda d: d["superseded_by"] == newer)
    eventually(lambda: server.get(address(app, "production")).status == 200)
    assert starts(marks) == began + 1
    eventually(lambda: [len(server.tasks(id, "running")) for id in (production, newer)] == [0, 1])


def test_rollbacks_go_further_back_and_hold_until_released(server: Platform, tiny: Path) -> None:
    app = server.app()
    made = []
    for number in range(3):
        deployment = server.deploy(tiny, app["id"], env={"NUMBER": str(number)})
        current(server, deployment["id"])
        made.append(deployment)
    for wanted in ("1", "0"):
        answer = rollback(server, app)
        assert (answer.status, answer.json["message"]) == (
            201,
            "Deployment created and scheduler notified",
        ), answer.text
        shown = current(server, answer.json["deployment_id"])
        assert shown["spec"]["env"]["NUMBER"] == wanted
    nothing = rollback(server, app)
    assert (nothing.status, nothing.json["code"]) == (409, "NOTHING_TO_ROLL_BACK_TO")
    environment = f"/apps/{app['id']}/environments/development"
    assert server.api("GET", environment).json["held_since"] is not None
    assert server.api("POST", f"{environment}/release").json["released"] is True
    assert server.api("GET", environment).json["held_since"] is None


def test_fifty_orders_at_once_are_taken_one_after_the_other(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny)
    path = f"/deployments/{deployment['id']}"

    def order(number: int) -> Answer:
        if number == 40:
            return server.api("POST", f"{path}/cancel")
        if number % 10 == 5:
            return server.api("POST", f"{path}/promote", {"environment": "development"})
        return server.api("PATCH", path, {"spec": {"replicas": 1 + number % 3}})

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(order, range(50)))
    assert {answer.status for answer in answers} <= {200, 201, 409}
    seen: dict[int, Any] = {}
    for answer in answers:
        if answer.status == 200:
            known = seen.setdefault(answer.json["revision"], answer.json)
            same = ("generation", "spec", "status")
            assert [known[key] for key in same] == [answer.json[key] for key in same], "one history"
    generations = [seen[revision]["generation"] for revision in sorted(seen)]
    assert generations == sorted(generations)
    assert server.wait(deployment["id"], lambda d: d["phase"] == "done")["status"] == "cancelled"


def test_one_key_fifty_times_is_one_promotion(server: Platform, tiny: Path) -> None:
    app = server.app()
    deployment = server.deploy(tiny, app["id"])
    key = {"Idempotency-Key": "promote once"}

    def order(_: int) -> Answer:
        body = {"environment": "production"}
        return server.api("POST", f"/deployments/{deployment['id']}/promote", body, key)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(order, range(50)))
    assert {(answer.status, answer.body) for answer in answers} == {(201, answers[0].body)}
    shown = server.api("GET", f"/apps/{app['id']}/deployments").json["deployments"]
    assert [one["version"] for one in shown] == [2, 1]
    current(server, answers[0].json["deployment_id"])


def test_what_is_promoted_does_not_change_with_its_source(server: Platform, tiny: Path) -> None:
    app = server.app()
    source = server.deploy(tiny, app["id"], env={"LEVEL": "one"})
    server.api("PUT", f"/apps/{app['id']}/environments/production/env", {"WHERE": "production"})
    promoted = current(server, promote(server, source["id"]))
    patch(server, source["id"], resources={"memory": "140Mi"})
    server.api("PUT", f"/apps/{app['id']}/environments/production/env", {"WHERE": "elsewhere"})
    server.api("POST", f"/deployments/{source['id']}/cancel")
    after = server.deployment(promoted["id"])
    for key in ("spec", "sha", "version", "generation", "status"):
        assert after[key] == promoted[key]
    assert server.get(address(app, "production")).status == 200
