from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.names import why_not_a_name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        (".", "is not a name"),
        ("..", "is not a name"),
        ("a/b", "'/'"),
        ("/", "'/'"),
        ("a\0", "NUL"),
        ("a" * 256, "255 bytes"),
        ("ü" * 128, "255 bytes"),
        ("\udcff" * 256, "255 bytes"),
        ("\ud800", "lone surrogate"),
        ("\udcc3\udca9", "spells valid UTF-8"),
        ("a\udc41", "lone surrogate"),
    ],
)
def test_what_no_file_system_or_no_honest_writer_would_call_a_file_is_no_name(name: str, reason: str) -> None:
    assert reason in str(why_not_a_name(name))


@pytest.mark.parametrize(
    "name", ["a", "...", ".zarray", " ", "a b", "100%", "\n", "\x7f", "ü" * 127, "\udcff", "a" * 255]
)
def test_odd_names_that_file_systems_take_are_names(name: str) -> None:
    assert why_not_a_name(name) is None


@given(st.binary(min_size=1, max_size=300))
def test_every_name_of_a_linux_file_system_is_one(raw: bytes) -> None:
    is_valid = b"/" not in raw and b"\0" not in raw and len(raw) <= 255 and raw not in (b".", b"..")
    assert (why_not_a_name(os.fsdecode(raw)) is None) == is_valid


@given(st.text(st.characters(), max_size=5))
def test_two_names_never_stand_for_the_same_bytes(name: str) -> None:
    if why_not_a_name(name) is None:
        assert os.fsdecode(os.fsencode(name)) == name
