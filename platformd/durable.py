"""Making names on disk durable: what is renamed into a folder is there after a crash once the folder is synced.

Called by whoever writes files of the data directory, from any thread; blocks.
"""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; OSError when the disk cannot."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
