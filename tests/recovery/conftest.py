"""What recovery tests share: the real server of the end-to-end tests and their small app."""

from __future__ import annotations

from tests.e2e.conftest import common, data_dir, platform, server, tiny

__all__ = ["common", "data_dir", "platform", "server", "tiny"]
