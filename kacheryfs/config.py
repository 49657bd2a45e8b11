"""Settings: defaults < ``config.toml`` < ``KACHERYFS_*`` < flags, each with where it came from.

Deciding is pure (``resolve_settings``): flags, environment, the file's table and facts of the machine are passed in.
``load_settings`` puts it together with the two functions that touch the machine: ``read_config_file`` and
``folders.look_around``. ``KACHERYFS_DIR`` puts everything under one folder, so that several peers can live on one
machine.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .core.quantities import (
    Address,
    ByteRate,
    CacheSize,
    format_duration,
    format_size,
    parse_address,
    parse_cache_size,
    parse_count,
    parse_duration_s,
    parse_fraction,
    parse_rate,
    parse_size_bytes,
    parse_timeout_s,
    parse_yes_no,
)
from .errors import ConfigError
from .folders import Machine, folders_below, look_around, parse_folder, xdg_folders

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "KACHERYFS_"
ROOT_VARIABLE = "KACHERYFS_DIR"
CONFIG_FILE = "config.toml"
SECRET_FILE = "secret"
DEFAULT_PORT = 27180
"""Fixed, so that a peer's URL survives its restart; below Linux's ephemeral ports, which begin at 32768."""
_FLAG = "flag"
MAX_CONFIG_BYTES = 1024 * 1024
LOG_LEVELS = ("debug", "info", "warning", "error")
ACCESSES = ("everybody", "local", "secret")
"""Who may ask: anybody who reaches us; who is in a network of this machine's or a private one; who knows the secret."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; ``sources`` says of each, by its name in ``config.toml``, where it came from."""

    listen: Address
    upload_limit: ByteRate
    download_limit: ByteRate
    max_connections: int
    access: str
    secret_file: Path
    read_timeout_s: float
    lookup_timeout_s: float
    negative_ttl_s: float
    whole_file_limit_bytes: int
    readahead_bytes: int
    cache_size: CacheSize
    min_free_fraction: float
    require_manifest: bool
    offline: bool
    log_level: str
    store_dir: Path
    data_dir: Path
    runtime_dir: Path
    config_dir: Path
    sources: Mapping[str, str] = field(repr=False, compare=False)

    def rows(self) -> list[SettingRow]:
        """Return every setting for ``kacheryfs config``, in the order in which they are documented."""
        return [known.row(name, getattr(self, known.field), self.sources[name]) for name, known in KNOWN.items()]

    def flags_as_variables(self) -> dict[str, str]:
        """Return the variables by which another process of ours gets what flags have changed here."""
        return {PREFIX + row.name.upper(): str(row.value) for row in self.rows() if row.source == _FLAG}


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as it is shown: ``value`` fits into JSON, ``text`` is for people; sizes can be set to either."""

    name: str
    value: str | int | float | bool
    text: str
    source: str
    help: str


def _parse_word(words: Sequence[str]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return str(value)

    return parse


@dataclass(frozen=True, slots=True)
class _Known:
    field: str
    parse: Callable[[object], Any] | None
    """None for a folder or a file, which is read relative to where its setting stands."""
    default: object
    help: str

    def row(self, name: str, value: Any, source: str) -> SettingRow:
        plain = value if isinstance(value, (bool, int, float)) else str(value)
        text = str(plain).lower() if isinstance(plain, bool) else str(plain)
        if self.field.endswith("_bytes"):
            text = format_size(value)
        elif self.field.endswith("_s"):
            text = format_duration(value)
        return SettingRow(name, plain, text, source, self.help)


def _known_folder(name: str, help_: str) -> _Known:
    return _Known(name, None, None, help_)


KNOWN: Mapping[str, _Known] = {
    "listen": _Known("listen", parse_address, f"127.0.0.1:{DEFAULT_PORT}", "where `serve` answers peers"),
    "upload_limit": _Known(
        "upload_limit", parse_rate, "none", "what is sent to all peers together, such as 10 MB/s; none or 0: no limit"
    ),
    "download_limit": _Known(
        "download_limit", parse_rate, "none", "what is received of files from all peers together; none or 0: no limit"
    ),
    "max_connections": _Known("max_connections", parse_count, 256, "of peers, at once; half of them from one address"),
    "access": _Known("access", _parse_word(ACCESSES), "everybody", "who is answered: everybody, local, or secret"),
    "secret_file": _Known("secret_file", None, None, "what peers must know where access is secret, a secret a line"),
    "read_timeout": _Known("read_timeout_s", parse_timeout_s, "300 s", "how long a read waits for a peer before EIO"),
    "lookup_timeout": _Known("lookup_timeout_s", parse_timeout_s, "5 s", "how long opening a name waits for peers"),
    "negative_ttl": _Known("negative_ttl_s", parse_duration_s, "2 s", "how long 'nobody has it' is remembered"),
    "whole_file_limit": _Known(
        "whole_file_limit_bytes", parse_size_bytes, "64 MiB", "files up to this are proven whole where no manifest is"
    ),
    "readahead": _Known("readahead_bytes", parse_size_bytes, "16 MiB", "how far to fetch ahead of a sequential reader"),
    "cache_size": _Known(
        "cache_size",
        parse_cache_size,
        "auto",
        "the store's bound on disk; auto: half of what was free at first start; 0: keep nothing",
    ),
    "min_free_fraction": _Known("min_free_fraction", parse_fraction, "5 %", "share of the disk that the store leaves"),
    "require_manifest": _Known("require_manifest", parse_yes_no, False, "refuse names that carry no manifest"),
    "offline": _Known("offline", parse_yes_no, False, "ask no peer: what isn't here fails at once"),
    "log_level": _Known("log_level", _parse_word(LOG_LEVELS), "info", "from which level on to log"),
    "store_dir": _known_folder("store_dir", "fetched and verified blocks"),
    "data_dir": _known_folder("data_dir", "the catalog of what is shared, and the list of peers"),
    "runtime_dir": _known_folder("runtime_dir", "sockets of running mounts; mode 0700"),
    "config_dir": _known_folder("config_dir", "where config.toml stands; not settable in it"),
}


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str], config_file: Path | None = None) -> Settings:
    """Return the effective settings, else ConfigError in one line.

    ``flags`` has the names of ``config.toml``; a None in it means that the flag was not given. ``config_file`` is
    ``config.toml`` in the config folder unless given; only one that was given must exist.
    """
    machine = look_around(environ)
    path = config_file or resolve_settings(flags, environ, {}, machine).config_dir / CONFIG_FILE
    table = read_config_file(path, must_exist=config_file is not None)
    return resolve_settings(flags, environ, table, machine, table_source=str(path))


def resolve_settings(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    table: Mapping[str, object],
    machine: Machine,
    *,
    table_source: str = CONFIG_FILE,
) -> Settings:
    """Decide every setting from its layers; pure. Folders in ``config.toml`` must be absolute or begin with ``~/``."""
    if "config_dir" in table:
        raise ConfigError(f"{table_source}: config_dir can't be set in config.toml, only by {PREFIX}CONFIG_DIR")
    _check_known(table, table_source, KNOWN)
    variables = _variables(environ)
    _check_known(flags, "flags", KNOWN)
    values, sources = _defaults(environ, machine)
    for name, value in table.items():
        values[name], sources[name] = _parse(name, value, table_source, machine.home, None), table_source
    for variable, name in variables.items():
        value = _parse(name, environ[variable], variable, machine.home, machine.current)
        values[name], sources[name] = value, variable
    for name, value in flags.items():
        if value is not None:
            values[name], sources[name] = _parse(name, value, _FLAG, machine.home, machine.current), _FLAG
    if sources["secret_file"] == "default":
        values["secret_file"] = values["config_dir"] / SECRET_FILE
    return Settings(**{known.field: values[name] for name, known in KNOWN.items()}, sources=sources)


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the setting of each variable of ours that isn't empty; ConfigError for an unknown one."""
    names = {PREFIX + name.upper(): name for name in KNOWN}
    ours = [variable for variable in environ if variable.startswith(PREFIX) and variable != ROOT_VARIABLE]
    _check_known(ours, "environment", (ROOT_VARIABLE, *names))
    return {variable: names[variable] for variable in ours if environ[variable]}


