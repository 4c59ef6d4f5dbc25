"""Wakes that come to nothing: the held hear why, soon and with what the app said last; the next request tries anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.herd import herd, starts
from tests.e2e.platform import Platform, host_of
from tests.e2e.processes import alive
from tests.support import eventually

# Fails from its second start on, or for as long as the file `broken` is there.
FRAGILE = b"""#!/bin/sh
echo start >> "$COMMON/starts"
if [ -e "$COMMON/broken" ]; then
    echo "the flux capacitor is missing" >&2
    exit 3
fi
exec "$COMMON/tiny"
"""


def fragile(server: Platform, tiny: Path, common: Path, **spec: Any) -> Any:
    """A sleeping deployment that works until `common/broken` is there."""
    (common / "tiny").write_bytes(tiny.read_bytes())
    (common / "tiny").chmod(0o755)
    deployment = server.deploy(FRAGILE, env={"COMMON": str(common)}, **spec)
    return server.sleep(deployment["id"])


def test_what_never_listens_times_out(server: Platform, tiny: Path, common: Path) -> None:
    deployment = fragile(server, tiny, common, wake={"timeout_secs": 2})
    (common / "tiny").write_text("#!/bin/sh\necho thinking\nexec sleep 1000\n")

    answers = herd(server.gateway_url, host_of(deployment), 10)

    assert [answer.status for answer in answers] == [504] * 10
    for answer in answers:
        assert b"WAKE_TIMEOUT" in answer.body
        assert b"waking" in answer.body, "the phase is named"
        assert 2.0 <= answer.seconds <= 2.8 + server.start_secs
    asleep = server.wait(deployment["id"], lambda d: d["phase"] == "asleep")
    assert asleep["status"] == "running"
    server.ended_tasks(deployment["id"])
    assert not alive(deployment["id"])
    assert starts(common / "starts") == 2

    (common / "tiny").write_bytes(tiny.read_bytes())
    assert server.get(host_of(deployment)).status == 200
    assert starts(common / "starts") == 3


def test_what_exits_while_waking_fails_the_held_at_once(server: Platform, tiny: Path, common: Path) -> None:
    deployment = fragile(server, tiny, common)
    (common / "broken").touch()
    host = host_of(deployment)

    answers = herd(server.gateway_url, host, 10)

    assert {answer.status for answer in answers} <= {502, 503}, answers
    crashed = [answer for answer in answers if answer.status == 502]
    assert crashed
    for answer in crashed:
        assert b"WAKE_CRASHED" in answer.body
        assert b'"exit_code":3' in answer.body
        assert b"the flux capacitor is missing" in answer.body
        assert answer.seconds < 0.6 + server.start_secs
    assert starts(common / "starts") == 2

    (common / "broken").unlink()
    assert eventually(lambda: server.get(host).status == 200, 5 + server.start_secs)
    assert starts(common / "starts") == 3


def test_while_it_backs_off_requests_are_refused_with_the_time(
    server: Platform, tiny: Path, common: Path
) -> None:
    """Each failure doubles the pause, so there soon is one to look at."""
    deployment = fragile(server, tiny, common, restart={"max_attempts": 100})
    (common / "broken").touch()
    host = host_of(deployment)
    for _ in range(4):
        eventually(lambda: server.get(host).status == 502, 10)

    before = starts(common / "starts")
    refused = server.get(host)
    assert (refused.status, refused.json["code"]) == (503, "BACKING_OFF")
    assert 1 <= int(refused.headers["Retry-After"]) <= 3
    assert starts(common / "starts") == before, "a refused request starts nothing"
    shown = server.wait(deployment["id"], lambda d: d["phase"] == "backing_off")
    assert shown["reason"]["exit_code"] == 3
    assert shown["reason"]["last_lines"] == ["the flux capacitor is missing"]

    (common / "broken").unlink()
    assert eventually(lambda: server.get(host).status == 200, 10)
    assert server.wait(deployment["id"], lambda d: d["phase"] == "ready")["reason"] is None


def test_without_cold_start_nothing_is_held(server: Platform, tiny: Path) -> None:
    deployment = server.deploy(tiny, cold_start_enabled=False)
    server.sleep(deployment["id"])
    refused = server.get(host_of(deployment))
    assert (refused.status, refused.json["code"]) == (503, "ASLEEP")
    assert len(server.ended_tasks(deployment["id"])) == 1
    woken = server.api("POST", f"/deployments/{deployment['id']}/wake")
    assert woken.status == 202
    assert eventually(lambda: server.get(host_of(deployment)).status == 200)


def test_a_failing_first_start_says_what_the_app_said(server: Platform, tiny: Path) -> None:
    env = {"EXIT_CODE": "3"}
    failed = server.deploy(tiny, env=env, restart={"max_attempts": 0})
    assert failed["status"] == "failed"
    assert failed["reason"]["exit_code"] == 3
    assert failed["reason"]["last_lines"] == ["going down with 3"]
    refused = server.get(host_of(failed))
    assert (refused.status, refused.json["code"]) == (503, "NO_DEPLOYMENT")
