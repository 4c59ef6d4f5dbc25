"""The commands of the `platformd` program, each loaded only when it is asked for.

`COMMANDS` maps the name of a command, or of a group of them, to `module:attribute` of its click command. The
order is that of `platformd --help`. Called by `platformd.__main__`; single-threaded.
"""

from __future__ import annotations

COMMANDS: dict[str, str] = {
    "demo": "platformd.cli.demo:demo",
    "apps": "platformd.cli.apps:apps",
    "env": "platformd.cli.configuration:env",
    "domains": "platformd.cli.configuration:domains",
    "source": "platformd.cli.builds:source",
    "builds": "platformd.cli.builds:builds",
    "deploy": "platformd.cli.deploy:deploy",
    "ps": "platformd.cli.deployments:ps",
    "status": "platformd.cli.deployments:status",
    "logs": "platformd.cli.logs:logs",
    "scale": "platformd.cli.deployments:scale",
    "wake": "platformd.cli.deployments:wake",
    "sleep": "platformd.cli.deployments:sleep",
    "keep-awake": "platformd.cli.deployments:keep_awake",
    "restart": "platformd.cli.deployments:restart",
    "promote": "platformd.cli.deploy:promote",
    "rollback": "platformd.cli.deploy:rollback",
    "release": "platformd.cli.deploy:release",
    "cancel": "platformd.cli.deployments:cancel",
    "events": "platformd.cli.events:events",
    "actors": "platformd.cli.actors:actors",
    "token": "platformd.cli.tokens:token",
    "backup": "platformd.cli.backup:backup",
    "restore": "platformd.cli.backup:restore",
    "doctor": "platformd.cli.doctor:doctor",
    "bench": "platformd.cli.bench.command:bench",
    "completion": "platformd.cli.completion:completion",
}
