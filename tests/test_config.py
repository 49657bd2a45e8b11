from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.config import (
    DEFAULT_PORT,
    KNOWN,
    MAX_CONFIG_BYTES,
    Settings,
    load_settings,
    read_config_file,
    resolve_settings,
)
from kacheryfs.core.quantities import Address
from kacheryfs.errors import ConfigError
from kacheryfs.folders import Machine

MACHINE = Machine(home=Path("/home/ada"), current=Path("/lab"), runtime=Path("/run/user/7/kacheryfs"))


def resolve(
    flags: dict[str, object] | None = None, environ: dict[str, str] | None = None, table: dict[str, Any] | None = None
) -> Settings:
    return resolve_settings(flags or {}, environ or {}, table or {}, MACHINE)


def refusal(**layers: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(**layers)
    message = str(caught.value)
    assert message.isprintable()
    return message


def test_without_any_setting_the_defaults_hold() -> None:
    settings = resolve()
    assert settings.listen == Address("127.0.0.1", DEFAULT_PORT)
    assert (settings.read_timeout_s, settings.lookup_timeout_s, settings.negative_ttl_s) == (300, 5, 2)
    assert (settings.whole_file_limit_bytes, settings.readahead_bytes) == (64 * 1024**2, 16 * 1024**2)
    assert (settings.min_free_fraction, settings.require_manifest, settings.log_level) == (0.05, False, "info")
    assert set(settings.sources.values()) == {"default"}


def test_the_secret_lies_beside_the_settings_unless_told_elsewhere() -> None:
    assert resolve(environ={"KACHERYFS_CONFIG_DIR": "/c"}).secret_file == Path("/c/secret")
    assert resolve(table={"secret_file": "~/lab"}).secret_file == Path("/home/ada/lab")


def test_what_a_flag_has_changed_another_process_gets_by_variables() -> None:
    flags = {"listen": "[::1]:80", "upload_limit": "12345 kB/s", "require_manifest": True, "store_dir": "/s"}
    settings = resolve(flags, {"KACHERYFS_READ_TIMEOUT": "7"})
    variables = settings.flags_as_variables()
    assert set(variables) == {f"KACHERYFS_{name.upper()}" for name in flags}
    assert resolve(environ={"KACHERYFS_READ_TIMEOUT": "7"} | variables) == settings


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() -> None:
    table = {"read_timeout": 1, "lookup_timeout": 1, "negative_ttl": 1}
    environ = {"KACHERYFS_READ_TIMEOUT": "2", "KACHERYFS_LOOKUP_TIMEOUT": "2 s"}
    settings = resolve({"read_timeout": 3.0, "lookup_timeout": None}, environ, table)
    assert (settings.read_timeout_s, settings.lookup_timeout_s, settings.negative_ttl_s) == (3, 2, 1)
    assert settings.sources["read_timeout"] == "flag"
    assert settings.sources["lookup_timeout"] == "KACHERYFS_LOOKUP_TIMEOUT"
    assert settings.sources["negative_ttl"] == "config.toml"
    assert settings.sources["listen"] == "default"


def test_every_setting_can_be_set_everywhere_but_the_place_of_the_file_in_it() -> None:
    values: dict[str, object] = {
        "listen": "[::1]:0",
        "read_timeout": "2 min",
        "lookup_timeout": 1,
        "negative_ttl": 0,
        "whole_file_limit": "1 GiB",
        "readahead": 0,
        "cache_size": "free 20 GB",
        "min_free_fraction": "10 %",
        "require_manifest": True,
        "offline": "yes",
        "log_level": "debug",
        "upload_limit": "10 MB/s",
        "download_limit": "20 MB/s",
        "max_connections": 10,
        "access": "local",
        "secret_file": "~/lab/secret",
        "store_dir": "/s",
        "data_dir": "~/d",
        "runtime_dir": "/r",
        "config_dir": "/c",
    }
    assert values.keys() == KNOWN.keys()
    by_flags = resolve(flags=values)
    by_environ = resolve(environ={f"KACHERYFS_{name.upper()}": str(value) for name, value in values.items()})
    by_file = resolve(table={name: value for name, value in values.items() if name != "config_dir"})
    assert by_flags == by_environ
    assert by_flags.whole_file_limit_bytes == by_file.whole_file_limit_bytes == 1024**3
    assert by_flags.data_dir == by_file.data_dir == Path("/home/ada/d")
    assert by_flags != resolve()
    assert "can't be set in config.toml" in refusal(table={"config_dir": "/c"})


@pytest.mark.parametrize(
    ("layers", "source"),
    [
        ({"table": {"read_timout": 5}}, "config.toml"),
        ({"environ": {"KACHERYFS_READ_TIMOUT": "5"}}, "environment"),
        ({"flags": {"read_timout": 5}}, "flags"),
    ],
)
def test_an_unknown_setting_is_an_error_that_names_the_known_ones(layers: dict[str, Any], source: str) -> None:
    message = refusal(**layers)
    assert message.startswith(f"{source}: unknown setting")
    assert "did you mean 'KACHERYFS_READ_TIMEOUT'" in message or "did you mean 'read_timeout'" in message
    assert "min_free_fraction" in message.lower()


def test_an_unknown_setting_that_resembles_none_is_named_without_a_guess() -> None:
    message = refusal(table={"xyzzy": 1})
    assert "'xyzzy'" in message
    assert "did you mean" not in message
    assert "listen" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", "localhost"),
        ("listen", 27180),
        ("read_timeout", "soon"),
        ("read_timeout", True),
        ("read_timeout", 0),
        ("read_timeout", float("nan")),
        ("lookup_timeout", -1),
        ("whole_file_limit", 1.5),
        ("whole_file_limit", "64 M"),
        ("readahead", None),
        ("cache_size", "plenty"),
        ("min_free_fraction", 1),
        ("require_manifest", 1),
        ("require_manifest", "perhaps"),
        ("log_level", "loud"),
        ("upload_limit", "1 kB/s"),
        ("max_connections", 0),
        ("access", "friends"),
        ("secret_file", "secret"),
        ("log_level", ["info"]),
        ("store_dir", ""),
        ("store_dir", 5),
        ("store_dir", "relative/folder"),
        ("store_dir", "~somebody/folder"),
        ("store_dir", "/a\0b"),
        ("listen", {"host": "localhost"}),
    ],
)
def test_a_wrong_value_is_an_error_that_says_where_and_what_is_expected(name: str, value: object) -> None:
    message = refusal(table={name: value})
    assert message.startswith(f"config.toml: {name} can't be ")
    assert "expected" in message


