"""Which requests wake nothing. Called by `server` for deployments that have such rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from platformd.gateway.protocol import NoWake

_USER_AGENT = re.compile(rb"^user-agent:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


def wakes_nothing(rules: Iterable[NoWake], target: bytes, headers: bytes) -> bool:
    """True when one of `rules` fits: the target begins with its path and a User-Agent among the header lines contains
    what it names, in any case."""
    return any(
        target.startswith(rule.path.encode()) and (not rule.user_agent or _is_from(rule.user_agent, headers))
        for rule in rules
    )


def _is_from(user_agent: str, headers: bytes) -> bool:
    sought = user_agent.encode()
    return any(sought in said.lower() for said in _USER_AGENT.findall(headers))
