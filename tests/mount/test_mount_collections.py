"""What the mount shows of opened collections: each promise of the semantics' chapter on them, without a kernel."""

from __future__ import annotations

import errno
import stat
from collections.abc import Mapping

import pytest
import trio
import trio.testing
from mountfakes import FakeFile, Shown, digest_of

from kacheryfs.core.collection import Collection, RecordingEntry, SortingEntry
from kacheryfs.core.collection_json import MAX_COLLECTION_BYTES, encode_collection
from kacheryfs.core.link import FileLink, TreeLink
from kacheryfs.core.model import Sha1
from kacheryfs.core.request import FileRequest, Trust
from kacheryfs.core.tree import FileEntry, Tree
from kacheryfs.errors import ClaimError, KacheryError, UnreachableError
from kacheryfs.mount.attributes import Absent

TOP = "collections/locust"


def link_of(shown: Shown, collection: Collection, **more: object) -> FileLink:
    """Let the engine have a collection's JSON; returns the collection's link."""
    file = shown.world.engine.add(FakeFile(encode_collection(collection), **more))  # type: ignore[arg-type]
    return FileLink(file.digest, f"{collection.name}.json")


def recordings(links: Mapping[str, FileLink | TreeLink]) -> dict[str, RecordingEntry]:
    return {id_: RecordingEntry(id=id_, link=link) for id_, link in links.items()}


def make_collection(shown: Shown) -> Collection:
    """Make a collection with every kind of link."""
    world = shown.world
    entries = recordings(
        {
            "whole tree": TreeLink(world.tree_sha1, "session"),
            "inside a tree": TreeLink(world.tree_sha1, "session", ("sub",)),
            "file in a tree": TreeLink(world.tree_sha1, "session", ("sub", "inner.dat")),
            "nowhere in a tree": TreeLink(world.tree_sha1, "session", ("no such name",)),
            "unreachable tree": TreeLink(world.unreachable),
            "file": FileLink(world.large.digest, "recording.json", world.large.manifest),
            "file without a name": FileLink(world.small.digest),
            "claimed file": FileLink(world.claimed.digest, "raw.dat"),
            "empty file": FileLink(Sha1.of(b""), "empty.dat"),
        }
    )
    sorting = SortingEntry(id="by hand", link=TreeLink(world.wide_sha1), recording_id="file")
    return Collection("locust", "Antennal lobe", entries, {"by hand": sorting})


@pytest.fixture
def opened(shown: Shown) -> Shown:
    """A Vfs with one opened collection."""
    shown.vfs.collections.replace({"locust": link_of(shown, make_collection(shown))})
    return shown


async def fails_with(shown: Shown, path: str, code: int) -> KacheryError:
    with pytest.raises(KacheryError) as caught:
        await shown.find(path)
    assert caught.value.errno == code
    return caught.value


# what stands where


async def test_opened_collections_are_listed_by_name_and_nobody_is_asked(opened: Shown) -> None:
    links = {name: FileLink(digest_of(name)) for name in ("tetrodes", "a collection, spaces and 100%", "grüße")}
    opened.vfs.collections.replace({**opened.vfs.collections.links, **links})
    assert list(await opened.list("collections")) == sorted([*links, "locust"])
    assert opened.engine.asked == []


async def test_no_other_name_stands_for_anything(opened: Shown) -> None:
    for name in (".git", "other", "0" * 40, opened.world.large.digest.hex, "n" * 255):
        assert await opened.is_absent(f"collections/{name}")
    assert opened.engine.asked == []


async def test_without_an_opened_collection_there_is_an_empty_directory(shown: Shown) -> None:
    assert await shown.list("collections") == {}


