"""Trees that were sent for builds: there while a build needs them or one arrives, gone afterwards."""

from __future__ import annotations

from pathlib import Path

from platformd.artifacts import SentTrees


def put(trees: SentTrees, content: bytes) -> str:
    upload = trees.open()
    upload.write(content)
    return upload.finish()[0]


def test_what_no_build_needs_goes_and_the_rest_stays(tmp_path: Path) -> None:
    wanted: set[str] = set()
    trees = SentTrees(tmp_path / "trees", lambda: wanted)
    needed, stray = put(trees, b"needed"), put(trees, b"stray")
    wanted.add(needed)
    assert trees.tidy() == 1
    assert trees.present() == [needed] and not trees.path(stray).exists()
    wanted.clear()
    assert trees.tidy() == 1
    assert list((tmp_path / "trees").iterdir()) == []


def test_nothing_goes_while_one_arrives(tmp_path: Path) -> None:
    trees = SentTrees(tmp_path / "trees", set)
    first, second = trees.expect(), trees.expect()
    sha256 = put(trees, b"the row of its build is not written yet")
    first()
    first()
    assert trees.tidy() == 0 and trees.present() == [sha256]
    second()
    assert trees.tidy() == 1 and trees.present() == []
