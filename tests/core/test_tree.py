from __future__ import annotations

import json
import random

import pytest
from core_strategies import json_values, names, trees
from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core import tree as tree_module
from kacheryfs.core.manifest import MAX_FILE_BYTES
from kacheryfs.core.model import Blake3, Sha1
from kacheryfs.core.tree import MAX_TREE_DEPTH, FileEntry, Tree, decode_tree, encode_tree
from kacheryfs.errors import InputError, ProofError

H = "0123456789abcdef0123456789abcdef01234567"
M = "fedcba98" * 8
SHA1, MANIFEST = Sha1.from_hex(H), Blake3.from_hex(M)
FILE = {"size": 5, "sha1": H}
EMPTY: dict[str, object] = {"files": {}, "dirs": {}}


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def nested(depth: int) -> bytes:
    """Return the JSON of ``depth`` directories inside each other, below the tree's own."""
    return b'{"files":{},"dirs":{"d":' * depth + b'{"files":{},"dirs":{}}' + b"}}" * depth


@given(trees)
def test_a_tree_that_was_written_reads_as_itself(tree: Tree) -> None:
    assert decode_tree(encode_tree(tree)) == tree


@given(trees, st.randoms(use_true_random=False))
def test_a_tree_has_one_form_whatever_the_order_that_it_was_read_in(tree: Tree, rng: random.Random) -> None:
    def shuffle(value: object) -> object:
        if not isinstance(value, dict):
            return value
        items = [(name, shuffle(inner)) for name, inner in value.items()]
        rng.shuffle(items)
        return dict(items)

    canonical = encode_tree(tree)
    other = json.dumps(shuffle(json.loads(canonical)), indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5)
    try:
        data = other.encode()
    except UnicodeEncodeError:  # a lone surrogate can only be escaped
        data = json.dumps(json.loads(other)).encode()
    assert encode_tree(decode_tree(data)) == canonical


def test_the_canonical_form_is_sorted_compact_and_ascii() -> None:
    tree = Tree(
        {"z": Tree(), "é": Tree({}, {"\udcff": FileEntry(0, SHA1)})},
        {"b.dat": FileEntry(10**12, SHA1, MANIFEST), "a b": FileEntry(5, SHA1, SHA1)},
    )
    assert encode_tree(tree) == (
        b'{"dirs":{"z":{"dirs":{},"files":{}},'
        b'"\\u00e9":{"dirs":{},"files":{"\\udcff":{"sha1":"%b","size":0}}}},'
        b'"files":{"a b":{"manifest":"%b","sha1":"%b","size":5},'
        b'"b.dat":{"manifest":"%b","sha1":"%b","size":1000000000000}}}'
    ) % (H.encode(), H.encode(), H.encode(), M.encode(), H.encode())


def test_a_directory_json_of_the_lineage_is_read_in_its_own_order_and_spacing() -> None:
    old = b'{"files": {"z.dat": {"size": 5, "sha1": "%b"}}, "dirs": {"a": {"files": {}, "dirs": {}}}}' % H.encode()
    assert decode_tree(old) == Tree({"a": Tree()}, {"z.dat": FileEntry(5, SHA1)})


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0", "a" * 256, "ü" * 128, "\ud800", "\udcc3\udca9"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    for value in ({"files": {name: FILE}, "dirs": {}}, {"files": {}, "dirs": {name: EMPTY}}):
        with pytest.raises(ProofError, match="the name"):
            decode_tree(encoded(value))
        with pytest.raises(ProofError, match="the name"):
            decode_tree(encoded({"files": {}, "dirs": {"inner": value}}))
    with pytest.raises(ValueError, match="the name"):
        Tree({name: Tree()})


@pytest.mark.parametrize(
    "data",
    [
        b'{"files": {"a": {"size": 5, "sha1": "%b"}, "a": {"size": 6, "sha1": "%b"}}, "dirs": {}}',
        b'{"files": {"a": {"size": 5, "sha1": "%b"}, "\\u0061": {"size": 5, "sha1": "%b"}}, "dirs": {}}',
        b'{"files": {"a": {"size": 5, "size": 6, "sha1": "%b", "sha1": "%b"}}, "dirs": {}}',
        b'{"files": {"a": {"size": 5, "sha1": "%b"}}, "files": {"b": {"size": 5, "sha1": "%b"}}, "dirs": {}}',
    ],
)
def test_a_name_that_is_given_twice_is_refused(data: bytes) -> None:
    with pytest.raises(ProofError, match="twice"):
        decode_tree(data % (H.encode(), H.encode()))


def test_a_name_for_a_file_and_for_a_directory_is_refused() -> None:
    with pytest.raises(ProofError, match="a file and for a directory"):
        decode_tree(encoded({"files": {"a": FILE}, "dirs": {"a": EMPTY}}))


@pytest.mark.parametrize("size", [True, False, -1, 1.0, "5", None, [], {}, MAX_FILE_BYTES + 1, 10**15 * 9])
def test_a_size_is_an_integer_up_to_a_pebibyte(size: object) -> None:
    with pytest.raises(ProofError):
        decode_tree(encoded({"files": {"a": {"size": size, "sha1": H}}, "dirs": {}}))


