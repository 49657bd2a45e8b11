"""``--metrics``, of a server and of a mount that has one beside it."""

from __future__ import annotations

from ..core.quantities import Address, parse_address
from ..errors import InputError


def parse_metrics(text: str | None) -> Address | None:
    """Return where metrics are shown, None where they aren't; InputError."""
    try:
        return None if text is None else parse_address(text)
    except ValueError as exc:
        raise InputError(f"--metrics can't be {text!r}: {exc}") from exc
