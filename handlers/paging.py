"""From a list's query to the views' page. Pure."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from handlers.schemas import PageQuery
from platformd.views import Page


def page_of(query: PageQuery) -> Page:
    """The page asked for; newest first unless the query says how to sort."""
    sort_by: Any = getattr(query, "sort_by", UNSET)
    chosen = {"sort_by": sort_by} if sort_by is not UNSET else {}
    if query.sort_order is not UNSET:
        chosen["sort_order"] = query.sort_order
    return Page(page=query.page, page_size=query.page_size, **chosen)
