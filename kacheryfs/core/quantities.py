"""What people write in settings and flags: sizes, durations, shares of a whole, addresses; and their way back.

Each ``parse_…`` takes a value as TOML, an environment variable or a flag gives it, and raises ValueError with what is
expected. A bool is nowhere taken for a number.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE_BYTES = 1 << 60
MAX_DURATION_S = 7 * 24 * 3600.0
_SIZE_UNITS = {"b": 1, **{f"{p}b": 1000**i for i, p in enumerate("kmgt", 1)}} | {
    f"{p}ib": 1024**i for i, p in enumerate("kmgt", 1)
}
_EXACT_UNITS = ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB", "B")
"""The largest first."""
_TIME_UNITS = {
    "ms": Fraction(1, 1000),
    **dict.fromkeys(("s", "sec", "second", "seconds"), Fraction(1)),
    **dict.fromkeys(("min", "minute", "minutes"), Fraction(60)),
    **dict.fromkeys(("h", "hour", "hours"), Fraction(3600)),
}
_QUANTITY = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)\s*([a-z%]*)\Z", re.IGNORECASE)
_SIZE_HELP = "expected a number of bytes, or a size such as '64 MiB' (kB, MB, GB, TB, KiB, MiB, GiB, TiB)"
_TIME_HELP = "expected a number of seconds, or a time such as '5 s' (ms, s, min, h), up to 7 days"


def parse_size_bytes(value: object) -> int:
    """Read ``67108864`` or ``"64 MiB"``; ValueError.

    From 1,000 on a part of a byte is dropped: ``"46.6 GiB"``, as sizes are shown to people, is no whole number.
    """
    if isinstance(value, str):
        exact = _parse_quantity(value, {"": Fraction(1), **{unit: Fraction(n) for unit, n in _SIZE_UNITS.items()}})
        value = int(exact) if exact is not None and (exact.denominator == 1 or exact >= 1000) else None
    if type(value) is not int or not 0 <= value <= MAX_SIZE_BYTES:
        raise ValueError(_SIZE_HELP)
    return value


def parse_duration_s(value: object) -> float:
    """Read ``5``, ``0.5``, ``"5s"`` or ``"2 min"``, zero included; ValueError."""
    if isinstance(value, str):
        exact = _parse_quantity(value, {"": Fraction(1), **_TIME_UNITS})
        value = None if exact is None else float(exact)
    if type(value) not in (int, float) or not 0 <= value <= MAX_DURATION_S:  # type: ignore[operator]
        raise ValueError(_TIME_HELP)
    return float(value)  # type: ignore[arg-type]


def parse_timeout_s(value: object) -> float:
    """Read a duration longer than nothing; ValueError."""
    duration_s = parse_duration_s(value)
    if not duration_s:
        raise ValueError("expected a time longer than 0")
    return duration_s


def parse_fraction(value: object) -> float:
    """Read ``0.05`` or ``"5 %"``, from 0 to less than 1; ValueError."""
    if isinstance(value, str):
        exact = _parse_quantity(value, {"": Fraction(1), "%": Fraction(1, 100)})
        value = None if exact is None else float(exact)
    if type(value) not in (int, float) or not 0 <= value < 1:  # type: ignore[operator]
        raise ValueError("expected a fraction from 0 to less than 1, or a percentage such as '5 %'")
    return float(value)  # type: ignore[arg-type]


def _parse_quantity(text: str, units: Mapping[str, Fraction]) -> Fraction | None:
    match = _QUANTITY.match(text.strip())
    unit = units.get(match.group(2).lower()) if match else None
    return None if match is None or unit is None else Fraction(match.group(1)) * unit


_AUTO = "auto"
_FREE_FLOOR = re.compile(r"free\s+(.+)\Z", re.IGNORECASE)
_CACHE_HELP = (
    "expected a size such as '50 GB', at least 1 MB, a share of the disk such as '80 %' (less than 100 %), "
    "'free 20 GB', 'auto', or 0, which keeps nothing"
)
_MIN_CACHE_BYTES = 1_000_000
"""Less holds no four blocks: 80 was meant as 80 % or 80 GB. 0 is what keeps nothing on purpose."""


@dataclass(frozen=True, slots=True)
class CacheSize:
    """How much of the disk the store may take: one of three bounds, or none of them: half of what is free at first."""

    n_bytes: int | None = None
    disk_fraction: float | None = None
    free_bytes: int | None = None
    """No bound of its own: what stays free on the disk."""

    def __str__(self) -> str:
        """Write it so that it is read back as it was."""
        if self.n_bytes is not None:
            return format_size(self.n_bytes)
        if self.disk_fraction is not None:
            return f"{(Decimal(repr(self.disk_fraction)) * 100).normalize():f} %"
        return _AUTO if self.free_bytes is None else f"free {format_size(self.free_bytes)}"


def parse_cache_size(value: object) -> CacheSize:
    """Read ``"50 GB"``, ``"80 %"`` (of the disk), ``"free 20 GB"`` (left to others) or ``"auto"``; ValueError."""
    text = value.strip() if isinstance(value, str) else ""
    floor = _FREE_FLOOR.match(text)
    try:
        if text.lower() == _AUTO:
            return CacheSize()
        if floor:
            return CacheSize(free_bytes=parse_size_bytes(floor.group(1)))
        if text.endswith("%"):
            return CacheSize(disk_fraction=parse_fraction(text))
        size = CacheSize(n_bytes=parse_size_bytes(value))
    except ValueError:
        raise ValueError(_CACHE_HELP) from None
    if size.n_bytes and size.n_bytes < _MIN_CACHE_BYTES:
        raise ValueError(_CACHE_HELP)
    return size


_RATE_HELP = "expected bytes per second such as '10 MB/s', at least 16 kB/s, or for no limit 'none' or 0"
_MIN_RATE_BYTES_PER_S = 16_000
"""Below 4 KiB/s a peer gives us up, and a few may ask at once."""


@dataclass(frozen=True, slots=True)
class ByteRate:
    """A limit on what is sent or received; None: no limit."""

    bytes_per_s: int | None = None

    def __str__(self) -> str:
        """Write it so that it is read back as it was."""
        return "none" if self.bytes_per_s is None else f"{format_size(self.bytes_per_s)}/s"


def parse_rate(value: object) -> ByteRate:
    """Read ``"10 MB/s"``, ``10_000_000`` or, for no limit, ``"none"`` or 0; ValueError."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str):
        text = re.sub(r"\s*/\s*s\Z", "", text)
    try:
        n_bytes = 0 if isinstance(text, str) and text.lower() == "none" else parse_size_bytes(text)
    except ValueError:
        raise ValueError(_RATE_HELP) from None
    if 0 < n_bytes < _MIN_RATE_BYTES_PER_S:
        raise ValueError(_RATE_HELP)
    return ByteRate(n_bytes or None)


