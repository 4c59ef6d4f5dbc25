"""Settings: one table as data, read once at start into a frozen object. Flag > environment > file > default.

Each field of `Settings` carries how it is read and what it means; the command line, the environment's names,
the keys of the file, the documents and the tests derive from `TABLE`. `load` is called by the command entry
before any thread starts; the result is immutable and may be read from anywhere.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import urlsplit

from platformd import setting_kinds as kind

ENV_PREFIX = "PLATFORMD_"
CONFIG_FLAG = "config"


class SettingsError(Exception):
    """The settings cannot be used; the message has one line for each fault."""


@dataclass(frozen=True, slots=True)
class About:
    """What a field of `Settings` is annotated with: how its values are read, and what it means."""

    kind: kind.Kind
    help: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `name` is the field of `Settings` and the key in the file."""

    name: str
    kind: kind.Kind
    default: object
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.name.upper()


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What one server runs with. `data_dir` has no default here: nobody gets the machine's by accident."""

    data_dir: Annotated[
        Path,
        About(
            kind.DIRECTORY,
            "Everything that must survive: database, artifacts, output. Default: `/var/lib/platformd` for "
            "root, else `$XDG_STATE_HOME/platformd`, else `~/.local/state/platformd`.",
        ),
    ]
    host: Annotated[str, About(kind.HOST, "Address the API listens on.")] = "127.0.0.1"
    port: Annotated[int, About(kind.PORT, "Port of the API; 0 picks a free one.")] = 47080
    gateway_host: Annotated[str, About(kind.HOST, "Address the gateway listens on.")] = "127.0.0.1"
    gateway_port: Annotated[int, About(kind.PORT, "Port of the gateway; 0 picks a free one.")] = 47000
    domain: Annotated[str, About(kind.DOMAIN, "Domain under which apps get their names.")] = "localhost"
    public_scheme: Annotated[str, About(kind.one_of("http", "https"), "Scheme of the addresses shown.")] = (
        "http"
    )
    public_host: Annotated[
        str | None, About(kind.DOMAIN, "A further name to call the API by, as behind a proxy.")
    ] = None
    public_port: Annotated[
        int | None,
        About(
            kind.PUBLIC_PORT, "Port in the addresses shown. Default: the gateway's for http, none for https."
        ),
    ] = None
    trusted_proxy: Annotated[
        tuple[kind.Network, ...], About(kind.NETWORKS, "Networks whose forwarded headers are believed.")
    ] = ()
    cors_origin: Annotated[
        tuple[str, ...], About(kind.ORIGINS, "Origins whose pages may call the API from a browser.")
    ] = ()
    require_token: Annotated[bool, About(kind.SWITCH, "Ask for a token even on loopback.")] = False
    database: Annotated[
        Path | None,
        About(kind.DATABASE, "Where the database is. Default: `platformd.db` in the data directory."),
    ] = None
    volume_root: Annotated[
        tuple[Path, ...],
        About(kind.DIRECTORIES, "Where volumes may lie, beside `/data` and `volumes` in the data directory."),
    ] = ()
    run_as: Annotated[
        kind.Account | None,
        About(kind.ACCOUNT, "Account of native tasks. Default: uid 65534 under root, else the server's own."),
    ] = None
    task_ports: Annotated[
        range,
        About(kind.PORT_RANGE, "Ports native tasks get; best outside the kernel's ephemeral range."),
    ] = range(20000, 30000)
    keep_versions: Annotated[
        int, About(kind.COUNT, "Superseded versions that each environment keeps ready to wake.")
    ] = 10
    stop_tasks_on_exit: Annotated[
        bool, About(kind.SWITCH, "End all tasks when the server ends in good order.")
    ] = False
    gateway_errors: Annotated[
        str | None,
        About(
            kind.one_of("full", "brief"),
            "Whether its answers show exit codes and output. Default: full on loopback, else brief.",
        ),
    ] = None
    docker_host: Annotated[
        str | None,
        About(kind.ENGINE, "The Docker engine. Default: `$DOCKER_HOST`, else `unix:///var/run/docker.sock`."),
    ] = None
    github_url: Annotated[str, About(kind.URL, "Where sources are cloned from.")] = "https://github.com"
    github_ssh_url: Annotated[
        str | None,
        About(
            kind.SSH_URL,
            "Where sources with an `ssh_key` are cloned from. Default: `ssh://git@` the host of `--github-url`.",
        ),
    ] = None
    github_api_url: Annotated[str, About(kind.URL, "GitHub's API.")] = "https://api.github.com"
    build_timeout: Annotated[
        int, About(kind.SECONDS, "How long a build may take, from its turn to its end, in seconds.")
    ] = 900
    build_source_limit: Annotated[
        int, About(kind.MEBIBYTES, "How large the tree that is built may be, in MiB.")
    ] = 1024
    build_memory: Annotated[int, About(kind.MEBIBYTES, "How much memory a build may use, in MiB.")] = 2048
    builds_at_once: Annotated[
        int, About(kind.AT_ONCE, "How many builds there may be at once; one of each app and environment.")
    ] = 2
    log_format: Annotated[
        str | None,
        About(kind.one_of("json", "console"), "Form of the log. Default: console on a terminal, else json."),
    ] = None
    log_level: Annotated[
        str, About(kind.one_of("debug", "info", "warning", "error"), "The least serious lines logged.")
    ] = "info"

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.database or self.data_dir / "platformd.db"

    @property
    def github_by_ssh(self) -> str:
        """Below what sources with an `ssh_key` lie."""
        host = urlsplit(self.github_url).hostname or ""
        return self.github_ssh_url or f"ssh://git@{f'[{host}]' if ':' in host else host}"

    @property
    def api_on_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def gateway_on_loopback(self) -> bool:
        return is_loopback(self.gateway_host)

    @property
    def tokens_required(self) -> bool:
        """True when no request may do without a token: asked for, or reachable from elsewhere."""
        return self.require_token or not self.api_on_loopback

    @property
    def full_gateway_errors(self) -> bool:
        """Whether the gateway may show exit codes and output lines to its clients."""
        return self.gateway_errors == "full" or (self.gateway_errors is None and self.gateway_on_loopback)

    def shown_port(self, gateway_port: int) -> int | None:
        """The port in apps' URLs while the gateway listens on `gateway_port`; None leaves it out."""
        usual = 443 if self.public_scheme == "https" else 80
        port = self.public_port or (usual if self.public_scheme == "https" else gateway_port)
        return None if port == usual else port