def test_a_wrong_value_of_a_variable_names_the_variable() -> None:
    assert refusal(environ={"KACHERYFS_READAHEAD": "lots"}).startswith("KACHERYFS_READAHEAD: readahead can't be 'lots'")


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert resolve(environ={"KACHERYFS_LISTEN": "", "KACHERYFS_DIR": ""}) == resolve()


def test_folders_follow_the_xdg_rules() -> None:
    settings = resolve(environ={"XDG_DATA_HOME": "/xdg/data", "XDG_CONFIG_HOME": "/xdg/config"})
    assert settings.config_dir == Path("/xdg/config/kacheryfs")
    assert settings.data_dir == Path("/xdg/data/kacheryfs")
    assert settings.store_dir == Path("/xdg/data/kacheryfs/store")
    assert settings.runtime_dir == MACHINE.runtime
    defaults = resolve()
    assert defaults.config_dir == Path("/home/ada/.config/kacheryfs")
    assert defaults.data_dir == Path("/home/ada/.local/share/kacheryfs")


def test_a_relative_xdg_folder_is_ignored_as_its_standard_says() -> None:
    assert resolve(environ={"XDG_DATA_HOME": "data"}).data_dir == resolve().data_dir


def test_kacheryfs_dir_puts_everything_under_one_folder() -> None:
    settings = resolve(environ={"KACHERYFS_DIR": "/peers/a", "XDG_DATA_HOME": "/xdg/data"})
    folders = [settings.config_dir, settings.data_dir, settings.store_dir, settings.runtime_dir]
    assert folders == [Path("/peers/a") / name for name in ("config", "data", "store", "run")]
    assert {settings.sources[name] for name in ("config_dir", "store_dir", "runtime_dir")} == {"KACHERYFS_DIR"}


def test_a_single_folder_can_be_taken_out_of_kacheryfs_dir() -> None:
    settings = resolve(flags={"store_dir": Path("/big/disk")}, environ={"KACHERYFS_DIR": "~/peer"})
    assert settings.store_dir == Path("/big/disk")
    assert settings.data_dir == Path("/home/ada/peer/data")


