"""Queries about webhooks. See `schemas`."""

from __future__ import annotations

from typing import Literal

from handlers.schemas import PageQuery


class DeliveriesQuery(PageQuery):
    sort_by: Literal["received_at"] = "received_at"