async def test_a_collection_has_its_json_recordings_and_sortings(opened: Shown) -> None:
    listed = await opened.list(TOP)
    assert list(listed) == ["collection.json", "recordings", "sortings"]
    assert [stat.S_ISDIR(found.mode) for found in listed.values()] == [False, True, True]
    data = encode_collection(make_collection(opened))
    assert listed["collection.json"].size_bytes == len(data)
    assert await opened.read(f"{TOP}/collection.json") == data
    assert await opened.is_absent(f"{TOP}/no such part")


async def test_a_large_collections_json_reads_under_its_links_manifest(shown: Shown) -> None:
    entries = recordings({f"recording {i}": TreeLink(digest_of(str(i)), "x" * 200) for i in range(1000)})
    data = encode_collection(Collection("large", "", entries))
    file = shown.world.add(data)
    assert file.manifest is not None
    shown.vfs.collections.replace({"large": FileLink(file.digest, "large.json", file.manifest)})
    assert len(await shown.list("collections/large/recordings")) == 1000
    assert await shown.read("collections/large/collection.json") == data
    assert set(shown.engine.asked) == {
        FileRequest(file.digest, file.manifest),
        FileRequest(file.digest, file.manifest, len(data)),
    }


async def test_a_recording_is_the_tree_that_its_link_names(opened: Shown) -> None:
    world = opened.world
    top = f"{TOP}/recordings/whole tree"
    assert set(await opened.list(top)) == set(await opened.list(f"sha1dir/{world.tree_sha1}"))
    assert await opened.read(f"{top}/sub/inner.dat") == world.large.data
    assert await opened.read(f"{top}/small.txt") == world.small.data
    assert await opened.xattr(f"{top}/sub/inner.dat", "trust") == "linked"
    assert len(await opened.list(f"{TOP}/sortings/by hand")) == 10_000


async def test_a_recording_may_be_a_directory_inside_a_tree(opened: Shown) -> None:
    assert list(await opened.list(f"{TOP}/recordings/inside a tree")) == ["inner.dat"]
    assert await opened.read(f"{TOP}/recordings/inside a tree/inner.dat") == opened.world.large.data


@pytest.mark.parametrize(
    ("id_", "name", "data_of"),
    [
        ("file", "recording.json", lambda world: world.large.data),
        ("file in a tree", "inner.dat", lambda world: world.large.data),
        ("file without a name", None, lambda world: world.small.data),
        ("claimed file", "raw.dat", lambda world: world.claimed.data),
        ("empty file", "empty.dat", lambda world: b""),
    ],
)
async def test_a_recording_whose_link_names_one_file_is_a_folder_with_it(
    opened: Shown, id_: str, name: str | None, data_of: object
) -> None:
    name, data = name or opened.world.small.digest.hex, data_of(opened.world)  # type: ignore[operator]
    folder = f"{TOP}/recordings/{id_}"
    assert stat.S_ISDIR((await opened.get(folder)).mode)
    (listed,) = (await opened.list(folder)).items()
    assert (listed[0], listed[1].size_bytes) == (name, len(data))
    assert await opened.get(f"{folder}/{name}") == listed[1]
    assert await opened.read(f"{folder}/{name}") == data
    assert await opened.is_absent(f"{folder}/other name")


async def test_listing_ids_asks_for_nothing_but_the_collections_json(opened: Shown) -> None:
    ids = sorted(make_collection(opened).recordings)
    listed = await opened.list(f"{TOP}/recordings")
    assert list(listed) == ids
    assert all(stat.S_ISDIR(found.mode) for found in listed.values())
    for id_ in ids:
        assert await opened.get(f"{TOP}/recordings/{id_}") == listed[id_]
    assert list(await opened.list(f"{TOP}/sortings")) == ["by hand"]
    assert await opened.is_absent(f"{TOP}/recordings/no such id")
    assert opened.engine.asked == [FileRequest(opened.vfs.collections.links["locust"].sha1)]