@pytest.mark.parametrize("size", [b"9" * 5000, b"NaN", b"1e3", b"Infinity", b"-1", b"00", b"0x5"])
def test_a_size_that_python_would_choke_on_or_round_is_refused(size: bytes) -> None:
    with pytest.raises(ProofError):
        decode_tree(b'{"files": {"a": {"size": %b, "sha1": "%b"}}, "dirs": {}}' % (size, H.encode()))


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"size": 5},
        {"sha1": H},
        {"size": 5, "sha1": H[1:]},
        {"size": 5, "sha1": H.upper()},
        {"size": 5, "sha1": None},
        {"size": 5, "sha1": M},
        {"size": 5, "sha1": H, "manifest": None},
        {"size": 5, "sha1": H, "manifest": ""},
        {"size": 5, "sha1": H, "manifest": M[1:]},
        {"size": 5, "sha1": H, "manifest": True},
        {"size": 5, "sha1": H, "path": "/etc/passwd"},
        [],
        None,
        "text",
    ],
)
def test_an_entry_is_exactly_a_size_a_sha1_and_perhaps_a_manifest(entry: object) -> None:
    with pytest.raises(ProofError):
        decode_tree(encoded({"files": {"a": entry}, "dirs": {}}))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        5,
        {},
        {"files": {}},
        {"dirs": {}},
        {"files": [], "dirs": {}},
        {"files": {}, "dirs": None},
        {"files": {}, "dirs": {"a": {}}},
        {"files": {}, "dirs": {"a": FILE}},
        {"files": {}, "dirs": {}, "links": {}},
    ],
)
def test_a_directory_is_exactly_its_files_and_its_directories(value: object) -> None:
    with pytest.raises(ProofError):
        decode_tree(encoded(value))


def test_directories_nest_64_deep_and_no_deeper() -> None:
    tree = decode_tree(nested(MAX_TREE_DEPTH))
    assert tree.find(("d",) * MAX_TREE_DEPTH) == Tree()
    assert decode_tree(encode_tree(tree)) == tree
    with pytest.raises(ProofError, match="deeper than 64"):
        decode_tree(nested(MAX_TREE_DEPTH + 1))
    with pytest.raises(InputError, match="deeper than 64"):
        encode_tree(Tree({"d": tree}))


@pytest.mark.parametrize("bomb", [b"[" * 1_000_000, b'{"a":' * 1_000_000, nested(20_000), b'{"dirs":' * 500_000])
def test_a_depth_bomb_is_refused_without_exhausting_the_stack(bomb: bytes) -> None:
    with pytest.raises(ProofError, match="too deeply"):
        decode_tree(bomb)


def test_a_json_over_64_mib_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ProofError, match="over the limit of 67108864"):
        decode_tree(b"\0" * (64 * 1024 * 1024 + 1))


def test_a_tree_that_no_reader_would_take_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree({}, {"a": FileEntry(5, SHA1)})
    monkeypatch.setattr(tree_module, "MAX_TREE_BYTES", len(encode_tree(tree)))
    encode_tree(tree)
    with pytest.raises(InputError, match="share its sub-directories"):
        encode_tree(Tree({}, {"ab": FileEntry(5, SHA1)}))
    monkeypatch.setattr(tree_module, "MAX_COMMAS", encode_tree(tree).count(b","))
    encode_tree(tree)
    with pytest.raises(InputError, match="share its sub-directories"):
        encode_tree(Tree({}, {",": FileEntry(5, SHA1)}))


def test_files_and_directories_may_be_called_like_the_keys_of_the_json() -> None:
    files = {name: FileEntry(5, SHA1) for name in ("size", "sha1", "manifest", "files")}
    tree = Tree(
        {"dirs": Tree({}, files), "size": Tree(), "sha1": Tree({"size": Tree()})}, {"files": FileEntry(1, SHA1)}
    )
    assert decode_tree(encode_tree(tree)) == tree


@given(st.binary(max_size=80))
def test_any_bytes_are_a_tree_or_a_proof_error(data: bytes) -> None:
    try:
        decode_tree(data)
    except ProofError:
        return


@given(json_values)
def test_any_json_is_a_tree_or_a_proof_error(value: object) -> None:
    for candidate in (value, {"files": value, "dirs": {}}, {"files": {"a": value}, "dirs": {"b": value}}):
        try:
            decode_tree(encoded(candidate))
        except ProofError:
            continue


@given(trees, st.data())
def test_a_changed_byte_gives_a_valid_tree_or_a_proof_error(tree: Tree, data: st.DataObject) -> None:
    raw = bytearray(encode_tree(tree))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = decode_tree(bytes(raw))
    except ProofError:
        return
    assert decode_tree(encode_tree(changed)) == changed


@given(trees)
def test_walking_a_tree_finds_each_file_where_it_stands(tree: Tree) -> None:
    walked = list(tree.walk())
    assert all(tree.find(path) == entry for path, entry in walked)
    assert len({path for path, _ in walked}) == len(walked) == tree.n_files
    assert sum(entry.size_bytes for _, entry in walked) == tree.total_bytes


@given(trees, st.lists(names, max_size=3))
def test_finding_follows_names_one_by_one(tree: Tree, path: list[str]) -> None:
    found = tree.find(path)
    if not path:
        assert found is tree
    elif found is not None:
        parent = tree.find(path[:-1])
        assert isinstance(parent, Tree)
        assert found is (parent.dirs | parent.files)[path[-1]]  # type: ignore[operator]


def test_nothing_stands_below_a_file() -> None:
    tree = Tree({}, {"a": FileEntry(5, SHA1)})
    assert tree.find(("a", "b")) is None
    assert tree.find(("b",)) is None
