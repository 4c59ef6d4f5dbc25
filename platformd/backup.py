"""Backups: one archive with the database, the key of its secrets and the bytes of its artifacts, and the way back.

Called by the commands `backup` (also while a server runs) and `restore` (only while none does). Blocks; one thread.
The archive is a tar file: `manifest.json` first, then `platformd.db`, `keys/secrets.key`, `artifacts/<sha256>`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformd import __version__, clock, datadir
from platformd.durable import sync_folder
from platformd.errors import NotFound, PlatformError
from platformd.secrets import KEY_FILE
from platformd.store import copying

FORMAT = 1
DATABASE = "platformd.db"
MANIFEST = "manifest.json"
ASIDE = ".before-restore"
_FILE_MODE = 0o555
_CHUNK = 1 << 20


class BackupUnusable(PlatformError):
    """The file is no backup, is damaged, or is of a newer release; nothing was changed."""

    code = "BACKUP_UNUSABLE"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup has: `missing` are artifacts whose bytes it lacks."""

    artifacts: int
    missing: tuple[str, ...]
    created_at: str
    release: str


def back_up(data_dir: Path, database: Path, file: Path, *, with_artifacts: bool = True) -> Contents:
    """Write a complete archive under its name, or none. Conflict where there is nothing to copy."""
    if not database.exists():
        raise NotFound(f"there is no database {database}; is --data-dir right?", code="NO_DATABASE")
    with tempfile.TemporaryDirectory(prefix=".platformd-backup-", dir=file.resolve().parent) as folder:
        copied = Path(folder) / DATABASE
        copying.copy(database, copied)
        artifacts = copying.artifacts_of(copied)
        stored = {sha256: data_dir / "artifacts" / sha256 for sha256 in artifacts}
        included = {sha256 for sha256, path in stored.items() if with_artifacts and path.exists()}
        manifest = {
            "format": FORMAT,
            "platformd": __version__,
            "schema": copying.schema_of(copied),
            "created_at": clock.now().isoformat(timespec="seconds"),
            "database_sha256": _digest(copied),
            "artifacts": [{"sha256": sha256, "included": sha256 in included} for sha256 in sorted(artifacts)],
        }
        unfinished = Path(folder) / "archive"
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            with tarfile.open(fileobj=out, mode="w") as archive:
                _add_bytes(archive, MANIFEST, json.dumps(manifest, indent=1).encode())
                archive.add(copied, DATABASE)
                if (data_dir / KEY_FILE).exists():
                    archive.add(data_dir / KEY_FILE, str(KEY_FILE))
                for sha256 in sorted(included):
                    archive.add(stored[sha256], f"artifacts/{sha256}")
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(file)
    sync_folder(file.resolve().parent)
    return _contents(manifest)


def restore(file: Path, data_dir: Path, database: Path) -> Contents:
    """Make `data_dir` what it was when `file` was written. What was there is kept beside it, named `.before-restore`.

    Conflict DATA_DIRECTORY_HELD, naming the server that holds it; `BackupUnusable`, and then nothing was changed.
    """
    datadir.prepare(data_dir)
    with datadir.Lock(data_dir), _opened(file) as archive:
        manifest = _manifest(archive, file)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=data_dir) as folder:
            new = Path(folder) / DATABASE
            _extract(archive, DATABASE, new, manifest["database_sha256"], file)
            copying.check(new)
            key = _member(archive, str(KEY_FILE))
            if key is not None:
                _extract(archive, str(KEY_FILE), Path(folder) / "key", None, file)
            _restore_artifacts(archive, manifest, data_dir / "artifacts", Path(folder), file)
            if key is not None:
                _put(Path(folder) / "key", data_dir / KEY_FILE)
            copying.settle(database)
            _put(new, database)
    return _contents(manifest)


def _restore_artifacts(
    archive: tarfile.TarFile, manifest: Any, artifacts: Path, folder: Path, file: Path
) -> None:
    for artifact in manifest["artifacts"]:
        sha256 = artifact["sha256"]
        if artifact["included"] and not (artifacts / sha256).exists():
            _extract(archive, f"artifacts/{sha256}", folder / sha256, sha256, file)
            (folder / sha256).chmod(_FILE_MODE)
            (folder / sha256).replace(artifacts / sha256)
    sync_folder(artifacts)


def _put(new: Path, place: Path) -> None:
    """`new` at `place`; what was there stays beside it. Killed at any instant there is the old or the new."""
    if place.exists():
        aside = place.with_name(place.name + ASIDE)
        aside.unlink(missing_ok=True)
        aside.hardlink_to(place)
    new.replace(place)
    sync_folder(place.parent)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, "r:") as archive:
            yield archive
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}", code="BACKUP_NOT_FOUND") from None
    except (tarfile.TarError, EOFError) as error:
        raise BackupUnusable(f"{file} is no backup, or is cut off ({error}); nothing was changed") from error


def _manifest(archive: tarfile.TarFile, file: Path) -> Any:
    member = _member(archive, MANIFEST)
    content = archive.extractfile(member) if member else None
    try:
        manifest = json.load(content) if content else None
    except ValueError:
        manifest = None
    if (
        not isinstance(manifest, dict)
        or not {"format", "schema", "database_sha256", "artifacts"} <= manifest.keys()
    ):
        raise BackupUnusable(f"{file} is no backup of platformd; nothing was changed")
    if manifest["format"] > FORMAT or manifest["schema"] > copying.latest_schema():
        raise BackupUnusable(
            f"{file} was written by platformd {manifest.get('platformd')} (schema {manifest['schema']}); this is "
            f"{__version__}, which knows schemas up to {copying.latest_schema()}: restore it with that release"
        )
    return manifest


def _member(archive: tarfile.TarFile, name: str) -> tarfile.TarInfo | None:
    with contextlib.suppress(KeyError):
        member = archive.getmember(name)
        return member if member.isreg() else None
    return None


def _extract(
    archive: tarfile.TarFile, name: str, place: Path, expected_sha256: str | None, file: Path
) -> None:
    """The bytes of one member as a private file, durable; its owner and mode are not taken from the archive."""
    member = _member(archive, name)
    source = archive.extractfile(member) if member else None
    if source is None:
        raise BackupUnusable(f"{file} lacks {name}; nothing was changed")
    digest = hashlib.sha256()
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if expected_sha256 not in (None, digest.hexdigest()):
        raise BackupUnusable(f"{name} in {file} is damaged; nothing was changed")


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _contents(manifest: Any) -> Contents:
    missing = tuple(artifact["sha256"] for artifact in manifest["artifacts"] if not artifact["included"])
    return Contents(
        artifacts=len(manifest["artifacts"]) - len(missing),
        missing=missing,
        created_at=manifest["created_at"],
        release=manifest["platformd"],
    )
