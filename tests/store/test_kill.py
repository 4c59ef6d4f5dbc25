"""kill -9 of a process that writes: what it acknowledged is there."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from platformd.store import Store

WRITER = """
import sys, threading
from dataclasses import replace
from pathlib import Path
from platformd import clock
from platformd.store import CreateApp, CreateDeployment, SaveDeployment, Store
from platformd.domain.spec import DeploymentSpec

store = Store.open(Path(sys.argv[1]))
now = clock.now()
name = "app-" + sys.argv[2]
app = store.commit(CreateApp(name=name, domain="test", at=now)).result(20)
out = threading.Lock()

def say(line):
    with out:
        sys.stdout.write(line + "\\n")
        sys.stdout.flush()

def work():
    while True:
        create = CreateDeployment(
            app_id=app.id, environment="development", spec=DeploymentSpec(), domain="test", at=now, steady=now
        )
        made = store.commit(create).result(20)
        say(f"{made.id} 1")
        for revision in (2, 3):
            saved = store.commit(SaveDeployment(replace(made, revision=revision))).result(20)
            say(f"{made.id} {revision}")

for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
threading.Event().wait()
"""

COUNTS = """
SELECT count(*), max(version), (SELECT versions FROM apps WHERE id = ?1) FROM deployments WHERE app_id = ?1
"""


def killed_after(data_dir: Path, round: int, lines: int) -> dict[str, int]:
    """Let it acknowledge `lines` writes, kill it, and return the last acknowledged revision of each deployment."""
    command = [sys.executable, "-c", WRITER, str(data_dir), str(round)]
    acknowledged: dict[str, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for count, line in enumerate(process.stdout, start=1):
            if not line.endswith("\n"):
                break
            id, revision = line.split()
            acknowledged[id] = int(revision)
            if count == lines:
                process.kill()
        assert process.wait(20) == -9
    return acknowledged


@pytest.mark.timeout(120)
def test_everything_acknowledged_survives_kill_9(tmp_path):
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {}
    for round in range(8):
        acknowledged |= killed_after(tmp_path, round, chance.randrange(1, 400))
        store = Store.open(tmp_path)
        stored = {deployment.id: deployment.revision for deployment in store.deployments()}
        lost = {id: revision for id, revision in acknowledged.items() if stored.get(id, 0) < revision}
        assert not lost, f"seed {seed}, round {round}"
        for app_id in {deployment.identity.app_id for deployment in store.deployments()}:
            assert len(set(store.reader.row(COUNTS, app_id))) == 1, f"seed {seed}: a gap in the versions"
        assert store.reader.row("PRAGMA integrity_check") == ("ok",)
        store.close()
