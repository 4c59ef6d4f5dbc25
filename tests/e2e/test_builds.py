"""From a repository to an answer of the gateway, with a real git server and real builds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.building import build_of, log_of, make_app, packed, send, set_source, settled, trees_kept
from tests.e2e.conftest import APPS, TASK_PATH, open_folder
from tests.e2e.platform import Platform, host_of
from tests.e2e.processes import processes_of
from tests.git_host import GitHost, git
from tests.support import eventually

TOKEN = "ghs_example"
MAKEFILE = "server: tiny.c\n\tgcc -O1 -static -o server tiny.c\n"
BY_MAKE = {"kind": "command", "command": "make", "artifact_path": "server"}


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    with GitHost(tmp_path_factory.mktemp("git"), TOKEN).serving() as host:
        yield host


@pytest.fixture(scope="module")
def server(git_host: GitHost) -> Iterator[Platform]:
    root = open_folder()
    running = Platform(root / "data", "--github-url", git_host.url)
    try:
        yield running.start()
    finally:
        running.destroy()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def token(server: Platform) -> dict[str, str]:
    made = server.api("POST", "/tokens", {"name": "ci", "scope": "deploy"})
    return {"Authorization": f"Bearer {made.json['token']}"}


def trigger(server: Platform, app_id: str, token: dict[str, str], **body: Any):
    return server.api("POST", f"/apps/{app_id}/deploy/trigger", body, token)


def test_a_c_program_is_pushed_built_deployed_and_answers(server, git_host, token):
    repository = git_host.repository("octo/tiny")
    sha = repository.commit({"Makefile": MAKEFILE, "tiny.c": (APPS / "tiny.c").read_text()}, "Say hello")
    app_id = make_app(server, "tiny")
    set_source(server, app_id, repository="octo/tiny", build=BY_MAKE, access_token=TOKEN)
    answer = trigger(server, app_id, token, branch="main", environment="development")
    assert answer.status == 201, answer.text
    assert answer.json["message"] == "Deployment created and scheduler notified"
    made = server.wait(answer.json["deployment_id"], lambda d: d["status"] == "running")
    assert made["sha"] == sha[:8]
    assert made["commit"] == {"sha": sha, "author": "Ada Lovelace <ada@example.com>", "message": "Say hello"}
    assert server.get(host_of(made)).status == 200
    build = settled(server, made["build_id"])
    assert (build["state"], build["deployment_id"]) == ("succeeded", made["id"])
    lines = log_of(server, build["id"])
    assert any("gcc -O1" in line for line in lines)
    assert not any(TOKEN in line for line in lines)


SITE = """\
import sys, pathlib
page = pathlib.Path("site/index.html").read_text()
out = pathlib.Path("site.pyz")
out.write_text('''#!/usr/bin/env python3
import http.server, os
PAGE = %r.encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
''' % page)
"""


@pytest.mark.skipif(shutil.which("python3", path=TASK_PATH) is None, reason=f"no python3 in {TASK_PATH}")
def test_a_static_site_in_a_folder_becomes_a_program_that_serves_it(server, git_host, token):
    git_host.repository("octo/site").commit(
        {"web/build.py": SITE, "web/site/index.html": "<h1>From Git</h1>", "other/huge.txt": "not ours"}
    )
    app_id = make_app(server, "site")
    set_source(
        server,
        app_id,
        repository="octo/site",
        root_dir="web",
        build={"kind": "command", "command": "python3 build.py", "artifact_path": "site.pyz"},
        access_token=TOKEN,
    )
    made = trigger(server, app_id, token)
    assert made.status == 201, made.text
    deployment = server.wait(made.json["deployment_id"], lambda d: d["status"] == "running")
    assert server.get(host_of(deployment)).text == "<h1>From Git</h1>"


SERVER = "#!/bin/sh\nexec python3 -m http.server $PORT --bind $HOST\n"


def app_of(server: Platform, git_host: GitHost, name: str, command: str, **source: Any) -> str:
    """An app whose repository holds `server`, built by `command`."""
    git_host.repository(f"octo/{name}").commit({"server": SERVER})
    app_id = make_app(server, name)
    build = {"kind": "command", "command": command, "artifact_path": "server"}
    set_source(server, app_id, repository=f"octo/{name}", build=build, access_token=TOKEN, **source)
    return app_id


def queue(server: Platform, app_id: str, **body: Any) -> str:
    answer = server.api("POST", "/builds", {"app_id": app_id, **body})
    assert answer.status == 202, answer.text
    return answer.json["id"]


def in_phase(server: Platform, build_id: str, phase: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        build = build_of(server, build_id)
        return build if build["phase"] == phase else None

    return eventually(reached, 30)


def test_a_command_that_fails_answers_with_its_last_lines(server, git_host, token):
    app_id = app_of(server, git_host, "failing", "echo about to fail; echo why >&2; exit 3")
    answer = trigger(server, app_id, token)
    assert (answer.status, answer.json["code"]) == (422, "BUILD_FAILED")
    assert set(answer.json["last_lines"]) == {"about to fail", "why"}
    assert build_of(server, answer.json["build_id"])["reason"]["exit_code"] == 3


def test_two_gigabytes_of_files_fail_before_any_is_written(server, git_host, token):
    """By the limits as they are; git needs half a megabyte for so many zeros."""
    repository = git_host.repository("octo/huge")
    zeros = repository.work / "zeros"
    with zeros.open("wb") as file:
        file.truncate(512 << 20)
    blob = git("hash-object", "-w", str(zeros), cwd=repository.work)
    zeros.unlink()
    for number in range(4):
        entry = f"100644,{blob},part-{number}"
        git("update-index", "--add", "--cacheinfo", entry, cwd=repository.work)
    git("commit", "-q", "-m", "Everything", cwd=repository.work)
    repository.push()
    app_id = make_app(server, "huge")
    set_source(server, app_id, repository="octo/huge", build=BY_MAKE, access_token=TOKEN)
    answer = trigger(server, app_id, token)
    assert (answer.status, answer.json["code"]) == (422, "BUILD_FAILED")
    assert build_of(server, answer.json["build_id"])["reason"]["code"] == "SOURCE_TOO_LARGE"
    written = sum(file.lstat().st_blocks * 512 for file in (server.data_dir / "builds").rglob("*"))
    assert written < 64 << 20


class Impatient(Platform):
    """Composed like any other, but for a trigger's patience: a second."""

    program = (
        "-c",
        "import dataclasses\n"
        "from platformd import app\n"
        "from platformd.__main__ import main\n"
        "usual = app.make_context\n"
        "def composed(*args, **parts): return dataclasses.replace(usual(*args, **parts), trigger_secs=1.0)\n"
        "app.make_context = composed\n"
        "main()\n",
    )


