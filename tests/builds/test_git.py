"""From a real repository behind a real git server to a tree, and what must not come of a hostile one."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from platformd.builds import Places
from platformd.builds.git import Git, Origin
from platformd.builds.jobs import MARKER, Job, WorkEnded, WorkRefused, end_orphans
from platformd.domain.snapshot import Commit
from tests.git_host import GitHost, Repository, git
from tests.support import eventually

TOKEN = "ghs_secret"
MIB = 1 << 20


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    with GitHost(tmp_path_factory.mktemp("git"), TOKEN).serving() as serving:
        yield serving


@pytest.fixture
def repository(host: GitHost, request: pytest.FixtureRequest) -> Repository:
    return host.repository(f"octo/{request.node.name.replace('[', '-').replace(']', '')}")


class Desk:
    """A place to check out at, and what was said there."""

    def __init__(self, folder: Path, host: GitHost, limit: int = 8 * MIB, memory: int = 512 * MIB) -> None:
        self.places, self.host = Places(folder, None, set), host
        self.git = Git(self.places, limit, memory)
        self.lines: list[str] = []
        self.number = 0
        self.job = Job("none", self.lines.extend)

    def check_out(
        self, repository: Repository, branch: str | None = "main", ref: str | None = None, token: str = TOKEN
    ) -> Commit:
        self.number += 1
        self.job = Job(f"build-{self.number}", self.lines.extend)
        self.places.begin(self.job.build_id)
        origin = Origin(base=self.host.url, repository=repository.name, token=token)
        return self.git.check_out(self.job, "app", origin, branch=branch, ref=ref, found=lambda commit: None)

    @property
    def tree(self) -> Path:
        return self.places.tree(self.job.build_id)

    def refused(self, repository: Repository, **how) -> WorkRefused:
        with pytest.raises(WorkRefused) as caught:
            self.check_out(repository, **how)
        return caught.value


@pytest.fixture
def desk(tmp_path: Path, host: GitHost) -> Desk:
    return Desk(tmp_path, host)


def test_the_head_of_a_branch_with_its_author_and_message(desk, repository):
    repository.commit({"a.txt": "first"})
    sha = repository.commit({"a.txt": "second", "run.sh": "#!/bin/sh\n"}, "Say more\n\nAnd why.")
    commit = desk.check_out(repository)
    assert commit == Commit(sha=sha, author="Ada Lovelace <ada@example.com>", message="Say more\n\nAnd why.")
    assert (desk.tree / "a.txt").read_text() == "second"
    assert os.access(desk.tree / "run.sh", os.X_OK)
    assert not (desk.tree / ".git").exists()
    assert not (desk.places.work(desk.job.build_id) / "git").exists()


def test_a_commit_a_tag_a_branch_and_a_short_commit(desk, repository):
    first = repository.commit({"a.txt": "first"})
    git("tag", "v1", cwd=repository.work)
    git("push", "-q", str(repository.bare), "v1", cwd=repository.work)
    repository.commit({"a.txt": "second"})
    repository.commit({"a.txt": "third"}, branch="other")
    for ref, text in ((first, "first"), ("v1", "first"), ("other", "third"), (first[:10], "first")):
        desk.check_out(repository, branch=None, ref=ref)
        assert (desk.tree / "a.txt").read_text() == text


def test_what_is_not_there_is_named(desk, repository):
    repository.commit({"a.txt": "first"})
    assert desk.refused(repository, branch="gone").reason.code == "SOURCE_REF_NOT_FOUND"
    assert desk.refused(repository, ref="v9").reason.code == "SOURCE_REF_NOT_FOUND"
    assert desk.refused(repository, ref="f" * 40).reason.code == "SOURCE_REF_NOT_FOUND"
    assert desk.refused(repository, ref="abcdef12").reason.code == "SOURCE_REF_NOT_FOUND"


def test_a_wrong_token_and_a_missing_repository_tell_themselves_apart(desk, repository, tmp_path):
    repository.commit({"a.txt": "first"})
    refused = desk.refused(repository, token="ghs_mistaken")
    assert refused.reason.code == "SOURCE_UNAUTHORIZED"
    assert "ghs_mistaken" not in str(refused.reason)
    missing = Repository(tmp_path / "elsewhere", "octo/none")
    assert desk.refused(missing).reason.code == "SOURCE_NOT_FOUND"


def test_a_server_that_is_not_there_is_unavailable(tmp_path, host, repository):
    desk = Desk(tmp_path, host)
    origin = Origin(base="http://127.0.0.1:9", repository="octo/none", token=TOKEN)
    job = Job("build", desk.lines.extend)
    desk.places.begin("build")
    with pytest.raises(WorkRefused) as caught:
        desk.git.check_out(job, "app", origin, branch="main", ref=None, found=lambda commit: None)
    assert caught.value.reason.code == "SOURCE_UNAVAILABLE"


def test_the_token_is_in_no_argument_and_in_no_line(desk, repository, host):
    repository.commit({"a.txt": "first"})
    host.gate.clear()
    host.waiting.clear()
    seen: list[list[str]] = []

    def look() -> None:
        host.waiting.wait(20)
        for process in psutil.process_iter():
            try:
                seen.append(process.cmdline())
            except psutil.Error:
                continue
        host.gate.set()

    looking = threading.Thread(target=look)
    looking.start()
    desk.check_out(repository)
    looking.join()
    assert any("fetch" in words for words in seen)
    assert not any(TOKEN in word for words in seen for word in words)
    assert not any(TOKEN in line for line in desk.lines)


def test_nothing_of_the_users_configuration_or_of_the_repository_is_run(
    desk, repository, tmp_path, monkeypatch
):
    """Filters and hooks are defined where git would look for them, and named by the repository."""
    trap = tmp_path / "trapped"
    home = tmp_path / "home"
    hooks = home / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "post-index-change", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {trap}\n")
        (hooks / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[filter "evil"]\n\tsmudge = touch {trap}\n\tprocess = touch {trap}\n\trequired = true\n'
        f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = touch {trap}\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    repository.commit({".gitattributes": "* filter=evil\n", "a.txt": "as it is\n", ".lfsconfig": "[lfs]\n"})
    desk.check_out(repository)
    assert (desk.tree / "a.txt").read_text() == "as it is\n"
    assert not trap.exists()


def test_a_link_within_the_tree_is_made_and_one_out_of_it_is_refused(desk, repository):
    (repository.work / "folder").mkdir()
    (repository.work / "folder" / "in").symlink_to("../a.txt")
    repository.commit({"a.txt": "first"})
    desk.check_out(repository)
    assert (desk.tree / "folder" / "in").read_text() == "first"
    for target in ("../../outside", "/etc", "../.."):
        (repository.work / "folder" / "out").unlink(missing_ok=True)
        (repository.work / "folder" / "out").symlink_to(target)
        repository.commit({})
        refused = desk.refused(repository)
        assert refused.reason.code == "SOURCE_UNSAFE"
        assert "folder/out" in refused.reason.message
        assert list(desk.tree.iterdir()) == []


def tree_with(repository: Repository, name: bytes) -> None:
    """A commit whose tree has a folder of this name, which git itself would not make."""
    blob = git("hash-object", "-w", "--stdin", cwd=repository.work, input=b"planted")
    inner = b"100644 planted\0" + bytes.fromhex(blob)
    folder = git(
        "hash-object", "-w", "-t", "tree", "--literally", "--stdin", cwd=repository.work, input=inner
    )
    outer = b"40000 " + name + b"\0" + bytes.fromhex(folder)
    root = git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", cwd=repository.work, input=outer)
    commit = git("commit-tree", root, "-m", "hostile", cwd=repository.work)
    git("push", "-q", "-f", str(repository.bare), f"{commit}:refs/heads/main", cwd=repository.work)


@pytest.mark.parametrize("name", [b"..", b".git", b".GIT", b"."], ids=["up", "git", "GIT", "here"])
def test_names_that_lead_elsewhere_are_refused_and_nothing_is_written(desk, repository, tmp_path, name):
    repository.commit({"a.txt": "first"})
    tree_with(repository, name)
    assert desk.refused(repository).reason.code == "SOURCE_UNSAFE"
    assert list(desk.tree.iterdir()) == []
    assert not list(tmp_path.rglob("planted"))


def test_a_tree_beyond_the_limit_is_refused_before_any_of_it_is_written(tmp_path, host, repository):
    desk = Desk(tmp_path, host, limit=MIB)
    repository.commit({"zeros": b"\0" * (3 * MIB)})  # little to fetch, much to write
    refused = desk.refused(repository)
    assert refused.reason.code == "SOURCE_TOO_LARGE"
    assert list(desk.tree.iterdir()) == []


def test_a_fetch_beyond_the_limit_is_cut_off(tmp_path, host, repository):
    desk = Desk(tmp_path, host, limit=MIB)
    repository.commit({"noise": os.urandom(4 * MIB)})
    assert desk.refused(repository).reason.code == "SOURCE_TOO_LARGE"
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert written < 2 * MIB


def test_what_git_would_need_too_much_memory_for_is_refused(tmp_path, host, repository):
    """A commit is held as a whole, however little it is on its way."""
    desk = Desk(tmp_path, host, memory=64 * MIB)
    repository.commit({"a.txt": "first", "large": b"\0" * (4 * MIB)})
    desk.check_out(repository)
    tree = git("rev-parse", "HEAD^{tree}", cwd=repository.work)
    who = "Ada <ada@example.com> 1700000000 +0000"
    head = f"tree {tree}\nauthor {who}\ncommitter {who}\n\n".encode()
    content = head + b"a" * (128 * MIB)
    commit = git("hash-object", "-w", "-t", "commit", "--stdin", cwd=repository.work, input=content)
    git("push", "-q", "-f", str(repository.bare), f"{commit}:refs/heads/main", cwd=repository.work)
    refused = desk.refused(repository)
    assert refused.reason.code == "SOURCE_TOO_LARGE"
    assert "--build-memory" in refused.reason.message
    repository.commit({"a.txt": "second"}, branch="other")
    desk.check_out(repository, branch="other")


def test_a_submodule_is_left_out_and_said_so(desk, repository):
    sha = repository.commit({"a.txt": "first"})
    git("update-index", "--add", "--cacheinfo", f"160000,{sha},vendored", cwd=repository.work)
    git("commit", "-q", "-m", "vendor", cwd=repository.work)
    repository.push()
    desk.check_out(repository)
    assert not (desk.tree / "vendored" / "a.txt").exists()
    assert "submodule 'vendored' is left out" in desk.lines


def test_the_mirror_is_used_again_whatever_a_killed_git_left_locked(desk, repository):
    repository.commit({"a.txt": "first"})
    desk.check_out(repository)
    (desk.places.mirror("app") / "shallow.lock").touch()
    (desk.places.mirror("app") / "objects" / "pack" / "tmp_pack_x").touch()
    repository.commit({"a.txt": "second"})
    desk.check_out(repository)
    assert (desk.tree / "a.txt").read_text() == "second"


def marked(build_id: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == build_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_an_ended_fetch_leaves_no_process(desk, repository, host):
    repository.commit({"a.txt": "first"})
    host.gate.clear()
    host.waiting.clear()

    def end() -> None:
        host.waiting.wait(20)
        assert marked("build-1")
        desk.job.end()

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(WorkEnded):
        desk.check_out(repository)
    ending.join()
    assert eventually(lambda: not marked("build-1"))
    host.gate.set()
    with pytest.raises(WorkEnded):
        desk.job.run(["true"], env={}, cwd=desk.places.work("build-1"))


def test_what_a_killed_server_left_running_is_found_by_its_marker():
    command = ["/bin/sh", "-c", "setsid sleep 600 & sleep 600"]
    with subprocess.Popen(command, env={MARKER: "lost", "PATH": os.environ["PATH"]}):
        eventually(lambda: len(marked("lost")) >= 2)
        end_orphans("lost")
    assert not marked("lost")
