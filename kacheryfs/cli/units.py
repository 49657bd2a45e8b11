"""Numbers as people read them, and back."""

from __future__ import annotations

_STEPS = ("B", "kB", "MB", "GB", "TB", "PB")


def format_bytes(n_bytes: float) -> str:
    """Return three significant digits in decimal units: ``1.45 GB``."""
    value = float(n_bytes)
    for unit in _STEPS:
        if value < 999.5 or unit == _STEPS[-1]:
            break
        value /= 1000
    if unit == "B":
        return f"{n_bytes:.0f} B"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def format_rate(bytes_per_s: float | None) -> str:
    return "-" if bytes_per_s is None else f"{format_bytes(bytes_per_s)}/s"


def format_ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"


def format_seconds(seconds: float) -> str:
    """``12 ms``, ``3.2 s``, ``12 min``."""
    if seconds < 0.9995:
        return format_ms(seconds)
    return f"{seconds:.{1 if seconds < 9.95 else 0}f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def format_share(part: int, whole: int) -> str:
    """Return percent, never 100 before it is all there."""
    if part >= whole:
        return "100 %"
    return f"{min(int(1000 * part / whole) / 10, 99.9):.1f} %"


def format_count(n: int, noun: str) -> str:
    """``1 file``, ``1,024 files``."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