async def test_a_collection_is_asked_for_once_for_as_long_as_it_is_open(opened: Shown) -> None:
    inode = (await opened.get(f"{TOP}/recordings")).inode
    top = await opened.get(TOP)
    opened.vfs.forget(inode, 1)
    opened.vfs.forget(top.inode, 2)
    asked = list(opened.engine.asked)
    await opened.list(f"{TOP}/recordings")
    assert opened.engine.asked == asked


async def test_a_single_file_that_is_not_the_size_of_its_entry_is_not_believed(shown: Shown) -> None:
    large = shown.world.large
    tree = Tree({}, {"raw.dat": FileEntry(len(large.data) + 1, large.digest, large.manifest)})
    shown.engine.trees[digest_of("t")] = tree
    entries = recordings({"r": TreeLink(digest_of("t"), "", ("raw.dat",))})
    shown.vfs.collections.replace({"c": link_of(shown, Collection("c", "", entries))})
    with pytest.raises(KacheryError, match="tell whoever made the directory"):
        await shown.list("collections/c/recordings/r")


# opening, closing, replacing


async def test_the_kernel_asks_for_a_collection_each_time(opened: Shown) -> None:
    assert (await opened.get(TOP)).ttl_s == 0
    assert await opened.find("collections/other") == Absent(0)
    assert (await opened.get(f"{TOP}/recordings/whole tree")).ttl_s > 0
    assert await opened.find(f"{TOP}/recordings/no such id") == Absent(86_400)


async def test_another_link_under_the_same_name_is_another_directory(opened: Shown) -> None:
    before = await opened.get(TOP)
    recordings_before = await opened.get(f"{TOP}/recordings")
    newer = Collection("locust", "", recordings({"new": TreeLink(opened.world.tree_sha1)}))
    opened.vfs.collections.replace({"locust": link_of(opened, newer)})
    assert (await opened.get(TOP)).inode > before.inode
    assert list(await opened.list(f"{TOP}/recordings")) == ["new"]
    handle = await opened.vfs.open_directory(recordings_before.inode)  # somebody stands in the old version
    assert b"whole tree" in [entry.name for entry in opened.vfs.entries(handle, 0)]


async def test_what_is_open_in_a_closed_collection_can_be_read_to_its_end(opened: Shown) -> None:
    file = await opened.open(f"{TOP}/recordings/file/recording.json")
    opened.vfs.collections.replace({})
    assert await opened.is_absent(TOP)
    assert await opened.list("collections") == {}
    data = opened.world.large.data
    assert bytes(await opened.vfs.read(file.handle, 0, len(data))) == data


async def test_the_same_link_under_two_names_is_two_directories(opened: Shown) -> None:
    link = opened.vfs.collections.links["locust"]
    opened.vfs.collections.replace({"one": link, "two": link})
    first, second = await opened.list("collections/one"), await opened.list("collections/two")
    assert first["recordings"].inode != second["recordings"].inode
    assert first["collection.json"].inode == second["collection.json"].inode


async def test_a_collection_that_is_closed_while_it_is_loaded_is_not_kept(opened: Shown) -> None:
    link = opened.vfs.collections.links["locust"]
    gate = opened.engine.gates[link.sha1] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.list, TOP)
        await trio.testing.wait_all_tasks_blocked()
        opened.vfs.collections.replace({})
        gate.set()
    opened.vfs.collections.replace({"again": link})
    opened.engine.asked.clear()
    await opened.list("collections/again")
    assert len(opened.engine.asked) == 1


# errors


async def test_an_unreachable_collection_is_no_route_to_host_and_asked_for_again(
    opened: Shown, autojump_clock: trio.testing.MockClock
) -> None:
    link = opened.vfs.collections.links["locust"]
    opened.engine.failures[link.sha1] = UnreachableError("some peer did not answer")
    assert list(await opened.list("collections")) == ["locust"]
    await opened.get(TOP)
    await fails_with(opened, f"{TOP}/recordings", errno.EHOSTUNREACH)
    await fails_with(opened, f"{TOP}/recordings", errno.EHOSTUNREACH)
    assert len(opened.engine.asked) == 1  # the "no" is remembered for a moment
    failure = opened.vfs.find_failure(link.sha1)
    assert failure is not None
    assert failure.message == "some peer did not answer"
    del opened.engine.failures[link.sha1]
    await trio.sleep(3)
    assert len(await opened.list(f"{TOP}/recordings")) == len(make_collection(opened).recordings)


