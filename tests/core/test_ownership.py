"""Who fetches what is agreed without a word, evenly, and never in a circle."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.model import Binding, Blake3, Sha1
from kacheryfs.core.ownership import find_owner, rank, unit_of

BINDING = Binding(Sha1(b"s" * 20), Blake3(b"m" * 32))
IDS = st.sets(st.binary(min_size=16, max_size=16), min_size=1, max_size=8)
UNITS = st.integers(0, 1 << 30)


@given(IDS, UNITS)
def test_everybody_who_knows_the_same_readers_finds_the_same_owner(ids: set[bytes], unit: int) -> None:
    assert find_owner(sorted(ids), BINDING, unit) == find_owner(sorted(ids, reverse=True), BINDING, unit)


@given(IDS, st.binary(min_size=16, max_size=16), UNITS)
def test_another_reader_takes_units_for_itself_alone(ids: set[bytes], other: bytes, unit: int) -> None:
    assert find_owner({*ids, other}, BINDING, unit) in (find_owner(ids, BINDING, unit), other)


@given(st.dictionaries(st.binary(min_size=16, max_size=16), IDS, min_size=1, max_size=6), UNITS)
def test_who_waits_for_an_owner_waits_for_a_higher_rank(known: dict[bytes, set[bytes]], unit: int) -> None:
    """Whatever each of them knows of the others."""
    for ours, others in known.items():
        owner = find_owner({ours, *others}, BINDING, unit)
        assert owner is not None
        assert owner == ours or rank(owner, BINDING, unit) > rank(ours, BINDING, unit)


def test_units_are_shared_out_about_evenly() -> None:
    ids = [bytes([i]) * 16 for i in range(8)]
    counts = Counter(find_owner(ids, BINDING, unit) for unit in range(2000))
    assert all(150 < counts[peer_id] < 350 for peer_id in ids)


def test_where_nobody_reads_nobody_owns() -> None:
    assert find_owner([], BINDING, 0) is None


def test_a_unit_is_a_mebibyte_or_one_large_block() -> None:
    assert [unit_of(block, 256 * 1024) for block in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]
    assert [unit_of(block, 64 * 1024 * 1024) for block in (0, 1)] == [0, 64]
