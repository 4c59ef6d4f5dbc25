"""`platformd.yaml`: what it may say, how faults are told, and that `deploy` takes its defaults from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from platformd.cli import project
from tests.cli.commands import Commands

FAULTS = [
    ("nmae: shop", "nmae is unknown; did you mean name?"),
    ("deploy: {replcias: 2}", "deploy.replcias is unknown; did you mean replicas?"),
    ("networking: {health_check: {pth: /}}", "networking.health_check.pth is unknown; did you mean path?"),
    ("zzz: 1", "zzz is unknown; known are name, namespace"),
    ("deploy: [1]", "deploy must be keys with values, such as replicas: …"),
    ("- 1", "the file must be keys with values, such as name: …"),
    ("name: 1", "name must be text, not 1"),
    ("build: {artifact_path: [x]}", "build.artifact_path must be text"),
    ("deploy: {env: 1}", "deploy.env must be names with values"),
    ("deploy: {env: {DEBUG: true}}", "deploy.env.DEBUG must be text, not True; put it into quotes"),
    ("a: [", "is not YAML"),
    ("!!python/object/apply:os.system [x]", "is not YAML"),
]


def written(folder: Path, text: str) -> Path:
    (folder / project.FILE).write_text(text)
    return folder


@pytest.mark.parametrize(("text", "fault"), FAULTS)
def test_a_fault_is_told_with_what_to_do(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(project.ProjectError) as refused:
        project.load(written(tmp_path, text))
    assert fault in str(refused.value)
    assert str(tmp_path / project.FILE) in str(refused.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(project.ProjectError) as refused:
        project.load(written(tmp_path, "nmae: x\ndeploy: {env: {A: null}, imag: y}"))
    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize("text", ["", "deploy:", "name: null"])
def test_what_says_nothing(text: str, tmp_path: Path) -> None:
    assert project.load(written(tmp_path, text)) == project.Project()
    assert project.load(tmp_path / "elsewhere") == project.Project()


def test_numbers_are_variables_too(tmp_path: Path) -> None:
    found = project.load(written(tmp_path, "deploy: {env: {A: 1, B: 1.5, C: '007'}}"))
    assert found.body["env"] == {"A": "1", "B": "1.5", "C": "007"}


class TestDeploying:
    """From within the folder."""

    def deploy(self, commands: Commands, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "platformd", "deploy", *arguments, "--server", commands.server]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORMD_")}
        return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=100)

    def test_without_an_argument(self, shared: Commands, tiny: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "shop").write_bytes(tiny.read_bytes())
        folder = written(
            tmp_path,
            """
name: shop
namespace: yaml
build: {artifact_path: out/shop}
deploy: {replicas: 2, env: {FROM: file, BOTH: file}, idle_timeout_secs: 77}
resources: {memory: 64Mi}
networking: {health_check: {path: /health, interval: 3s}}
""",
        )
        done = self.deploy(shared, folder, "-e", "BOTH=given", "--health", "/", "--json")
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        spec = made["spec"]
        assert shared.json("apps", "show", "yaml/shop")["id"] == made["app_id"]
        assert (spec["replicas"], spec["idle_timeout_secs"], spec["resources"]["memory"]) == (2, 77, "64Mi")
        assert spec["env"] == {"FROM": "file", "BOTH": "given"}
        assert spec["networking"]["health_check"] == {"path": "/", "interval": "3s", "timeout": "5s"}

        other = self.deploy(shared, folder, "elsewhere", "--replicas", "0", "--json")
        assert other.returncode == 0, other.stderr
        assert shared.json("apps", "show", "elsewhere")["id"] == json.loads(other.stdout)["app_id"]

    def test_what_is_missing_is_said(self, shared: Commands, tiny: Path, tmp_path: Path) -> None:
        def refused(text: str, *arguments: str) -> str:
            done = self.deploy(shared, written(tmp_path, text), *arguments)
            assert done.returncode == 2, done.stderr
            return done.stderr

        assert "name the app, here or as `name` in platformd.yaml" in refused("", "--binary", str(tiny))
        assert "--image IMAGE, --binary FILE or --artifact ID" in refused("name: x")
        assert "out/x is not there; build it" in refused("{name: x, build: {artifact_path: out/x}}")
        assert "give one of" in refused("name: x", "--image", "a", "--artifact", "b")
        assert "did you mean name?" in refused("nmae: x", "shop")

    def test_the_servers_judgement_is_told(self, shared: Commands, tiny: Path, tmp_path: Path) -> None:
        folder = written(tmp_path, "{name: judged, resources: {memory: plenty}}")
        done = self.deploy(shared, folder, "--binary", str(tiny))
        assert done.returncode == 1
        assert "/resources/memory" in done.stderr

    def test_an_artifact_and_an_image(self, shared: Commands, tiny: Path, tmp_path: Path) -> None:
        first = shared.json("deploy", "arty", "--binary", tiny)
        again = self.deploy(shared, tmp_path, "arty", "--artifact", first["spec"]["artifact_id"], "--json")
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["version"] == 2
        folder = written(tmp_path, "{name: arty, deploy: {image: 'busybox:1'}}")
        made = json.loads(self.deploy(shared, folder, "--no-wait", "--json").stdout)
        assert (made["spec"]["process_type"], made["spec"]["image"]) == ("docker", "busybox:1")
        shared("cancel", made["id"])