async def test_a_collection_that_nobody_has_is_not_there(opened: Shown) -> None:
    opened.vfs.collections.replace({"locust": FileLink(digest_of("nobody's"))})
    await fails_with(opened, f"{TOP}/recordings", errno.ENOENT)


async def test_an_unreachable_recording_leaves_the_others_readable(opened: Shown) -> None:
    await fails_with(opened, f"{TOP}/recordings/unreachable tree/x", errno.EHOSTUNREACH)
    await fails_with(opened, f"{TOP}/recordings/nowhere in a tree/x", errno.ENOENT)
    failure = opened.vfs.find_failure(opened.world.tree_sha1)
    assert failure is not None
    assert "no such name" in failure.message
    assert await opened.read(f"{TOP}/recordings/file in a tree/inner.dat", 0, 10) == opened.world.large.data[:10]


@pytest.mark.parametrize("data", [b"", b"{}", b"not JSON", b'{"format": "kacheryfs-collection", "version": 1}'])
async def test_what_is_no_collection_is_an_io_error(shown: Shown, data: bytes) -> None:
    file = shown.world.add(data)
    shown.vfs.collections.replace({"c": FileLink(file.digest, "c.json")})
    error = await fails_with(shown, "collections/c/recordings", errno.EIO)
    assert file.digest.short in str(error)


async def test_a_collection_that_is_too_large_is_not_read(shown: Shown) -> None:
    file = shown.world.engine.add(FakeFile(bytes(MAX_COLLECTION_BYTES + 1)))
    shown.vfs.collections.replace({"c": FileLink(file.digest, "c.json")})
    error = await fails_with(shown, "collections/c/recordings", errno.EIO)
    assert "too many" in str(error)
    assert shown.engine.readers == []


async def test_bytes_that_are_not_the_links_are_no_collection(shown: Shown) -> None:
    """What is claimed to be the file is proven by its SHA-1 before anything of it is shown."""
    data = encode_collection(Collection("c"))
    file = shown.world.engine.add(FakeFile(data, Trust.CLAIMED, sha1=digest_of("another file")))
    shown.vfs.collections.replace({"c": FileLink(file.digest, "c.json")})
    error = await fails_with(shown, "collections/c/recordings", errno.EIO)
    assert "another SHA-1" in str(error)


async def test_a_failed_read_of_a_collection_is_remembered_as_a_reason(shown: Shown) -> None:
    file = shown.world.engine.add(FakeFile(encode_collection(Collection("c")), failure=ClaimError("peers disagree")))
    shown.vfs.collections.replace({"c": FileLink(file.digest, "c.json")})
    await fails_with(shown, "collections/c/recordings", errno.EIO)
    failure = shown.vfs.find_failure(file.digest)
    assert failure is not None
    assert failure.message == "peers disagree"


# extended attributes


async def test_a_collection_and_its_entries_have_their_links(opened: Shown) -> None:
    world, link = opened.world, opened.vfs.collections.links["locust"]
    links = {
        "": link,
        "/collection.json": link,
        "/recordings/whole tree": TreeLink(world.tree_sha1, "session"),
        "/recordings/inside a tree": TreeLink(world.tree_sha1, "session", ("sub",)),
        "/recordings/file in a tree": TreeLink(world.tree_sha1, "session", ("sub", "inner.dat")),
        "/recordings/file": FileLink(world.large.digest, "recording.json", world.large.manifest),
    }
    for is_entered in (False, True):
        for path, wanted in links.items():
            assert await opened.xattr(TOP + path, "link") == str(wanted)
            if not is_entered and not path.endswith(".json"):
                await opened.list(TOP + path)
    assert await opened.xattr(TOP, "trust") == "linked"