def test_a_build_that_takes_longer_than_its_trigger_waits_goes_on_and_is_deployed(git_host, data_dir):
    server = Impatient(data_dir, "--github-url", git_host.url)
    try:
        app_id = app_of(server.start(), git_host, "long", "until test -e $HOME/enough; do sleep 0.1; done")
        made = server.api("POST", "/tokens", {"name": "ci", "scope": "deploy"}).json
        answer = trigger(server, app_id, {"Authorization": f"Bearer {made['token']}"})
        assert (answer.status, answer.json["code"]) == (504, "BUILD_UNFINISHED")
        build = build_of(server, answer.json["build_id"])
        assert (build["state"], build["deployment_id"]) == ("running", None)
        in_phase(server, build["id"], "building")
        (data_dir / "builds" / "cache" / app_id / "enough").touch()
        build = settled(server, build["id"])
        assert (build["state"], build["attempt"]) == ("succeeded", 1)
        deployment = server.wait(build["deployment_id"], lambda d: d["status"] == "running")
        assert (deployment["build_id"], server.get(host_of(deployment)).status) == (build["id"], 200)
    finally:
        server.destroy()


def test_without_a_source_or_a_token_there_is_nothing_to_trigger(server, git_host, token):
    app_id = make_app(server, "bare")
    assert server.api("POST", f"/apps/{app_id}/deploy/trigger", {}).status == 401
    answer = trigger(server, app_id, token)
    assert (answer.status, answer.json["code"]) == (409, "SOURCE_NOT_CONFIGURED")


def test_the_environment_of_a_command_has_nothing_of_the_app_or_the_server(server, git_host, token):
    app_id = app_of(server, git_host, "clean", "env | sort; id -u; pwd; cat /proc/self/limits | grep core")
    server.api("PUT", f"/apps/{app_id}/env", {"KEY": {"value": "s3cret", "secret": True}})
    build_id = queue(server, app_id)
    assert settled(server, build_id)["state"] == "succeeded"
    said = log_of(server, build_id)
    names = {line.partition("=")[0] for line in said if "=" in line}
    ours = {"APP_NAME", "ENVIRONMENT", "DEPLOYMENT_ID", "TASK_ID", "HOST"}
    assert names == {*ours, "PATH", "HOME", "PWD", "CI", "LC_ALL", "BUILD_ID", "COMMIT_SHA", "BRANCH"} | (
        names & {"OLDPWD", "SHLVL", "_"}
    )
    assert not any("s3cret" in line for line in said)
    assert "0" not in said or os.geteuid() != 0


