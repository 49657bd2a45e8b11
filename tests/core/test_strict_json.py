from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core import strict_json
from kacheryfs.core.strict_json import parse_strict_json
from kacheryfs.errors import ProofError

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**14), 10**15), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=10,
)


def parse(data: bytes) -> object:
    return parse_strict_json(data, what="this", max_bytes=100_000)


@given(values, st.booleans())
def test_ordinary_json_is_read_as_the_standard_library_reads_it(value: object, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{}{}", "not JSON"),
        (b"\xff", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ("{}".encode("utf-16"), "not JSON"),
        (b'{"a": 1, "a": 1}', "a name is given twice"),
        (b'{"a": 1, "\\u0061": 2}', "a name is given twice"),
        (b'[{"a": {"b": 1, "b": 2}}]', "a name is given twice"),
        (b"1.0", "1.0 is no integer"),
        (b"1e5", "no integer"),
        (b"NaN", "no integer"),
        (b"[Infinity]", "no integer"),
        (b"-Infinity", "no integer"),
        (b"1." + b"0" * 1000, "no integer"),
        (b"9" * 17, "an integer of 17 digits"),
        (b"9" * 5000, "an integer of 5000 digits"),
        (b"-" + b"9" * 5000, "an integer of 5001 digits"),
        (b"[" * 90_000, "nested too deeply"),
        (b'{"a":' * 15_000, "nested too deeply"),
        (b"[" * 40_000 + b"]" * 40_000, "nested too deeply"),
        (b" " * 100_001, "over the limit of 100000"),
    ],
)
def test_what_is_loose_or_hostile_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ProofError, match=reason):
        parse(data)


def test_a_number_of_values_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "MAX_COMMAS", 10)
    assert parse(b"[0" + b",0" * 10 + b"]") == [0] * 11
    for data in (b"[0" + b",0" * 11 + b"]", b"{" + b",".join(b'"%d":{}' % i for i in range(12)) + b"}"):
        with pytest.raises(ProofError, match="more than 10 values"):
            parse(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_a_proof_error(data: bytes) -> None:
    for variant in (data, b'{"' + data + b'": 1}'):
        try:
            parse(variant)
        except ProofError:
            continue
