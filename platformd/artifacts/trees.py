"""Trees that were sent for builds, as archives: kept under their digests for as long as a build needs them.

Called by the handler that takes them, on the loop's thread, and by who tidies up, on any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from threading import Lock

from platformd.artifacts.files import ArtifactFiles

TREES_MODE = 0o700


class SentTrees(ArtifactFiles):
    """`wanted()` are the digests of the trees that builds still need, by their rows."""

    def __init__(self, folder: Path, wanted: Callable[[], Collection[str]]) -> None:
        super().__init__(folder)
        folder.chmod(TREES_MODE)
        self._wanted = wanted
        self._arriving: set[object] = set()
        self._lock = Lock()

    def expect(self) -> Callable[[], None]:
        """Before a tree is sent: nothing is removed until its sender calls what is returned, once the row of its build
        is written or will never be."""
        arriving = object()
        with self._lock:
            self._arriving.add(arriving)
        return lambda: self._arriving.discard(arriving)

    def tidy(self) -> int:
        """Remove what no build needs; how many there were. None while one is arriving: it may be the same again."""
        with self._lock:
            if self._arriving:
                return 0
            present = self.present()
            wanted = self._wanted() if present else ()
            spare = [self.set_aside(sha256) for sha256 in present if sha256 not in wanted]
        for free in spare:
            free()
        return len(spare)
