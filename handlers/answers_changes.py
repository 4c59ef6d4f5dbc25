"""Answers about where an environment's address leads. See `handlers.answers`."""

from __future__ import annotations

from handlers.answers import Answer


class Released(Answer):
    """`released` is false when the environment was not held."""

    environment_slug: str
    released: bool
