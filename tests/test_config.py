"""Settings: precedence, every kind of bad value with its source, keys of the file, what derives from the table."""

from __future__ import annotations

import pwd
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platformd import config
from platformd.config import TABLE, Settings, SettingsError, load
from platformd.setting_kinds import Account, show
from tests.architecture.house import ROOT

# For each setting a text that it takes, other than its default, and what that becomes.
SAMPLES: dict[str, tuple[str, object]] = {
    "data_dir": ("/srv/data", Path("/srv/data")),
    "host": ("[::1]", "::1"),
    "port": ("0", 0),
    "gateway_host": ("LocalHost", "localhost"),
    "gateway_port": ("65535", 65535),
    "domain": ("Apps.Example.com.", "apps.example.com"),
    "public_scheme": ("HTTPS", "https"),
    "public_host": ("api.example.com", "api.example.com"),
    "public_port": ("8443", 8443),
    "trusted_proxy": ("10.0.0.0/8, ::1", ("10.0.0.0/8", "::1/128")),
    "cors_origin": ("https://Dash.example.com:8443", ("https://dash.example.com:8443",)),
    "require_token": ("yes", True),
    "database": ("sqlite:////srv/x.db", Path("/srv/x.db")),
    "volume_root": ("/a,/b", (Path("/a"), Path("/b"))),
    "run_as": ("1234:99", Account(1234, 99)),
    "task_ports": ("30000-30002", range(30000, 30003)),
    "keep_versions": ("0", 0),
    "stop_tasks_on_exit": ("1", True),
    "gateway_errors": ("brief", "brief"),
    "docker_host": ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
    "github_url": ("https://git.example.com/", "https://git.example.com"),
    "github_ssh_url": ("ssh://git@git.example.com:2222/", "ssh://git@git.example.com:2222"),
    "github_api_url": ("https://git.example.com/api/v3", "https://git.example.com/api/v3"),
    "build_timeout": ("60", 60),
    "build_source_limit": ("16", 16),
    "build_memory": ("512", 512),
    "builds_at_once": ("4", 4),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
}

# Texts that are refused, and a word of the advice.
BAD = [
    ("data_dir", "~nosuchuser/x", "home directory"),
    ("data_dir", "a\nb", "control characters"),
    ("host", "127.0.0.1:80", "without a port"),
    ("host", "300.1.1.1", "address"),
    ("host", "http://x", "address"),
    ("port", "x", "whole number"),
    ("port", "-1", "between 0 and 65535"),
    ("port", "65536", "between 0 and 65535"),
    ("port", "8_0", "whole number"),
    ("port", "٣", "whole number"),
    ("port", "9" * 5000, "whole number"),
    ("public_port", "0", "between 1 and 65535"),
    ("domain", "a_b", "host name"),
    ("domain", "-a.example", "host name"),
    ("domain", "a..b", "host name"),
    ("domain", "x" * 64, "host name"),
    ("public_scheme", "ftp", "http or https"),
    ("trusted_proxy", "10.0.0.1/8", "host bits set"),
    ("trusted_proxy", "proxy.example", "network"),
    ("cors_origin", "*", "name the origins"),
    ("cors_origin", "https://a.example/path", "without a path"),
    ("cors_origin", "https://user@a.example", "without a path"),
    ("require_token", "perhaps", "true or false"),
    ("database", "postgres://x/y", "sqlite:///"),
    ("database", "sqlite:///", "sqlite:///"),
    ("volume_root", " ", "empty"),
    ("run_as", "no-such-account", "no account"),
    ("run_as", "4294967295", "largest id"),
    ("task_ports", "30000", "range"),
    ("task_ports", "30002-30000", "range"),
    ("task_ports", "0-10", "range"),
    ("task_ports", "65000-65536", "range"),
    ("keep_versions", "1001", "between"),
    ("gateway_errors", "none", "full or brief"),
    ("docker_host", "/var/run/docker.sock", "unix:///"),
    ("docker_host", "unix://", "unix:///"),
    ("github_url", "github.com", "URL"),
    ("github_url", "ssh://git@github.com", "URL"),
    ("github_ssh_url", "https://github.com", "URL"),
    ("github_url", "https://", "URL"),
    ("github_url", "https://x:99999", "URL"),
    ("github_url", "https://x/?a=b", "URL"),
    ("build_timeout", "0", "between"),
    ("builds_at_once", "65", "between"),
    ("log_format", "xml", "json or console"),
    ("log_level", "loud", "debug or info"),
]


def _as_shown(value: object) -> str:
    return show(tuple(str(item) for item in value)) if isinstance(value, tuple) else show(value)


