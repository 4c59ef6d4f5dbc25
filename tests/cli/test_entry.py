"""The command entry: commands are listed and loaded late, flags come from the table, wrong usage is exit 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
from click.testing import CliRunner

from platformd import __version__, cli
from platformd.__main__ import main
from platformd.cli.options import with_settings
from platformd.config import TABLE, Settings

BIN = Path(sys.executable).parent


def program(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "platformd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environ, timeout=30)


def test_version_and_help() -> None:
    assert program("--version").stdout == f"platformd, version {__version__}\n"
    shown = program("--help")
    assert shown.returncode == 0
    for name in ("serve", *cli.COMMANDS):
        assert f"\n  {name} " in shown.stdout


def test_serve_has_a_flag_for_each_setting() -> None:
    shown = CliRunner().invoke(main, ["serve", "--help"]).output
    for row in TABLE:
        assert f"\n  {row.flag} " in shown


def test_an_unknown_command_or_flag_is_wrong_usage() -> None:
    for arguments in (["sevre"], ["serve", "--prot", "1"], ["serve", "extra"], ["serve", "--port"]):
        done = program(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr


def test_bad_settings_are_wrong_usage_and_all_are_told() -> None:
    done = program("serve", "--port", "x", "--domain", "a b", PLATFORMD_LOG_LEVEL="loud")
    assert done.returncode == 2
    for part in ("--port: 'x'", "--domain: 'a b'", "PLATFORMD_LOG_LEVEL: 'loud'"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_are_loaded_only_when_asked_for() -> None:
    script = (
        "import sys; from platformd.__main__ import main\n"
        "main(['--version'], standalone_mode=False)\n"
        "late = {'platformd.app', 'platformd.cli.doctor', 'tornado', 'pykka', 'peewee', 'structlog', 'actors'}\n"
        "sys.exit(str(late & set(sys.modules)) if late & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_flags_reach_the_settings_and_other_options_the_command() -> None:
    seen: list[tuple[Settings, bool]] = []

    @click.command()
    @click.option("--loud", is_flag=True)
    @with_settings("port", "volume_root", "require_token", "data_dir")
    def command(settings: Settings, loud: bool) -> None:
        seen.append((settings, loud))

    arguments = ["--port", "5", "--volume-root", "/a", "--volume-root", "/b", "--no-require-token", "--loud"]
    environ = {"PLATFORMD_REQUIRE_TOKEN": "true", "PLATFORMD_DOMAIN": "example.com"}
    done = CliRunner().invoke(command, arguments, env=environ)
    assert done.exit_code == 0, done.output
    [(settings, loud)] = seen
    assert (settings.port, settings.volume_root, settings.require_token) == (
        5,
        (Path("/a"), Path("/b")),
        False,
    )
    assert settings.domain == "example.com"
    assert loud
    assert CliRunner().invoke(command, ["--domain", "x"]).exit_code == 2
