"""A secret that peers share: who knows it may ask."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

MIN_CHARACTERS = 16
"""Of 64 different ones 96 bits: nobody guesses that over a network."""
MAX_CHARACTERS = 512
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")
"""RFC 6750, 2.1: what a bearer token is made of."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A token in the form of RFC 6750; not shown by ``repr``."""

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        if not MIN_CHARACTERS <= len(self.token) <= MAX_CHARACTERS or not _TOKEN.match(self.token):
            raise ValueError(f"a secret has {MIN_CHARACTERS} to {MAX_CHARACTERS} letters, digits or -._~+/")

    @property
    def header(self) -> str:
        """The value of ``Authorization`` that says it."""
        return f"Bearer {self.token}"


def parse_secrets(text: str) -> list[Secret]:
    """Read a file of secrets, one a line, with ``#`` comments; ValueError tells which line is none, unquoted."""
    secrets = []
    for number, line in enumerate(text.splitlines(), 1):
        token = line.split("#", 1)[0].strip()
        try:
            secrets += [Secret(token)] if token else []
        except ValueError as exc:
            raise ValueError(f"line {number}: {exc}") from None
    if not secrets:
        raise ValueError("there is no secret in it")
    return secrets


def is_known(header: str | None, secrets: Iterable[Secret]) -> bool:
    """Tell whether an ``Authorization`` header says one of ``secrets``; how long that takes tells nothing of them."""
    said = _digest(header or "")
    return any([hmac.compare_digest(said, _digest(secret.header)) for secret in secrets])  # a list: each is compared


def _digest(header: str) -> bytes:
    """Bring headers to one length; the scheme's name is the same in any case (RFC 9110, 11.1)."""
    scheme, _, token = header.partition(" ")
    return hashlib.sha256(f"{scheme.lower()} {token.strip()}".encode("utf-8", "surrogateescape")).digest()