def test_a_relative_folder_of_a_flag_or_variable_is_relative_to_where_the_user_stands() -> None:
    settings = resolve(flags={"store_dir": "store"}, environ={"KACHERYFS_DIR": "a", "KACHERYFS_DATA_DIR": "b"})
    assert (settings.store_dir, settings.data_dir) == (Path("/lab/store"), Path("/lab/b"))
    assert settings.runtime_dir == Path("/lab/a/run")


def test_the_rows_show_every_setting_with_unit_source_and_help() -> None:
    rows = {row.name: row for row in resolve(environ={"KACHERYFS_READAHEAD": "1 MiB"}).rows()}
    assert rows.keys() == KNOWN.keys()
    assert (rows["readahead"].value, rows["readahead"].text, rows["readahead"].source) == (
        1024**2,
        "1 MiB",
        "KACHERYFS_READAHEAD",
    )
    assert rows["read_timeout"].text == "300 s"
    assert (rows["require_manifest"].value, rows["require_manifest"].text) == (False, "false")
    assert rows["store_dir"].value == "/home/ada/.local/share/kacheryfs/store"
    assert all(row.help for row in rows.values())


def test_every_setting_can_be_set_to_what_is_shown_of_it() -> None:
    odd = {"cache_size": "46.6 GiB", "whole_file_limit": "1.5 GB", "readahead": 12345678, "upload_limit": "1.5 MiB/s"}
    settings = resolve(table=odd)
    texts = {row.name: row.text for row in settings.rows() if row.name != "config_dir"}
    assert resolve(table=texts) == settings
    assert resolve(environ={f"KACHERYFS_{row.name.upper()}": str(row.value) for row in settings.rows()}) == settings


def _environ(folder: Path) -> dict[str, str]:
    return {"KACHERYFS_DIR": str(folder)}


def _write(folder: Path, text: str) -> Path:
    path = folder / "config" / "config.toml"
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_settings_are_read_from_config_toml_in_the_config_folder(tmp_path: Path) -> None:
    path = _write(tmp_path, 'read_timeout = "10 s"\nrequire_manifest = true\n')
    settings = load_settings({}, _environ(tmp_path))
    assert (settings.read_timeout_s, settings.require_manifest) == (10, True)
    assert settings.sources["read_timeout"] == str(path)


def test_the_config_folder_itself_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("read_timeout = 7")
    assert load_settings({}, {"KACHERYFS_CONFIG_DIR": str(tmp_path)}).read_timeout_s == 7
    assert load_settings({"config_dir": tmp_path}, {}).read_timeout_s == 7


def test_a_missing_config_toml_is_no_error_unless_it_was_asked_for(tmp_path: Path) -> None:
    assert load_settings({}, _environ(tmp_path)).read_timeout_s == 300
    with pytest.raises(ConfigError, match="there is no config file"):
        load_settings({}, _environ(tmp_path), tmp_path / "mine.toml")


@pytest.mark.parametrize(
    "text", ["read_timeout", "a = ", "read_timeout = 1\nread_timeout = 2", "[table", "x = " + "[" * 5000]
)
def test_a_file_that_is_no_toml_is_an_error_in_one_line(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(ConfigError, match="is not TOML") as caught:
        load_settings({}, _environ(tmp_path))
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_table_in_the_file_is_an_unknown_setting(tmp_path: Path) -> None:
    _write(tmp_path, "[mount]\nread_timeout = 5")
    with pytest.raises(ConfigError, match="unknown setting 'mount'"):
        load_settings({}, _environ(tmp_path))


def test_a_file_that_cannot_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "config" / "config.toml").mkdir(parents=True)
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load_settings({}, _environ(tmp_path))


def test_bytes_that_are_no_text_and_endless_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_config_file(path)
    path.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="over the limit"):
        read_config_file(path)
    with pytest.raises(ConfigError, match="over the limit"):
        read_config_file(Path("/dev/zero"))


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(KNOWN)), st.text(max_size=8)),
        st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.lists(st.integers(), max_size=2)),
        max_size=3,
    )
)
def test_any_table_gives_settings_or_one_line(table: dict[str, object]) -> None:
    reason = ""
    try:
        resolve(table=table)
    except ConfigError as exc:
        reason = str(exc)
    assert reason.isprintable()
