"""Which of those who read one file at once fetches what: each block is asked of the origin about once.

Rendezvous hashing: everybody ranks all readers that it knows by BLAKE3(id, file, unit) and takes the highest for the
unit's owner. Nobody has to agree on who is there: who doesn't know of a reader merely thinks another the owner. Who
waits for an owner waits for somebody that ranks above itself, so that nobody waits in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from .model import Binding

UNIT_BYTES = 1024 * 1024
"""Owned together: a request's round trip is worth it, and a reader's window of 16 MiB has some of everybody's."""


def unit_of(block: int, block_bytes: int) -> int:
    return block * block_bytes // UNIT_BYTES


def rank(peer_id: bytes, binding: Binding, unit: int) -> bytes:
    """Return by what the owner of a unit is found: the highest owns it."""
    manifest = binding.manifest.raw if binding.manifest else b""
    return blake3(peer_id + binding.sha1.raw + manifest + unit.to_bytes(8, "little")).digest()


def find_owner(ids: Iterable[bytes], binding: Binding, unit: int) -> bytes | None:
    """Return who owns a unit among those who read its file; None where nobody does."""
    return max(ids, key=lambda peer_id: rank(peer_id, binding, unit), default=None)
