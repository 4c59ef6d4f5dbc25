"""An uploaded tree: what comes out of an archive, and what must not."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from platformd.builds.jobs import Job, WorkEnded, WorkRefused
from platformd.builds.unpacking import unpack

LIMIT = 1 << 20


def member(name: str, type: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size, found.mode = type, link, size, 0o755
    return found


def archive(folder: Path, *members: tarfile.TarInfo, compression: str = "gz") -> Path:
    path = folder / "tree.tar"
    with tarfile.open(path, f"w:{compression}") as tar:
        for each in members:
            tar.addfile(each, io.BytesIO(b"x" * each.size))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "builds" / "tree"
    folder.mkdir(parents=True)
    return folder


def job() -> Job:
    return Job("build", lambda lines: None)


@pytest.mark.parametrize("compression", ["", "gz", "xz"])
def test_files_folders_and_links_within_come_out(tmp_path, tree, compression):
    packed = archive(
        tmp_path,
        member("./", tarfile.DIRTYPE),
        member("./src", tarfile.DIRTYPE),
        member("./src/run.sh", size=3),
        member("./run", tarfile.SYMTYPE, "src/run.sh"),
        compression=compression,
    )
    unpack(job(), packed, tree, LIMIT)
    assert (tree / "run").read_bytes() == b"xxx"
    assert (tree / "src" / "run.sh").stat().st_mode & 0o100


@pytest.mark.parametrize(
    "hostile",
    [
        member("../out", size=1),
        member("/etc/out", size=1),
        member("a/../../out", size=1),
        member(".git/config", size=1),
        member("link", tarfile.SYMTYPE, "../../out"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.LNKTYPE, "../../out"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda found: f"{found.type.decode()}-{found.name}",
)
def test_what_leads_out_or_is_no_file_is_refused(tmp_path, tree, hostile):
    with pytest.raises(WorkRefused) as caught:
        unpack(job(), archive(tmp_path, member("fine", size=1), hostile), tree, LIMIT)
    assert caught.value.reason.code == "SOURCE_UNSAFE"
    assert {path.name for path in tmp_path.iterdir()} == {"builds", "tree.tar"}
    assert {path.name for path in tree.iterdir()} <= {"fine"}


def test_a_file_written_through_a_link_stays_within(tmp_path, tree):
    through = archive(tmp_path, member("link", tarfile.SYMTYPE, "elsewhere"), member("link/file", size=1))
    with pytest.raises(WorkRefused):
        unpack(job(), through, tree, LIMIT)


def test_more_than_the_limit_and_no_archive_at_all_are_refused(tmp_path, tree):
    with pytest.raises(WorkRefused) as caught:
        unpack(job(), archive(tmp_path, member("a", size=LIMIT), member("b", size=1)), tree, LIMIT)
    assert caught.value.reason.code == "SOURCE_TOO_LARGE"
    (tmp_path / "tree.tar").write_bytes(b"no archive")
    with pytest.raises(WorkRefused) as caught:
        unpack(job(), tmp_path / "tree.tar", tree, LIMIT)
    assert caught.value.reason.code == "SOURCE_INVALID"


def test_it_stops_when_it_is_ended(tmp_path, tree):
    ended = job()
    ended.end()
    with pytest.raises(WorkEnded):
        unpack(ended, archive(tmp_path, member("a", size=1)), tree, LIMIT)