def test_a_build_fills_in_the_deployment_that_waits_for_it(server, git_host):
    app_id = app_of(server, git_host, "waiting", "true")
    waiting = server.api("POST", f"/apps/{app_id}/deployments", {}).json
    assert waiting["phase"] == "waiting_for_build"
    build = settled(server, queue(server, app_id))
    assert build["deployment_id"] == waiting["id"]
    filled = server.wait(waiting["id"], lambda d: d["status"] == "running")
    assert (filled["spec"]["artifact_id"], filled["sha"]) == (build["artifact_id"], waiting["sha"])
    assert filled["commit"]["sha"] == build["commit"]["sha"]
    assert server.get(host_of(filled)).status == 200


def test_a_rebuild_builds_the_same_commit_anew_whatever_was_pushed_since(server, git_host, token):
    app_id = app_of(server, git_host, "again", "true")
    made = trigger(server, app_id, token).json["deployment_id"]
    first = server.wait(made, lambda d: d["status"] == "running")
    git_host.known["octo/again"].commit({"server": "#!/bin/sh\nexit 9\n"}, "Break it")
    answer = server.api("POST", f"/deployments/{made}/promote", {"strategy": "rebuild"})
    assert answer.status == 201, answer.text
    rebuilt = server.wait(answer.json["deployment_id"], lambda d: d["status"] == "running", 60)
    assert rebuilt["environment_slug"] == "production"
    assert (rebuilt["commit"], rebuilt["sha"]) == (first["commit"], first["sha"])
    assert rebuilt["build_id"] != first["build_id"]


def test_a_promoted_version_stays_as_it_is_whatever_changes_where_it_came_from(server, git_host, token):
    app_id = app_of(server, git_host, "steady", "true")
    server.api("PUT", f"/apps/{app_id}/env", {"MOOD": "calm"})
    made = trigger(server, app_id, token).json["deployment_id"]
    server.wait(made, lambda d: d["status"] == "running")
    promoted = server.api("POST", f"/deployments/{made}/promote", {}).json["deployment_id"]
    before = server.wait(promoted, lambda d: d["status"] == "running")
    build = {"kind": "command", "command": "exit 1", "artifact_path": "nothing"}
    set_source(server, app_id, repository="octo/failing", build=build, access_token=TOKEN)
    server.api("PUT", f"/apps/{app_id}/env", {"MOOD": "wild"})
    assert trigger(server, app_id, token).status == 422
    server.sleep(promoted)
    assert server.get(host_of(before)).status == 200
    after = server.deployment(promoted)
    assert (after["spec"], after["commit"], after["sha"]) == (before["spec"], before["commit"], before["sha"])


def test_skip_build_deploys_the_last_good_build(server, git_host, token):
    app_id = app_of(server, git_host, "skipping", "true")
    assert trigger(server, app_id, token, skip_build=True).json["code"] == "NO_BUILD"
    build = settled(server, queue(server, app_id))
    answer = trigger(server, app_id, token, skip_build=True, environment="production")
    assert answer.status == 201, answer.text
    made = server.deployment(answer.json["deployment_id"])
    assert (made["spec"]["artifact_id"], made["build_id"]) == (build["artifact_id"], build["id"])


def test_cancelled_while_it_fetches_nothing_runs_and_the_queue_moves(server, git_host):
    app_id = app_of(server, git_host, "fetching", "true")
    git_host.gate.clear()
    git_host.waiting.clear()
    first, second = queue(server, app_id), queue(server, app_id)
    assert git_host.waiting.wait(20)
    assert build_of(server, second)["state"] == "queued"
    for _ in range(2):
        assert server.api("POST", f"/builds/{first}/cancel").json["state"] == "cancelled"
    settled(server, first)
    git_host.gate.set()
    assert settled(server, second)["state"] == "succeeded"
    assert server.api("POST", f"/builds/{second}/cancel").json["code"] == "INVALID_STATE"


def test_cancelled_while_it_builds_nothing_of_it_is_left(server, git_host):
    app_id = app_of(server, git_host, "endless", "setsid sleep 86399 & (sleep 86399 & sleep 86399); true")
    first, second = queue(server, app_id), queue(server, app_id)
    in_phase(server, first, "building")
    assert eventually(lambda: len(processes_of(server, "86399")) >= 3, 20)
    assert server.api("POST", f"/builds/{first}/cancel").json["state"] == "cancelled"
    ended = settled(server, first)
    assert (ended["state"], ended["reason"]["code"]) == ("cancelled", "CANCELLED")
    assert server.api("POST", f"/builds/{second}/cancel").status == 200
    settled(server, second)
    assert not processes_of(server, "86399")
    assert not (server.data_dir / "builds" / "trees" / first).exists()


