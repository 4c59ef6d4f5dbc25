"""The commands of the `platformd` program, each loaded only when it is asked for.

`COMMANDS` maps the name of a command, or of a group of them, to `module:attribute` of its click command. The
order is that of `platformd --help`. Called by `platformd.__main__`; single-threaded.
"""

from __future__ import annotations

COMMANDS: dict[str, str] = {
    "doctor": "platformd.cli.doctor:doctor",
}
