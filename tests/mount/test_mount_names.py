"""What the mount shows: each promise of the semantics (``kacheryfs/mount/__init__.py``) on names, without a kernel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountfakes import ODD_NAMES, Shown, World, bytes_of, digest_of, entry_of, manifest_of

from kacheryfs.core.link import FileLink, TreeLink, mount_path
from kacheryfs.core.model import Sha1
from kacheryfs.core.request import FileRequest
from kacheryfs.core.tree import Tree
from kacheryfs.mount.attributes import Attributes
from kacheryfs.mount.engine import KnownFile, KnownTree
from kacheryfs.mount.names import FileName, Place, find_labelled, find_named

PROBES = (".git", ".hidden", "autorun.inf", ".Trash-1000", "n" * 255, "H", "0" * 39, "0" * 41, "A" * 40, " " + "0" * 40)


async def test_the_root_lists_readme_collections_sha1_and_sha1dir(shown: Shown) -> None:
    assert list(await shown.list()) == ["README", "collections", "sha1", "sha1dir"]


async def test_the_directories_of_links_can_be_opened_but_are_not_listed(shown: Shown) -> None:
    for name in ("sha1:", "sha1dir:"):
        assert await shown.list(name) == {}


async def test_the_readme_tells_how_to_read_the_mount(shown: Shown) -> None:
    text = await shown.read("README")
    assert b"sha1/H" in text
    assert (await shown.get("README")).size_bytes == len(text)


@pytest.mark.parametrize(
    "form", ["sha1/{H}", "sha1/{H}.mat", "sha1/{H}.a label.with dots?", "sha1:/{H}/rec.dat", "sha1:/{H}/a%20b%2Fc"]
)
async def test_a_file_stands_under_its_digest_whatever_the_label(shown: Shown, form: str) -> None:
    path = form.format(H=shown.world.large.digest)
    assert await shown.read(path) == shown.world.large.data
    assert shown.engine.asked[0] == FileRequest(shown.world.large.digest)


@pytest.mark.parametrize(
    "form",
    [
        "sha1:/{H}?manifest={M}",
        "sha1:/{H}/rec.dat?manifest={M}",
        "sha1:/{H}/a b?manifest={X}?manifest={M}",
        "sha1/{H}.dat?manifest={M}",
        "sha1/{H}?manifest={M}",
        "sha1:/{H}.dat?manifest={M}",
    ],
)
async def test_a_links_manifest_is_asked_for(shown: Shown, form: str) -> None:
    large = shown.world.large
    path = form.format(H=large.digest, M=large.manifest, X="0" * 64)
    assert await shown.read(path, 0, 10) == large.data[:10]
    assert set(shown.engine.asked) == {FileRequest(large.digest, large.manifest)}


async def test_a_legacy_manifest_is_one_of_40_digits(shown: Shown) -> None:
    digest = shown.world.large.digest
    await shown.find(f"sha1:/{digest}/x?manifest={digest_of('legacy')}")
    assert shown.engine.asked == [FileRequest(digest, digest_of("legacy"))]


@pytest.mark.parametrize("form", ["sha1:/{H}?manifest=", "sha1:/{H}/x?manifest=zz", "sha1/{H}?manifest=12"])
async def test_a_damaged_manifest_does_not_pass_for_a_bare_name(shown: Shown, form: str) -> None:
    assert await shown.is_absent(form.format(H=shown.world.large.digest))
    assert shown.engine.asked == []


async def test_a_digest_in_the_directory_of_links_is_a_directory_that_lists_nothing(shown: Shown) -> None:
    assert await shown.list(f"sha1:/{shown.world.large.digest}") == {}
    assert shown.engine.asked == []


async def test_the_label_that_kachery_cloud_writes_as_a_query_is_a_label(shown: Shown) -> None:
    for query in ("rec.json", "label=rec.json"):
        assert await shown.read(f"sha1:/{shown.world.small.digest}?{query}") == shown.world.small.data


async def test_a_chunk_of_another_file_is_not_a_name(shown: Shown) -> None:
    assert await shown.is_absent(f"sha1:/{shown.world.small.digest}?chunkOf={shown.world.large.digest}~0~13")


@pytest.mark.parametrize("link_of", [lambda d, m: FileLink(d, "a b%?.dat", m), lambda d, m: FileLink(d, "", m)])
async def test_mountpoint_and_link_make_a_path(shown: Shown, link_of: object) -> None:
    large = shown.world.large
    link = link_of(large.digest, large.manifest)  # type: ignore[operator]
    as_typed = str(link).replace("://", ":/")  # the kernel takes // for /
    for path in (as_typed, mount_path(link)):
        assert (await shown.get(path)).size_bytes == len(large.data)


@pytest.mark.parametrize("top", ["sha1dir/{H}", "sha1dir/{H}.label", "sha1dir:/{H}.la%20bel", "sha1dir:/{H}"])
async def test_a_tree_stands_under_its_digest_with_its_real_names(shown: Shown, top: str) -> None:
    root = top.format(H=shown.world.tree_sha1)
    listed = await shown.list(root)
    assert set(listed) == {"sub", "empty folder", "small.txt", "empty", *ODD_NAMES}
    assert await shown.list(f"{root}/empty folder") == {}
    assert await shown.read(f"{root}/sub/inner.dat") == shown.world.large.data
    for i, name in enumerate(ODD_NAMES):
        assert await shown.read(f"{root}/{name}") == f"content of {i}".encode()


async def test_links_into_a_tree_work_as_typed_and_as_printed(shown: Shown) -> None:
    for i, name in enumerate(ODD_NAMES):
        link = TreeLink(shown.world.tree_sha1, "x y", (name,))
        for path in (str(link).replace("://", ":/"), mount_path(link)):
            assert await shown.read(path) == f"content of {i}".encode()


async def test_a_name_as_it_stands_comes_before_its_decoded_form(shown: Shown) -> None:
    decoded, raw = shown.world.add(b"decoded"), shown.world.add(b"raw")
    tree = Tree({}, {"a b": entry_of(decoded.data), "a%20b": entry_of(raw.data)})
    shown.engine.trees[digest_of("t")] = tree
    assert await shown.read(f"sha1dir:/{digest_of('t')}/a%20b") == b"raw"
    assert await shown.read(f"sha1dir/{digest_of('t')}/a b") == b"decoded"


async def test_names_are_not_decoded_where_no_link_is_read(shown: Shown) -> None:
    shown.engine.trees[digest_of("t")] = Tree({}, {"a b": entry_of(b"")})
    assert await shown.is_absent(f"sha1dir/{digest_of('t')}/a%20b")
    assert not await shown.is_absent(f"sha1dir:/{digest_of('t')}/a%20b")


async def test_no_peer_is_asked_for_what_is_no_digest(shown: Shown) -> None:
    for name in PROBES:
        for place in ("", "sha1/", "sha1dir/", "sha1:/", "sha1dir:/"):
            assert await shown.is_absent(place + name)
    for name in (".git", ".hidden", "autorun.inf"):
        assert await shown.is_absent(f"sha1:/{shown.world.small.digest}/{name}")
    assert shown.engine.asked == []


async def test_nothing_is_asked_to_walk_and_list_a_tree(shown: Shown) -> None:
    await shown.list(f"sha1dir/{shown.world.wide_sha1}")
    assert await shown.is_absent(f"sha1dir/{shown.world.wide_sha1}/.git")
    assert {type(asked) for asked in shown.engine.asked} == {Sha1}


async def test_sha1_lists_what_this_machine_knows(shown: Shown) -> None:
    large, claimed = shown.world.large, shown.world.claimed
    shown.known = [
        KnownFile(large.digest, len(large.data), large.manifest, large.trust),
        KnownFile(large.digest, len(large.data), large.manifest, large.trust),
        KnownFile(claimed.digest, len(claimed.data), None, claimed.trust),
        KnownTree(shown.world.tree_sha1),
    ]
    sizes = {name: attributes.size_bytes for name, attributes in (await shown.list("sha1")).items()}
    assert sizes == {large.digest.hex: len(large.data), claimed.digest.hex: len(claimed.data)}
    assert set(await shown.list("sha1dir")) == {shown.world.tree_sha1.hex}
    assert shown.engine.asked == []


async def test_a_listed_tree_is_asked_for_when_it_is_entered(shown: Shown) -> None:
    shown.known = [KnownTree(shown.world.tree_sha1)]
    inode = (await shown.list("sha1dir"))[shown.world.tree_sha1.hex].inode
    handle = await shown.vfs.open_directory(inode)
    assert len(list(shown.vfs.entries(handle, 0))) == 4 + len(ODD_NAMES)


async def test_what_is_not_listed_can_be_opened_all_the_same(shown: Shown) -> None:
    assert await shown.list("sha1") == {}
    assert await shown.read(f"sha1/{shown.world.small.digest}") == shown.world.small.data


async def test_a_listing_can_be_taken_in_pieces(shown: Shown) -> None:
    handle = await shown.vfs.open_directory((await shown.get(f"sha1dir/{shown.world.wide_sha1}")).inode)
    names, start = [], 0
    while piece := [entry for entry, _ in zip(shown.vfs.entries(handle, start), range(777), strict=False)]:
        names += [entry.name for entry in piece]
        start = piece[-1].next_index
    assert names == [f"entry-{i:05d}.dat".encode() for i in range(10_000)]


async def test_a_listed_entry_is_the_one_that_is_looked_up(shown: Shown) -> None:
    for name, listed in (await shown.list(f"sha1dir/{shown.world.tree_sha1}")).items():
        found = await shown.get(f"sha1dir/{shown.world.tree_sha1}/{name}")
        assert found == listed


@given(st.text(), st.sampled_from(list(Place)))
def test_any_name_is_answered(name: str, place: Place) -> None:
    find_named(place, name)
    find_labelled(digest_of("x"), name)


@given(st.binary(min_size=1, max_size=255).filter(lambda raw: not set(raw) & set(b"/\0") and raw not in (b".", b"..")))
def test_every_label_of_a_link_leads_to_its_file(raw: bytes) -> None:
    link = FileLink(digest_of("x"), raw.decode("utf-8", "surrogateescape"), manifest_of(b"x"))
    name = mount_path(link).split("/", 2)[2]
    assert find_labelled(link.sha1, name) == FileName(FileRequest(link.sha1, link.manifest), link.label)


async def test_a_file_that_was_forgotten_is_found_anew(shown: Shown, world: World) -> None:
    world.add(bytes_of(9, 10))
    first = await shown.get(f"sha1/{Sha1.of(bytes_of(9, 10))}")
    shown.vfs.forget(first.inode, 1)
    again = await shown.get(f"sha1/{Sha1.of(bytes_of(9, 10))}")
    assert isinstance(again, Attributes)
    assert again.inode > first.inode