def _faults(flags: dict[str, object] | None = None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(flags or {}, environ or {})
    return str(caught.value).splitlines()


def _file(folder: Path, content: str) -> dict[str, object]:
    path = folder / "platformd.toml"
    path.write_text(content)
    return {"config": str(path)}


def test_every_setting_has_a_sample() -> None:
    assert list(SAMPLES) == [row.name for row in TABLE]


@pytest.mark.parametrize("name", SAMPLES)
def test_each_setting_is_read_from_flag_environment_and_file(name: str, tmp_path: Path) -> None:
    row, (text, expected) = config.BY_NAME[name], SAMPLES[name]
    assert show(expected) != show(row.default)
    sources: list[tuple[dict[str, object], dict[str, str]]] = [
        ({name: text}, {}),
        ({}, {row.env: text}),
        (_file(tmp_path, f"{name} = {text!r}\n"), {}),
        (_file(tmp_path, f"{name.replace('_', '-')} = {text!r}\n"), {}),
    ]
    for flags, environ in sources:
        value = getattr(load(flags, environ), name)
        assert _as_shown(value) == _as_shown(expected), (flags, environ)
        assert type(value) is type(expected)


@pytest.mark.parametrize("name", SAMPLES)
def test_flag_beats_environment_beats_file_beats_default(name: str, tmp_path: Path) -> None:
    row, (text, _) = config.BY_NAME[name], SAMPLES[name]
    default = show(row.default)
    in_file = _file(tmp_path, f"{name} = {text!r}\n")
    sample = show(row.kind.parse(text))
    assert show(getattr(load(in_file, {}), name)) == sample
    if not default:
        return
    assert show(getattr(load({}, {}), name)) == default
    assert show(getattr(load(in_file, {row.env: default}), name)) == default
    assert show(getattr(load({**in_file, name: text}, {row.env: default}), name)) == sample


def test_the_environment_may_name_the_file_and_a_flag_beats_it(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text("port = 1001")
    (tmp_path / "two.toml").write_text("port = 1002")
    environ = {"PLATFORMD_CONFIG": str(tmp_path / "one.toml")}
    assert load({}, environ).port == 1001
    assert load({"config": str(tmp_path / "two.toml")}, environ).port == 1002


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    environ = {row.env: "" for row in TABLE} | {"PLATFORMD_CONFIG": ""}
    assert load({}, environ) == load({}, {})


@pytest.mark.parametrize(("name", "text", "advice"), BAD)
def test_a_bad_value_is_named_with_its_source(name: str, text: str, advice: str, tmp_path: Path) -> None:
    row = config.BY_NAME[name]
    [by_flag] = _faults({name: (text,) if row.kind.many else text})
    assert by_flag.startswith(f"{row.flag}: ")
    [by_variable] = _faults(environ={row.env: text})
    assert by_variable.startswith(f"{row.env}: ")
    escaped = "".join(c if c in string.printable and c not in '\n"\\' else f"\\u{ord(c):04x}" for c in text)
    flags = _file(tmp_path, f'{name} = "{escaped}"\n')
    [by_key] = _faults(flags)
    assert by_key.startswith(f"{flags['config']}: {name}: ")
    for fault in (by_flag, by_variable, by_key):
        assert repr(text) in fault
        assert advice in fault


@pytest.mark.parametrize(
    "line",
    ["port = true", "port = 1.5", "port = [1]", "host = 1", "require_token = 1", "volume_root = 5",
     "volume_root = [5]", "task_ports = [1, 2]", "data_dir = {}", "log_level = 1979-05-27"],
)  # fmt: skip
def test_a_value_of_the_wrong_type_in_the_file_is_refused(line: str, tmp_path: Path) -> None:
    [fault] = _faults(_file(tmp_path, line))
    assert line.split()[0] in fault
    assert "must be" in fault


def test_values_in_the_file_may_have_their_own_types(tmp_path: Path) -> None:
    settings = load(
        _file(tmp_path, 'port = 8080\nrequire_token = true\nrun_as = 5\nvolume_root = ["/a,b"]'), {}
    )
    assert (settings.port, settings.require_token, settings.volume_root) == (8080, True, (Path("/a,b"),))
    assert settings.run_as is not None
    assert settings.run_as.uid == 5


def test_all_faults_are_told_at_once() -> None:
    faults = _faults({"port": "x", "log_level": "loud"}, {"PLATFORMD_TASK_PORTS": "9"})
    assert sorted(fault.split(":")[0] for fault in faults) == [
        "--log-level",
        "--port",
        "PLATFORMD_TASK_PORTS",
    ]


@pytest.mark.parametrize(
    ("key", "answer"),
    [("gateway_prot", "did you mean 'gateway_port'?"), ("Port", "did you mean 'port'?"),
     ("tokens-required", "did you mean"), ("zzz", "known are data_dir, host"), ("config", "known are")],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_nearest(key: str, answer: str, tmp_path: Path) -> None:
    [fault] = _faults(_file(tmp_path, f"{key} = 1"))
    assert f"unknown key {key!r}" in fault
    assert answer in fault


def test_a_key_written_in_both_ways_is_refused(tmp_path: Path) -> None:
    [fault] = _faults(_file(tmp_path, "log_level = 'info'\nlog-level = 'debug'"))
    assert "twice" in fault


@pytest.mark.parametrize(
    "content", [b"port = ", b"\xff\xfe", b"port = 1\nport = 2", b"\0", b"x = " + b"[" * 9999]
)
def test_a_file_that_is_not_toml_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    [fault] = _faults({"config": str(path)})
    assert f"{path} is not TOML" in fault


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        assert f"--config: cannot read {path}: {why}" in _faults({"config": str(path)})[0]
        assert _faults(environ={"PLATFORMD_CONFIG": str(path)})[0].startswith("PLATFORMD_CONFIG: ")


def test_relative_paths_belong_to_the_file_or_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "x.toml").write_text('data_dir = "data"\nvolume_root = ["v", "/w"]')
    monkeypatch.chdir(tmp_path)
    settings = load({"config": "etc/x.toml", "database": "sqlite:///x.db"}, {})
    assert settings.data_dir == tmp_path / "etc" / "data"
    assert settings.volume_root == (tmp_path / "etc" / "v", Path("/w"))
    assert settings.database == tmp_path / "x.db"


def test_home_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert load({"data_dir": "~/data"}, {}).data_dir == Path("/home/someone/data")


def test_where_data_lies_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.default_data_dir({"XDG_STATE_HOME": "/state"}, 0) == Path("/var/lib/platformd")
    assert config.default_data_dir({"XDG_STATE_HOME": "/state"}, 1000) == Path("/state/platformd")
    monkeypatch.setenv("HOME", "/home/someone")
    for useless in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative"}):
        expected = Path("/home/someone/.local/state/platformd")
        assert config.default_data_dir(useless, 1000) == expected


def test_accounts_are_found_by_name_and_number() -> None:
    me = pwd.getpwuid(0)
    assert load({"run_as": me.pw_name}, {}).run_as == Account(0, me.pw_gid)
    assert load({"run_as": "0"}, {}).run_as == Account(0, me.pw_gid)
    assert load({"run_as": "3999999999"}, {}).run_as == Account(3999999999, 3999999999)


def test_one_port_cannot_serve_both() -> None:
    [fault] = _faults({"port": "5000", "gateway_port": "5000"})
    assert "both 5000" in fault
    load({"port": "0", "gateway_port": "0"}, {})
    load({"port": "5000", "gateway_port": "5000", "gateway_host": "127.0.0.2"}, {})


@pytest.mark.parametrize(
    ("scheme", "public", "gateway", "shown"),
    [("http", None, 47000, 47000), ("http", None, 80, None), ("http", 80, 47000, None),
     ("http", 8080, 47000, 8080),
     ("https", None, 47000, None), ("https", 8443, 47000, 8443), ("https", 443, 47000, None),
     ("https", 80, 47000, 80)],
)  # fmt: skip
def test_the_port_in_addresses(scheme: str, public: int | None, gateway: int, shown: int | None) -> None:
    settings = Settings(data_dir=Path("/x"), public_scheme=scheme, public_port=public)
    assert settings.shown_port(gateway) == shown


def test_what_follows_from_where_it_listens() -> None:
    here = Settings(data_dir=Path("/x"))
    assert (here.tokens_required, here.full_gateway_errors) == (False, True)
    there = Settings(data_dir=Path("/x"), host="0.0.0.0", gateway_host="::")
    assert (there.tokens_required, there.full_gateway_errors) == (True, False)
    assert Settings(data_dir=Path("/x"), require_token=True).tokens_required
    assert not Settings(data_dir=Path("/x"), gateway_errors="brief").full_gateway_errors
    assert Settings(data_dir=Path("/x"), gateway_host="::", gateway_errors="full").full_gateway_errors
    loopback = {"127.0.0.1": True, "127.9.9.9": True, "::1": True, "localhost": True, "example.com": False}
    assert {host: config.is_loopback(host) for host in loopback} == loopback


def test_where_ssh_keys_open_a_source() -> None:
    def place(**given: str) -> str:
        return load({"data_dir": "/data", **given}, {}).github_by_ssh

    assert place() == "ssh://git@github.com"
    assert place(github_url="http://[::1]:8080/git") == "ssh://git@[::1]"
    assert place(github_ssh_url="ssh://ada@ssh.github.com:443") == "ssh://ada@ssh.github.com:443"


@given(st.sampled_from(TABLE), st.text(max_size=40))
def test_any_text_is_either_taken_or_refused_in_words(row: config.Setting, text: str) -> None:
    """And what is taken reads back as the same value when it is shown and read again."""
    try:
        value = row.kind.parse(text)
    except ValueError as error:
        assert str(error)
        return
    if not row.kind.many and row.name != "database":
        assert row.kind.parse(show(value)) == value


def test_the_documents_have_each_setting_as_it_is() -> None:
    document = (ROOT / "platformd" / "docs" / "settings.md").read_text()
    expected = [
        f"| `{row.flag}` | `{row.env}` | `{row.name}` | {default_shown(row)} | {row.help} |" for row in TABLE
    ]
    assert re.findall(r"^\| `--.*$", document, re.MULTILINE) == expected


def default_shown(row: config.Setting) -> str:
    text = show(row.default)
    return f"`{text}`" if text else ""