def test_a_killed_command_fails_and_the_queue_moves(server, git_host):
    app_id = app_of(server, git_host, "killed", "test -e $HOME/once && exit 0; touch $HOME/once; sleep 86398")
    first, second = queue(server, app_id), queue(server, app_id)
    for pid in eventually(lambda: processes_of(server, "86398"), 20):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    failed = settled(server, first)
    assert (failed["state"], failed["reason"]["code"]) == ("failed", "BUILD_FAILED")
    assert settled(server, second)["state"] == "succeeded"


def test_the_log_streams_until_the_build_is_done(server, git_host):
    app_id = app_of(server, git_host, "telling", "for n in 1 2 3; do echo line $n; done")
    build_id = queue(server, app_id)
    stream = server.api(
        "GET", f"/builds/{build_id}/logs/stream?after=0", headers={"Accept": "application/x-ndjson"}
    )
    lines = [json.loads(line) for line in stream.text.splitlines()]
    said = [line["message"] for line in lines if "message" in line]
    assert [line for line in said if line.startswith("line ")] == ["line 1", "line 2", "line 3"]
    assert all(line["build_id"] == build_id for line in lines if "message" in line)


def test_an_app_that_is_removed_takes_its_builds_along(server, git_host):
    app_id = app_of(server, git_host, "leaving", "sleep 86397")
    build_id = queue(server, app_id)
    in_phase(server, build_id, "building")
    eventually(lambda: processes_of(server, "86397"), 20)
    assert server.api("DELETE", f"/apps/{app_id}").status in (202, 204)
    assert eventually(lambda: server.api("GET", f"/builds/{build_id}").status == 404, 30)
    assert not processes_of(server, "86397")
    assert not list((server.data_dir / "builds").rglob(f"{app_id}*"))
    assert not (server.data_dir / "logs" / build_id).exists()


def test_a_c_program_that_is_sent_is_built_deployed_and_answers(server):
    app_id = make_app(server, "sent")
    set_source(server, app_id, repository="octo/nowhere", build=BY_MAKE)
    waiting = server.api("POST", f"/apps/{app_id}/deployments", {}).json["id"]
    tree = packed({"Makefile": MAKEFILE, "tiny.c": (APPS / "tiny.c").read_text()})
    build = settled(server, send(server, app_id, tree, deployment_id=waiting))
    assert build["state"] == "succeeded", log_of(server, build["id"])
    assert (build["upload"], build["commit"]) == (hashlib.sha256(tree).hexdigest(), None)
    assert (build["repository"], build["branch"], build["deployment_id"]) == (None, None, waiting)
    assert any("gcc -O1" in line for line in log_of(server, build["id"]))
    filled = server.wait(waiting, lambda d: d["status"] == "running")
    assert (filled["spec"]["artifact_id"], filled["commit"]) == (build["artifact_id"], None)
    assert server.get(host_of(filled)).status == 200
    assert eventually(lambda: trees_kept(server) == [])


@pytest.mark.parametrize(
    ("archive", "code"),
    [
        (packed({"server": SERVER}, ("out", "../../../etc/passwd")), "SOURCE_UNSAFE"),
        (packed({"/tmp/server": SERVER}), "SOURCE_UNSAFE"),
        (b"this is no archive", "SOURCE_INVALID"),
        (packed({"server": os.urandom(60_000).hex()})[:50_000], "SOURCE_INVALID"),
    ],
    ids=["link out", "absolute", "garbage", "cut off"],
)
def test_a_tree_that_must_not_or_cannot_be_unpacked_fails_its_build(server, archive, code):
    app_id = make_app(server, f"odd-{hashlib.sha256(archive).hexdigest()[:8]}")
    set_source(server, app_id, repository="octo/nowhere", build=BY_MAKE)
    failed = settled(server, send(server, app_id, archive))
    assert (failed["state"], failed["reason"]["code"]) == ("failed", code)
    assert eventually(lambda: trees_kept(server) == [])


def test_the_same_tree_twice_is_there_until_the_second_build_is_done(server):
    app_id = make_app(server, "twice")
    build = {"kind": "command", "command": "sleep 1", "artifact_path": "server"}
    set_source(server, app_id, repository="octo/nowhere", build=build)
    tree = packed({"server": SERVER})
    first, second = send(server, app_id, tree), send(server, app_id, tree)
    assert settled(server, first)["state"] == "succeeded"
    assert settled(server, second)["state"] == "succeeded"
    assert eventually(lambda: trees_kept(server) == [])