def parse_count(value: object) -> int:
    """Read a whole number from 1 to 100,000; ValueError."""
    if isinstance(value, str) and re.match(r"[0-9]{1,6}\Z", value.strip()):
        value = int(value)
    if type(value) is not int or not 1 <= value <= 100_000:
        raise ValueError("expected a whole number from 1 to 100,000")
    return value


_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off"})


def parse_yes_no(value: object) -> bool:
    """Read a bool, or what stands for one in an environment variable; ValueError."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in _YES | _NO:
        raise ValueError("expected true or false")
    return word in _YES


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; port 0 lets the system pick one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self}"


_ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})\Z")


def parse_address(value: object) -> Address:
    """Read ``HOST:PORT`` or ``[IPV6]:PORT``; ValueError."""
    match = _ADDRESS.match(value.strip()) if isinstance(value, str) else None
    if not match or int(match.group(3)) > 65535:
        raise ValueError("expected HOST:PORT such as 127.0.0.1:27180 or [::1]:27180, with a port up to 65535")
    if match.group(1):
        _check_ipv6(match.group(1))
    return Address(match.group(1) or match.group(2), int(match.group(3)))


def _check_ipv6(text: str) -> None:
    try:
        ipaddress.IPv6Address(text)
    except ValueError as exc:
        raise ValueError(f"[{text}] is not an IPv6 address") from exc


def format_size(n_bytes: int) -> str:
    """Return ``50 GB``: in the largest unit that needs no fraction, so that it is read back as it was."""
    sizes = ((unit, _SIZE_UNITS[unit.lower()]) for unit in _EXACT_UNITS)
    unit, size = next(((unit, size) for unit, size in sizes if n_bytes and n_bytes % size == 0), ("B", 1))
    return f"{n_bytes // size} {unit}"


def format_duration(duration_s: float) -> str:
    """Return ``5 s`` or ``0.5 s``."""
    return f"{duration_s:g} s"
