"""Jobs: a child's output is held within bounds, and nothing of it is left."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from platformd.builds.jobs import ChildFailed, Job, OutputTooLarge

ENV = {"PATH": "/usr/bin:/bin"}


def test_output_is_what_was_written(tmp_path: Path, no_leaks: None) -> None:
    job = Job("build", lambda lines: None)
    told = job.run(["/bin/echo", "hello"], env=ENV, cwd=tmp_path, quiet=True, largest_output=6)
    assert told == b"hello\n"


def test_a_program_and_what_it_starts_may_allocate_so_much(tmp_path: Path, no_leaks: None) -> None:
    job = Job("build", lambda lines: None)
    hungry = f"{sys.executable} -c 'bytes(256 << 20)'"
    for command in (hungry, f"{hungry}; exit $?"):
        argv = ["/bin/sh", "-c", command]
        job.run(argv, env=ENV, cwd=tmp_path, most_memory=512 << 20)
        with pytest.raises(ChildFailed) as failed:
            job.run(argv, env=ENV, cwd=tmp_path, most_memory=128 << 20)
        assert failed.value.last_lines[-1] == "MemoryError"


def test_a_program_that_writes_for_ever_is_ended(tmp_path: Path, no_leaks: None) -> None:
    job = Job("build", lambda lines: None)
    endless = [sys.executable, "-c", "import sys\nwhile True: sys.stdout.write('x' * 65536)"]
    with pytest.raises(OutputTooLarge):
        job.run(endless, env=ENV, cwd=tmp_path, quiet=True, largest_output=1 << 20)
