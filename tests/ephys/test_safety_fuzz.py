"""Whatever a stranger writes into recording.json: a KacheryError or values of the table; nothing is imported for it."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import pytest
from hostile_shares import BINARY, BINARY_FOLDER, NWB, ZARR, describe_binary, on_top
from hypothesis import example, given
from hypothesis import strategies as st

from kacheryfs.core.model import Sha1
from kacheryfs.core.tree import FileEntry, Tree
from kacheryfs.ephys.safety import TABLE, Node, check_description, parse_description
from kacheryfs.ephys.safety_building import import_class
from kacheryfs.ephys.safety_kinds import MotionValues, Periods
from kacheryfs.ephys.safety_paths import InTree, split_path
from kacheryfs.errors import KacheryError

ENTRY = FileEntry(100, Sha1(b"x" * 20))
TREE = Tree({"sub": Tree({}, {"x.nwb": ENTRY, "raw.mda": ENTRY})}, {"r.dat": ENTRY, "x.nwb": ENTRY, "evil.pkl": ENTRY})

names = st.one_of(
    st.sampled_from(sorted(TABLE)),
    st.sampled_from(
        ["os.system", "builtins.exec", "spikeinterface.core.core_tools.read_python", "evil.Class", BINARY + "x"]
    ),
    st.text(max_size=40),
)
texts = st.one_of(
    st.sampled_from(
        ["r.dat", "sub", "sub/x.nwb", ".", "", "../r.dat", "/etc/passwd", "s3://b/k", "C:\\x", "evil.pkl", "O"]
    ),
    st.text(max_size=20),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
arguments = sorted({key for row in TABLE.values() for key in (*row.kwargs, *row.recordings)})


def _describe(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    kwargs = st.dictionaries(
        st.one_of(st.sampled_from(arguments), st.text(max_size=8)),
        st.one_of(values, inner, st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
        max_size=4,
    )
    return st.fixed_dictionaries(
        {"class": names, "kwargs": kwargs},
        optional={
            "module": texts,
            "version": values,
            "annotations": values,
            "properties": values,
            "relative_paths": values,
            "probegroup": values,
            "times_kwargs": values,
            "extra": values,
        },
    )


descriptions = st.recursive(values, _describe, max_leaves=6)
PLAIN = (type(None), bool, int, float, str, InTree, Periods, MotionValues)


def _is_right(node: Node) -> bool:
    return TABLE.get(node.row.path) is node.row and all(_is_value(value) for value in node.kwargs.values())


def _is_value(value: object) -> bool:
    if isinstance(value, Node):
        return _is_right(value)
    if isinstance(value, list):
        return all(map(_is_value, value))
    return all(map(_is_value, value.values())) if isinstance(value, dict) else isinstance(value, PLAIN)


@given(descriptions)
@example(describe_binary())
@example(on_top(on_top(describe_binary())))
@example({"class": BINARY_FOLDER, "kwargs": {"folder_path": "sub"}})
@example({"class": NWB, "kwargs": {"file_path": "sub/x.nwb"}})
@example({"class": ZARR, "kwargs": {"folder_path": "."}})
def test_a_description_is_of_the_table_or_a_kachery_error(described: Any) -> None:
    before = set(sys.modules)
    try:
        node = check_description(described, TREE)
    except KacheryError as exc:
        assert "\n" not in str(exc)
    else:
        assert _is_right(node)
        for each in node.walk():
            assert each.row in TABLE.values()
    assert set(sys.modules) == before, "nothing may be imported for what a stranger wrote"


@given(st.one_of(st.binary(max_size=200), descriptions.map(lambda value: json.dumps(value).encode())))
def test_bytes_are_a_node_or_a_kachery_error(data: bytes) -> None:
    with contextlib.suppress(KacheryError):
        assert _is_right(parse_description(data, TREE))


@given(st.text(alphabet=st.sampled_from("./\\~:ab\0 s3"), max_size=12))
def test_a_path_stays_in_the_tree_or_is_refused(path: str) -> None:
    try:
        found = split_path(path)
    except ValueError:
        return
    assert ".." not in found
    assert all(name and "/" not in name and "\0" not in name for name in found)


@pytest.mark.parametrize("path", sorted(TABLE))
def test_every_row_is_a_recording_of_this_spikeinterface(path: str) -> None:
    """The name in a row is the class's own: no alias, and no re-export that another version might fill otherwise."""
    found = import_class(TABLE[path])
    assert f"{found.__module__}.{found.__name__}" == path