def _rows() -> Iterator[Setting]:
    hints = get_type_hints(Settings, include_extras=True)
    for column in fields(Settings):
        about: About = hints[column.name].__metadata__[0]
        default = None if column.default is MISSING else column.default
        yield Setting(column.name, about.kind, default, about.help)


TABLE: tuple[Setting, ...] = tuple(_rows())
BY_NAME: Mapping[str, Setting] = {row.name: row for row in TABLE}


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as it was given: `source` names where, `base` is what its relative paths are relative to."""

    value: object
    source: str
    base: Path


def load(flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that `flags` (name → text, None = not given), the environment and the file add up to.

    `flags` and `environ` may name the file as `config` and `PLATFORMD_CONFIG`. Raises `SettingsError` that
    lists every fault. An empty environment variable counts as not set.
    """
    flags = {} if flags is None else flags
    environ = os.environ if environ is None else environ
    faults: list[str] = []
    given = _from_file(_config_path(flags, environ), faults)
    given |= _from_environment(environ)
    given |= _from_flags(flags)
    values: dict[str, Any] = {}
    for name, entry in given.items():
        try:
            values[name] = _rebased(BY_NAME[name].kind.parse(entry.value), entry.base)
        except (ValueError, OSError) as error:
            faults.append(f"{entry.source}: {entry.value!r} {error}")
    if "data_dir" not in given:
        values["data_dir"] = default_data_dir(environ, os.geteuid())
    if faults:
        raise SettingsError("\n".join(faults))
    return _checked(Settings(**values))


def default_data_dir(environ: Mapping[str, str], uid: int) -> Path:
    """Where data lies when nobody says: the system's place for root, else the user's state directory."""
    if uid == 0:
        return Path("/var/lib/platformd")
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if state.is_absolute():
        return state / "platformd"
    try:
        return Path("~/.local/state/platformd").expanduser()
    except RuntimeError:
        raise SettingsError("no home directory to put data in: say where with --data-dir DIR") from None


def is_loopback(host: str) -> bool:
    """True when only this machine reaches `host`, an address or a name as `Settings` holds it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _config_path(flags: Mapping[str, object], environ: Mapping[str, str]) -> tuple[Path, str] | None:
    if flags.get(CONFIG_FLAG):
        return Path(str(flags[CONFIG_FLAG])), "--config"
    name = f"{ENV_PREFIX}{CONFIG_FLAG.upper()}"
    return (Path(environ[name]), name) if environ.get(name) else None


def _from_file(where: tuple[Path, str] | None, faults: list[str]) -> dict[str, _Given]:
    if where is None:
        return {}
    path, source = where
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{source}: cannot read {path}: {error.strerror}; name a file that is there"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{source}: {path} is not TOML: {error}") from None
    given: dict[str, _Given] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in BY_NAME:
            faults.append(f"{path}: unknown key {key!r}; {_nearest(name)}")
        elif name in given:
            faults.append(f"{path}: {key!r} is there twice, with - and with _; keep one")
        else:
            given[name] = _Given(value, f"{path}: {key}", path.absolute().parent)
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    return {row.name: _Given(environ[row.env], row.env, Path()) for row in TABLE if environ.get(row.env)}


def _from_flags(flags: Mapping[str, object]) -> dict[str, _Given]:
    absent: tuple[object, ...] = (None, ())
    return {
        name: _Given(value, BY_NAME[name].flag, Path())
        for name, value in flags.items()
        if name != CONFIG_FLAG and value not in absent
    }


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(BY_NAME)}"


def _rebased(value: object, base: Path) -> object:
    if isinstance(value, Path):
        return (base / value).absolute()
    if type(value) is tuple:  # not an Account, which is one too
        return tuple(_rebased(item, base) for item in value)
    return value


def _checked(settings: Settings) -> Settings:
    if settings.port == settings.gateway_port != 0 and settings.host == settings.gateway_host:
        raise SettingsError(
            f"port and gateway_port are both {settings.port} on {settings.host}; give one of them another"
        )
    return settings