@pytest.mark.parametrize("path", ["collections", f"{TOP}/recordings", f"{TOP}/sortings"])
async def test_what_is_only_a_folder_has_no_attributes(opened: Shown, path: str) -> None:
    assert opened.vfs.list_xattrs((await opened.get(path)).inode) == []


async def test_asking_how_much_of_a_recording_is_present_asks_for_its_tree(opened: Shown) -> None:
    opened.world.large.present_bytes = 1000
    path = f"{TOP}/recordings/inside a tree"
    await opened.get(path)
    assert opened.world.tree_sha1 not in opened.engine.asked
    assert await opened.xattr(path, "status") == f"1000/{len(opened.world.large.data)}"


# for the control socket


async def test_a_path_in_a_collection_tells_its_digest_without_waiting(opened: Shown) -> None:
    world, link = opened.world, opened.vfs.collections.links["locust"]

    def find(path: str) -> Sha1 | None:
        return opened.vfs.find_digest(path.split("/"))

    assert find(f"{TOP}/recordings/whole tree/sub") == link.sha1  # not loaded yet
    await opened.list(f"{TOP}/recordings")
    for path in ("", "/collection.json", "/recordings", "/sortings"):
        assert find(TOP + path) == link.sha1
    assert find(f"{TOP}/recordings/whole tree/sub/inner.dat") == world.tree_sha1  # the tree isn't loaded yet
    for id_ in ("whole tree", "inside a tree", "file in a tree"):
        await opened.list(f"{TOP}/recordings/{id_}")
    large = world.large.digest
    for path in ("whole tree/sub/inner.dat", "inside a tree/inner.dat", "file in a tree/inner.dat"):
        assert find(f"{TOP}/recordings/{path}") == large
    assert find(f"{TOP}/recordings/whole tree/sub") == world.tree_sha1
    assert find(f"{TOP}/recordings/file") == find(f"{TOP}/recordings/file/recording.json") == large
    for path in ("/nothing", "/recordings/nothing", "/recordings/whole tree/nothing", "/recordings/file/nothing"):
        assert find(TOP + path) is None
    assert find("collections") is find("collections/nothing") is None


async def test_what_may_wait_below_a_collection_is_found(opened: Shown) -> None:
    world, link = opened.world, opened.vfs.collections.links["locust"]

    def find(path: str) -> set[Sha1]:
        return opened.vfs.find_files(path.split("/"))

    assert find(TOP) == {link.sha1}
    await opened.list(f"{TOP}/recordings/inside a tree")
    assert {link.sha1, world.tree_sha1, world.large.digest, world.wide_sha1} <= find(TOP)
    assert world.wide_sha1 not in find(f"{TOP}/recordings")
    assert find(f"{TOP}/sortings") == {link.sha1, world.wide_sha1}
    assert find(f"{TOP}/recordings/inside a tree") == {world.tree_sha1, world.large.digest}
    assert find(f"{TOP}/recordings/file") == {world.large.digest}
    assert find(f"{TOP}/nothing") == find("collections/nothing") == set()


async def test_what_may_wait_below_a_tree_is_found(shown: Shown) -> None:
    world, find = shown.world, shown.vfs.find_files
    top = ["sha1dir", world.tree_sha1.hex]
    assert find(top) == {world.tree_sha1}
    await shown.get("/".join(top))
    assert {world.large.digest, world.small.digest} < find(top)
    assert find([*top, "sub"]) == {world.tree_sha1, world.large.digest}
    assert find([*top, "small.txt"]) == {world.tree_sha1, world.small.digest}
    assert find(["sha1", world.small.digest.hex]) == {world.small.digest}
    assert find(["sha1", "x"]) == set()
