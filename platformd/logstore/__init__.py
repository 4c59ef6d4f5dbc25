"""Task output as readers see it; the keeper is its only writer.

`LogStore` reads, and removes what nobody writes to any more. Any thread; each call opens and closes what it needs.
"""

from platformd.logstore.entries import Entry, Stream
from platformd.logstore.store import LogStore

__all__ = ["Entry", "LogStore", "Stream"]
