"""Bytes of artifacts on disk."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from platformd.artifacts import ArtifactFiles
from platformd.errors import Invalid, NoSpace

SCRIPT = b"#!/bin/sh\necho hello\n"


@pytest.fixture
def files(tmp_path: Path, no_leaks: None) -> ArtifactFiles:
    return ArtifactFiles(tmp_path / "artifacts")


def store(files: ArtifactFiles, content: bytes, **expected) -> tuple[str, int]:
    upload = files.open()
    for start in range(0, len(content), 1000):
        upload.write(content[start : start + 1000])
    return upload.finish(**expected)


def names(files: ArtifactFiles) -> list[str]:
    return sorted(path.name for path in files.path("x").parent.iterdir())


def test_an_upload_is_stored_under_its_digest_and_can_be_started(files):
    digest = hashlib.sha256(SCRIPT).hexdigest()
    assert store(files, SCRIPT, expected_length=len(SCRIPT), expected_sha256=digest.upper()) == (digest, 21)
    path = files.path(digest)
    assert path.read_bytes() == SCRIPT
    assert path.stat().st_mode & 0o777 == 0o555
    assert path.parent.stat().st_mode & 0o777 == 0o711
    assert subprocess.run([path], capture_output=True, check=True).stdout == b"hello\n"


def test_the_same_bytes_are_stored_once(files):
    threads = [threading.Thread(target=store, args=(files, SCRIPT * 100)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(files) == [hashlib.sha256(SCRIPT * 100).hexdigest()]


@pytest.mark.parametrize(
    ("expected", "pointers"),
    [
        ({"expected_length": 20}, ["/Content-Length"]),
        ({"expected_length": 22}, ["/Content-Length"]),
        ({"expected_sha256": "0" * 64}, ["/X-Content-SHA256"]),
        ({"expected_length": 0, "expected_sha256": "0" * 64}, ["/Content-Length", "/X-Content-SHA256"]),
    ],
)
def test_nothing_is_kept_of_what_does_not_match(files, expected, pointers):
    with pytest.raises(Invalid) as caught:
        store(files, SCRIPT, **expected)
    assert [fault.pointer for fault in caught.value.faults] == pointers
    assert names(files) == []


def test_an_aborted_upload_leaves_nothing(files):
    upload = files.open()
    upload.write(SCRIPT)
    assert len(names(files)) == 1
    upload.abort()
    upload.abort()
    assert names(files) == []


def test_what_a_killed_process_left_is_removed_at_the_start(files):
    digest, _ = store(files, SCRIPT)
    folder = files.path("x").parent
    (folder / ".upload-left").write_bytes(b"half")
    assert names(ArtifactFiles(folder)) == [digest]


def test_bytes_that_nobody_knows_are_swept(files):
    known, _ = store(files, SCRIPT)
    stray, _ = store(files, b"stray")
    young = datetime.now(UTC) - timedelta(days=1)
    assert files.sweep({known}, before=young) == 0, "it may be about to be recorded"
    half_done = files.open()
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert files.sweep({known}, before=later) == 1
    assert not files.path(stray).exists()
    assert len(names(files)) == 2
    half_done.abort()
    assert names(files) == [known]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (SCRIPT, "script"),
        (b"\x7fELF\x02\x01", "elf"),
        (b"#", "unknown"),
        (b"", "unknown"),
        (b"\x7fELK", "unknown"),
    ],
)
def test_kinds_are_told_by_the_first_bytes(files, content, kind):
    assert files.kind(store(files, content)[0]) == kind


def test_the_kind_of_missing_bytes_is_unknown(files):
    assert files.kind("0" * 64) == "unknown"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_keeps_nothing(files, monkeypatch, call):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    upload = files.open()
    monkeypatch.setattr(os, call, full)
    with pytest.raises(NoSpace):
        upload.write(SCRIPT)
        upload.finish()
    monkeypatch.undo()
    upload.abort()
    assert names(files) == []
