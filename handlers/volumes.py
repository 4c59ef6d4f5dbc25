"""Which of the machine's folders a deployment may name, by their spelling alone; links are resolved at each start.

Called by `handlers.specs`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import PurePath, PurePosixPath


@dataclass(frozen=True, slots=True)
class VolumeRule:
    """Folders under a root are allowed; those of the data directory beside its `volumes` never are."""

    roots: tuple[PurePath, ...]
    data_dir: PurePath

    @classmethod
    @cache
    def of(cls, data_dir: PurePath, volume_roots: tuple[PurePath, ...]) -> VolumeRule:
        """The rule for a data directory and the operator's further roots."""
        return cls((PurePosixPath("/data"), data_dir / "volumes", *volume_roots), data_dir)

    def refusal(self, host_path: str) -> str | None:
        """Why `host_path` may not be used, or None."""
        path = PurePosixPath(host_path)
        if ".." in path.parts:
            return f"must not contain '..': {host_path!r}"
        if not any(path.is_relative_to(root) for root in self.roots):
            return f"must be under {', '.join(map(str, self.roots))}, not {host_path!r}"
        if self.data_dir.is_relative_to(path):
            return f"must not contain platformd's own data directory: {host_path!r}"
        if path.is_relative_to(self.data_dir) and not path.is_relative_to(self.data_dir / "volumes"):
            return f"must not be in platformd's own data directory outside its volumes: {host_path!r}"
        return None
