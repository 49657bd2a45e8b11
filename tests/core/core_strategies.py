"""Hypothesis strategies for the words of ``kacheryfs.core``."""

from __future__ import annotations

from hypothesis import strategies as st

from kacheryfs.core.model import Blake3, Sha1
from kacheryfs.core.names import why_not_a_name
from kacheryfs.core.tree import FileEntry, Tree

sha1s = st.binary(min_size=20, max_size=20).map(Sha1)
blake3s = st.binary(min_size=32, max_size=32).map(Blake3)
manifests = st.one_of(blake3s, sha1s)
sizes = st.integers(0, 1 << 50)


def _from_bytes(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


_awkward = st.sampled_from(
    [
        "a b.dat",
        "100%.dat",
        "a%20b",
        "what?.bin",
        "x?manifest=y",
        "a&b=c",
        ".zarray",
        "ü.raw",
        "…",
        "a.b.c",
        "\udcff",
        "#",
    ]
)
names = st.one_of(
    _awkward, st.text(min_size=1, max_size=40), st.binary(min_size=1, max_size=80).map(_from_bytes)
).filter(lambda name: why_not_a_name(name) is None)
labels = st.one_of(st.just(""), names)
entries = st.builds(FileEntry, sizes, sha1s, st.one_of(st.none(), manifests))


def _tree_of(items: dict[str, object]) -> Tree:
    dirs = {name: item for name, item in items.items() if isinstance(item, Tree)}
    return Tree(dirs, {name: item for name, item in items.items() if isinstance(item, FileEntry)})


trees = st.recursive(
    st.builds(Tree),
    lambda inner: st.dictionaries(names, st.one_of(entries, inner), max_size=5).map(_tree_of),
    max_leaves=8,
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["files", "dirs", "size", "sha1", "manifest", "chunks", "start"]), st.text(max_size=5)
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
