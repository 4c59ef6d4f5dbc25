"""What a build command left behind: found in its tree, checked, stored under its digest. Used in jobs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from platformd.artifacts import ArtifactFiles
from platformd.builds.jobs import Job, WorkRefused

_PIECE = 1 << 20


def store(
    job: Job, tree: Path, root_dir: str | None, path: str, files: ArtifactFiles, limit: int
) -> tuple[str, int]:
    """(sha256, size) of the executable at `path`, kept in `files`. The command has ended, and all it had started:
    nobody moves anything here."""
    found = Path(os.path.realpath(tree / (root_dir or "") / path))
    if not found.is_relative_to(os.path.realpath(tree)):
        raise WorkRefused("ARTIFACT_UNSAFE", f"{path!r} leads out of the tree, to {str(found)!r}")
    try:
        descriptor = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise WorkRefused(
            "ARTIFACT_MISSING",
            f"the command succeeded but left no {path!r} ({error.strerror}); check build.artifact_path",
        ) from None
    with open(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise WorkRefused("ARTIFACT_INVALID", f"{path!r} is no file; name one in build.artifact_path")
        if about.st_size > limit:
            raise WorkRefused(
                "ARTIFACT_TOO_LARGE", f"{path!r} has {about.st_size} bytes, at most {limit} are taken"
            )
        upload = files.open()
        try:
            while piece := file.read(_PIECE):
                job.check()
                upload.write(piece)
        except BaseException:
            upload.abort()
            raise
    sha256, size = upload.finish()
    if files.kind(sha256) == "unknown":
        files.set_aside(sha256)()
        message = f"{path!r} is no native executable: it begins neither as ELF nor with #!"
        raise WorkRefused("ARTIFACT_INVALID", message)
    return sha256, size