def _check_known(names: Iterable[str], source: str, known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? Known: " if close else "known are "
            raise ConfigError(f"{source}: unknown setting {name[:80]!r}; {hint}{', '.join(known)}")


def _parse(name: str, value: object, source: str, home: Path, base: Path | None) -> Any:
    known = KNOWN[name]
    try:
        return parse_folder(value, home, base) if known.parse is None else known.parse(value)
    except ValueError as exc:
        raise ConfigError(f"{source}: {name} can't be {str(value)[:80]!r}: {exc}") from exc


def _defaults(environ: Mapping[str, str], machine: Machine) -> tuple[dict[str, Any], dict[str, str]]:
    root = environ.get(ROOT_VARIABLE)
    folders = folders_below(_parse_root(root, machine)) if root else xdg_folders(environ, machine)
    values = {name: known.parse(known.default) for name, known in KNOWN.items() if known.parse}
    values["secret_file"] = None
    sources = dict.fromkeys(values, "default") | dict.fromkeys(folders, ROOT_VARIABLE if root else "default")
    return values | folders, sources


def _parse_root(text: str, machine: Machine) -> Path:
    try:
        return parse_folder(text, machine.home, machine.current)
    except ValueError as exc:
        raise ConfigError(f"{ROOT_VARIABLE} can't be {text[:80]!r}: {exc}") from exc


def read_config_file(path: Path, *, must_exist: bool = False) -> dict[str, object]:
    """Return the table of a TOML file, an empty one where there is no file; ConfigError says where it is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path} is over the limit of {MAX_CONFIG_BYTES} bytes")
        return tomllib.loads(data.decode("utf-8"))
    except FileNotFoundError as exc:
        if must_exist:
            raise ConfigError(f"there is no config file {path}") from exc
        return {}
    except OSError as exc:
        raise ConfigError(f"{path} can't be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{path} is not TOML: {str(exc).splitlines()[0]}") from exc
