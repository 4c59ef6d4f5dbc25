"""Backups taken while serving and put back: apps start again with their secrets; what must not happen does not."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import psutil

from tests.e2e.platform import Platform, host_of
from tests.support import eventually

SECRET = "correct-horse-battery-staple-9172"


def command(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "platformd", *map(str, args)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def with_secret(platform: Platform) -> str:
    app_id = str(platform.app("kept")["id"])
    body = {"TOKEN": {"value": SECRET, "secret": True}}
    assert platform.api("PUT", f"/apps/{app_id}/env", body).status == 200
    return app_id


def token_of(platform: Platform, deployment_id: str) -> str:
    (task,) = eventually(lambda: platform.tasks(deployment_id, "running"))
    return psutil.Process(task["pid"]).environ()["TOKEN"]


def test_what_was_backed_up_while_serving_comes_back_elsewhere(platform: Platform, tiny: Path) -> None:
    app_id = with_secret(platform)
    deployment = platform.deploy(tiny, app_id)
    platform.sleep(deployment["id"])
    file = platform.data_dir.parent / "backup.tar"
    command("backup", file, "--data-dir", platform.data_dir)
    assert file.stat().st_mode & 0o777 == 0o600
    assert SECRET.encode() not in file.read_bytes()
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".platformd-backup")] == []
    later = platform.app("made-later")
    assert platform.terminate() == 0

    other = Platform(platform.data_dir.parent / "other")
    command("restore", file, "--data-dir", other.data_dir)
    try:
        other.start()
        assert other.api("GET", f"/apps/{later['id']}").status == 404
        assert other.get(host_of(deployment)).status == 200
        assert token_of(other, deployment["id"]) == SECRET
        refused = command("restore", file, "--data-dir", other.data_dir, code=1)
        assert f"pid {other.pid}" in refused.stderr and other.api_url in refused.stderr
        assert other.get(host_of(deployment)).status == 200
    finally:
        other.destroy()


def test_a_directory_goes_back_to_what_it_was(platform: Platform, tiny: Path) -> None:
    app_id = with_secret(platform)
    deployment = platform.deploy(tiny, app_id)
    file = platform.data_dir.parent / "backup.tar"
    command("backup", file, "--data-dir", platform.data_dir)
    gone = platform.deploy(tiny, app_id)
    platform.kill()
    command("restore", file, "--data-dir", platform.data_dir)
    kept = {path.name for path in platform.data_dir.iterdir()}
    assert "platformd.db.before-restore" in kept
    platform.start()
    # The newer one may have had it stopped, which what comes back does not know: it is tried again, or woken.
    eventually(lambda: platform.get(host_of(deployment)).status == 200)
    assert token_of(platform, deployment["id"]) == SECRET
    assert platform.api("GET", f"/deployments/{gone['id']}").status == 404
    eventually(lambda: not any(gone["id"] in deployment_ids(p) for p in platform.family()))


def deployment_ids(process: psutil.Process) -> str:
    try:
        return process.environ().get("DEPLOYMENT_ID", "")
    except psutil.Error:
        return ""


def test_what_is_no_sound_backup_changes_nothing(platform: Platform, tmp_path: Path) -> None:
    platform.app("stays")
    platform.terminate()
    before = (platform.data_dir / "platformd.db").read_bytes()
    file = tmp_path / "backup.tar"
    command("backup", file, "--data-dir", platform.data_dir, "--without-artifacts")
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(b"SQLite format 3") + 5000] ^= 0xFF
    hostile = tmp_path / "hostile.tar"
    with tarfile.open(hostile, "w") as archive:
        archive.add(file, "../outside")
    newer = whole.replace(b'"schema": ', b'"schema":9', 1)
    cases = {
        "cut.tar": (whole[: len(whole) // 2], "cut off|lacks|no backup|damaged"),
        "damaged.tar": (bytes(damaged), "damaged"),
        "text.tar": (b"hello", "no backup"),
        "empty.tar": (b"", "no backup"),
        "newer.tar": (newer, "schema"),
        "hostile.tar": (hostile.read_bytes(), "no backup"),
    }
    for name, (content, said) in cases.items():
        wrong = tmp_path / name
        wrong.write_bytes(content)
        done = command("restore", wrong, "--data-dir", platform.data_dir, code=1)
        assert any(word in done.stderr for word in said.split("|")), (name, done.stderr)
        assert "Traceback" not in done.stderr
        assert (platform.data_dir / "platformd.db").read_bytes() == before
    command("restore", tmp_path / "missing.tar", "--data-dir", platform.data_dir, code=1)
    command("backup", tmp_path / "x.tar", "--data-dir", tmp_path / "nowhere", code=1)
    assert not (tmp_path / "x.tar").exists()
    platform.start()
    assert platform.api("GET", "/apps").json["total"] == 1
