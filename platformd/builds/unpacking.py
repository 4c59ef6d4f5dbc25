"""An uploaded tree: from a tar archive, compressed or not, to files. Used in jobs.

The same rules hold as for a commit's tree: nothing lies or leads outside, nothing is larger than allowed, and what is
no file, folder or link is not made.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from pathlib import Path

from platformd.builds import listing
from platformd.builds.jobs import Job, WorkRefused


def unpack(job: Job, archive: Path, tree: Path, limit: int) -> None:
    """WorkRefused for what is no tar archive, or holds what must not be; the tree is then not complete."""
    try:
        with tarfile.open(archive) as tar:
            _unpack(job, tar, tree, limit)
    except (listing.Unsafe, tarfile.FilterError) as error:
        raise WorkRefused("SOURCE_UNSAFE", f"{error}; take it out of the archive") from None
    except listing.Excess as error:
        raise WorkRefused(
            "SOURCE_TOO_LARGE", f"{error}; make it smaller or raise --build-source-limit"
        ) from None
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise WorkRefused("SOURCE_INVALID", f"the uploaded tree cannot be unpacked: {error}") from None


def _unpack(job: Job, tar: tarfile.TarFile, tree: Path, limit: int) -> None:
    total = count = 0
    for member in tar:
        job.check()
        path = member.name.removeprefix("./").rstrip("/")
        if path in ("", "."):
            continue
        total, count = total + max(0, member.size), count + 1
        if total > limit or count > listing.MOST_ENTRIES:
            raise listing.Excess(f"the tree has more than {limit} bytes or {listing.MOST_ENTRIES} entries")
        listing.check_path(path)
        if member.issym():
            listing.check_links({path: member.linkname})
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise listing.Unsafe(f"{listing.shown(path)} is neither file, folder nor link")
        tar.extract(member, tree, set_attrs=True, filter="data")
