"""What the mount promises: each promise of the semantics on attributes, errors and reading, without a kernel."""

from __future__ import annotations

import errno
import stat

import pytest
import trio
import trio.testing
from mountfakes import FakeFile, Shown, World, bytes_of, digest_of, entry_of, manifest_of

from kacheryfs.core.model import BLOCK_BYTES, Binding
from kacheryfs.core.request import FileRequest, Trust
from kacheryfs.core.tree import FileEntry, Tree
from kacheryfs.errors import (
    CancelledError,
    ClaimError,
    KacheryError,
    NotFoundError,
    ProofError,
    TimedOutError,
    TrustRefusedError,
    UnreachableError,
)
from kacheryfs.mount.attributes import Absent
from kacheryfs.mount.engine import KnownFile

DAY_S = 86_400.0
NOWHERE = digest_of("nowhere")

# attributes


async def test_files_are_0444_and_directories_0555(shown: Shown) -> None:
    world = shown.world
    assert (await shown.get(f"sha1/{world.small.digest}")).mode == stat.S_IFREG | 0o444
    for path in ("sha1", "sha1dir:", f"sha1:/{world.small.digest}", f"sha1dir/{world.tree_sha1}/sub"):
        assert (await shown.get(path)).mode == stat.S_IFDIR | 0o555


async def test_sectors_cover_the_size(shown: Shown) -> None:
    for file in (shown.world.large, shown.world.small):
        found = await shown.get(f"sha1/{file.digest}")
        assert found.size_bytes == len(file.data)
        assert found.size_bytes <= found.n_sectors * 512 < found.size_bytes + 512


async def test_the_kernel_may_believe_a_proof_for_a_day_and_a_claim_for_two_seconds(shown: Shown) -> None:
    world = shown.world
    assert (await shown.get(f"sha1/{world.large.digest}")).ttl_s == DAY_S
    assert (await shown.get(f"sha1dir/{world.tree_sha1}/sub/inner.dat")).ttl_s == DAY_S
    assert (await shown.get(f"sha1/{world.claimed.digest}")).ttl_s == 2.0
    assert shown.vfs.get_attributes(1).ttl_s == 1.0  # so that a dead mount is soon seen to be dead


# inodes


async def test_names_of_one_content_and_one_proof_share_an_inode(shown: Shown) -> None:
    large = shown.world.large
    paths = [f"sha1/{large.digest}", f"sha1/{large.digest}.mat", f"sha1:/{large.digest}/x?manifest={large.manifest}"]
    paths.append(f"sha1dir/{shown.world.tree_sha1}/sub/inner.dat")
    assert len({(await shown.get(path)).inode for path in paths}) == 1


async def test_names_of_one_content_and_two_proofs_have_two_inodes(shown: Shown) -> None:
    file = shown.world.claimed
    claimed = await shown.get(f"sha1/{file.digest}")
    file.trust = Trust.PROVEN
    proven = await shown.get(f"sha1/{file.digest}")
    file.manifest = manifest_of(b"another")
    other = await shown.get(f"sha1/{file.digest}")
    assert len({claimed.inode, proven.inode, other.inode}) == 3


async def test_a_directory_has_an_inode_for_each_of_its_names(shown: Shown) -> None:
    paths = [f"{place}/{shown.world.tree_sha1}{label}" for place in ("sha1dir", "sha1dir:") for label in ("", ".x")]
    assert len({(await shown.get(path)).inode for path in paths}) == 4


async def test_inode_numbers_are_given_in_order_and_never_again(shown: Shown) -> None:
    given = []
    for _ in range(3):
        found = await shown.get(f"sha1/{shown.world.small.digest}")
        given.append(found.inode)
        shown.vfs.forget(found.inode, 1)
    assert given == sorted(set(given))


async def test_what_the_kernel_forgets_is_forgotten_here(shown: Shown) -> None:
    await shown.get("sha1dir")
    held = shown.vfs.n_inodes
    inodes = [attributes.inode for attributes in (await shown.list(f"sha1dir/{shown.world.wide_sha1}")).values()]
    top = await shown.get(f"sha1dir/{shown.world.wide_sha1}")
    for inode in inodes:
        shown.vfs.forget(inode, 1)
    shown.vfs.forget(top.inode, 2)
    assert shown.vfs.n_inodes == held


async def test_an_entry_that_the_kernel_did_not_take_is_not_held(shown: Shown) -> None:
    handle = await shown.vfs.open_directory((await shown.get(f"sha1dir/{shown.world.wide_sha1}")).inode)
    held = shown.vfs.n_inodes
    first = next(shown.vfs.entries(handle, 0))
    shown.vfs.forget(first.attributes.inode, 0)
    assert shown.vfs.n_inodes == held


async def test_a_forgotten_inode_is_stale(shown: Shown) -> None:
    found = await shown.get(f"sha1/{shown.world.small.digest}")
    shown.vfs.forget(found.inode, 1)
    for ask in (shown.vfs.get_attributes, shown.vfs.list_xattrs):
        with pytest.raises(KacheryError) as caught:
            ask(found.inode)
        assert caught.value.errno == errno.ESTALE


async def test_the_root_is_never_forgotten(shown: Shown) -> None:
    shown.vfs.forget(1, 1000)
    assert stat.S_ISDIR(shown.vfs.get_attributes(1).mode)


# errors


async def test_a_name_that_nobody_has_is_absent(shown: Shown) -> None:
    assert isinstance(await shown.find(f"sha1/{NOWHERE}"), Absent)
    assert isinstance(await shown.find(f"sha1dir/{NOWHERE}"), Absent)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (UnreachableError("some peer did not answer"), errno.EHOSTUNREACH),
        (ClaimError("the peers disagree"), errno.EIO),
        (ProofError("it is no tree"), errno.EIO),
        (TrustRefusedError("use its link"), errno.EACCES),
    ],
)
async def test_a_lookup_that_fails_says_why(shown: Shown, failure: KacheryError, code: int) -> None:
    shown.engine.failures[NOWHERE] = failure
    for path in (f"sha1/{NOWHERE}", f"sha1dir/{NOWHERE}"):
        with pytest.raises(type(failure)) as caught:
            await shown.find(path)
        assert caught.value.errno == code


async def test_a_no_is_remembered_for_a_moment(world: World, autojump_clock: trio.testing.MockClock) -> None:
    shown = Shown(world, negative_ttl_s=2.0)
    for failure in (None, UnreachableError("some peer did not answer")):
        if failure:
            world.engine.failures[NOWHERE] = failure
        asked = len(world.engine.asked)
        for _ in range(3):
            await _outcome(shown, f"sha1/{NOWHERE}")
        assert len(world.engine.asked) == asked + 1
        await trio.sleep(2.1)
        await _outcome(shown, f"sha1/{NOWHERE}")
        assert len(world.engine.asked) == asked + 2
        await trio.sleep(2.1)


async def test_the_kernel_may_remember_a_no_as_long(world: World) -> None:
    shown = Shown(world, negative_ttl_s=1.5)
    assert await shown.find(f"sha1/{NOWHERE}") == Absent(1.5)
    assert await shown.find("sha1/autorun.inf") == Absent(DAY_S)


async def test_a_peer_that_is_added_ends_the_memory_of_a_no(shown: Shown) -> None:
    data = bytes_of(7, 100)
    path = f"sha1/{FakeFile(data).digest}"
    assert await shown.is_absent(path)
    shown.world.add(data)
    assert await shown.is_absent(path)
    shown.vfs.forget_misses()
    assert await shown.read(path) == data


async def test_every_asker_gets_a_fresh_exception(shown: Shown) -> None:
    shown.engine.failures[NOWHERE] = UnreachableError("some peer did not answer")
    raised = [await _outcome(shown, f"sha1/{NOWHERE}") for _ in range(3)]
    assert len({id(exc) for exc in raised}) == 3
    assert {str(exc) for exc in raised} == {"some peer did not answer"}


async def _outcome(shown: Shown, path: str) -> object:
    try:
        return await shown.find(path)
    except KacheryError as exc:
        return exc


async def test_a_file_has_no_children_and_a_directory_no_bytes(shown: Shown) -> None:
    with pytest.raises(KacheryError) as caught:
        await shown.find(f"sha1/{shown.world.small.digest}/child")
    assert caught.value.errno == errno.ENOTDIR
    with pytest.raises(KacheryError) as caught:
        await shown.open("sha1")
    assert caught.value.errno == errno.EISDIR


async def test_a_handle_that_was_closed_is_bad(shown: Shown) -> None:
    opened = await shown.open(f"sha1/{shown.world.small.digest}")
    shown.vfs.close(opened.handle)
    with pytest.raises(KacheryError) as caught:
        await shown.vfs.read(opened.handle, 0, 1)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(KacheryError) as caught:
        list(shown.vfs.entries(opened.handle, 0))
    assert caught.value.errno == errno.EBADF


# reading


@pytest.mark.parametrize(
    ("offset", "n_bytes"), [(0, 10), (4_999_990, 100), (5_000_000, 1), (6_000_000, 5), (17, 131072)]
)
async def test_a_read_gives_all_bytes_that_the_file_has(shown: Shown, offset: int, n_bytes: int) -> None:
    large = shown.world.large
    assert await shown.read(f"sha1/{large.digest}", offset, n_bytes) == large.data[offset : offset + n_bytes]


async def test_a_short_read_before_the_end_is_an_error(shown: Shown) -> None:
    shown.world.large.max_read_bytes = 100
    with pytest.raises(ProofError) as caught:
        await shown.read(f"sha1/{shown.world.large.digest}", 0, 101)
    assert caught.value.errno == errno.EIO


async def test_a_failed_read_fails_again_for_a_second_without_waiting(
    shown: Shown, autojump_clock: trio.testing.MockClock
) -> None:
    opened = await shown.open(f"sha1/{shown.world.broken.digest}")
    reader = shown.engine.readers[-1]
    for offset, n_bytes in ((131072, 131072), (131072, 4096), (200_000, 4096)):
        with pytest.raises(TimedOutError):
            await shown.vfs.read(opened.handle, offset, n_bytes)
    assert reader.n_reads == 1
    with pytest.raises(TimedOutError):
        await shown.vfs.read(opened.handle, 0, 4096)
    assert reader.n_reads == 2
    await trio.sleep(1.1)
    shown.world.broken.failure = None
    assert await shown.vfs.read(opened.handle, 131072, 4) == shown.world.broken.data[131072:131076]


async def test_what_is_at_hand_is_read_though_a_larger_read_of_it_failed(shown: Shown) -> None:
    broken = shown.world.broken
    opened = await shown.open(f"sha1/{broken.digest}")
    shown.engine.readers[-1].at_hand = range(262_144, 300_000)
    assert shown.vfs.read_now(opened.handle, 262_144, 131_072) is None
    with pytest.raises(TimedOutError):
        await shown.vfs.read(opened.handle, 262_144, 131_072)
    for offset in (262_144, 290_816):
        assert shown.vfs.read_now(opened.handle, offset, 4096) == broken.data[offset : offset + 4096]
    assert shown.vfs.read_now(opened.handle, 299_008, 4096) is None


async def test_hundreds_of_reads_that_fail_at_once_all_fail_again_without_waiting(shown: Shown) -> None:
    opened = await shown.open(f"sha1/{shown.world.broken.digest}")
    for _ in range(2):
        for offset in range(0, 900_000, 3000):
            with pytest.raises(TimedOutError):
                await shown.vfs.read(opened.handle, offset, 3000)
    assert shown.engine.readers[-1].n_reads == 300


async def test_a_cancelled_read_need_not_be_cancelled_twice(shown: Shown) -> None:
    opened = await shown.open(f"sha1/{shown.world.cancelled.digest}")
    for n_bytes in (131072, 4096):
        with pytest.raises(CancelledError):
            await shown.vfs.read(opened.handle, 0, n_bytes)
    assert shown.engine.readers[-1].n_reads == 1


async def test_an_empty_file_asks_nobody(shown: Shown) -> None:
    for path in ("sha1/da39a3ee5e6b4b0d3255bfef95601890afd80709.txt", f"sha1dir/{shown.world.tree_sha1}/empty"):
        assert await shown.read(path) == b""
        assert (await shown.get(path)).size_bytes == 0
    assert set(shown.engine.asked) == {shown.world.tree_sha1}


async def test_a_tree_that_calls_a_file_empty_is_not_believed(shown: Shown) -> None:
    shown.engine.trees[digest_of("t")] = Tree({}, {"x": FileEntry(0, shown.world.small.digest)})
    with pytest.raises(ProofError):
        await shown.open(f"sha1dir/{digest_of('t')}/x")


async def test_a_tree_that_misstates_a_size_is_not_believed(shown: Shown) -> None:
    large = shown.world.large
    shown.engine.trees[digest_of("t")] = Tree({}, {"x": FileEntry(4_000_000, large.digest, large.manifest)})
    with pytest.raises(ProofError, match="4000000"):
        await shown.open(f"sha1dir/{digest_of('t')}/x")


async def test_an_open_file_is_closed_once_its_handle_is(shown: Shown) -> None:
    first, second = [await shown.open(f"sha1/{shown.world.small.digest}") for _ in range(2)]
    shown.vfs.close(first.handle)
    assert [reader.is_closed for reader in shown.engine.readers] == [True, False]
    shown.vfs.close_all()
    assert [reader.is_closed for reader in shown.engine.readers] == [True, True]
    assert first.handle != second.handle


# trust


async def test_pages_are_kept_but_for_claims_over_the_limit(shown: Shown) -> None:
    small_claim = shown.world.engine.add(FakeFile(bytes_of(8, 100_000), Trust.CLAIMED))
    assert (await shown.open(f"sha1/{shown.world.large.digest}")).keep_cache
    assert (await shown.open(f"sha1/{small_claim.digest}")).keep_cache
    assert not (await shown.open(f"sha1/{shown.world.claimed.digest}")).keep_cache
    assert (await shown.open("README")).keep_cache


async def test_a_claim_that_fails_in_a_read_retires_its_inode(shown: Shown) -> None:
    claimed = shown.world.claimed
    before = await shown.get(f"sha1/{claimed.digest}")
    opened = await shown.vfs.open(before.inode)
    claimed.failure = ClaimError("its claim was proven false")
    with pytest.raises(ClaimError):
        await shown.vfs.read(opened.handle, 0, 10)
    assert shown.vfs.retired.receive_nowait() == before.inode
    assert (await shown.get(f"sha1/{claimed.digest}")).inode > before.inode


async def test_a_claim_that_is_proven_false_retires_its_inode(shown: Shown) -> None:
    claimed = shown.world.claimed
    before = await shown.get(f"sha1/{claimed.digest}")
    shown.vfs.retire_binding(claimed.binding)
    shown.vfs.retire_binding(Binding(NOWHERE, None, 1))
    assert shown.vfs.retired.receive_nowait() == before.inode
    assert (await shown.get(f"sha1/{claimed.digest}")).inode > before.inode
    with pytest.raises(trio.WouldBlock):
        shown.vfs.retired.receive_nowait()


@pytest.mark.parametrize(("before", "after"), [(Trust.PROVEN, Trust.CLAIMED), (Trust.CLAIMED, Trust.PROVEN)])
async def test_an_inode_never_changes_what_proves_it(shown: Shown, before: Trust, after: Trust) -> None:
    file = shown.world.claimed
    file.trust = before
    found = await shown.get(f"sha1/{file.digest}")
    file.trust = after
    with pytest.raises(KacheryError) as caught:
        await shown.vfs.open(found.inode)
    assert caught.value.errno == errno.ESTALE  # the kernel looks the name up again, and opens what it finds
    assert await shown.read(f"sha1/{file.digest}") == file.data


async def test_a_claim_has_an_inode_for_each_manifest(shown: Shown) -> None:
    file = shown.world.claimed
    found = await shown.get(f"sha1/{file.digest}")
    file.manifest = manifest_of(b"another")
    with pytest.raises(KacheryError) as caught:
        await shown.vfs.open(found.inode)
    assert caught.value.errno == errno.ESTALE


async def test_a_large_file_of_an_old_tree_is_what_is_found_for_it(shown: Shown) -> None:
    claimed = shown.world.claimed
    assert len(claimed.data) > BLOCK_BYTES
    shown.engine.trees[digest_of("old")] = Tree({}, {"x": FileEntry(len(claimed.data), claimed.digest)})
    listed = (await shown.list(f"sha1dir/{digest_of('old')}"))["x"]
    with pytest.raises(KacheryError) as caught:
        await shown.vfs.open(listed.inode)
    assert caught.value.errno == errno.ESTALE
    assert await shown.read(f"sha1dir/{digest_of('old')}/x") == claimed.data
    assert FileRequest(claimed.digest, None, len(claimed.data)) in shown.engine.asked
    assert await shown.xattr(f"sha1dir/{digest_of('old')}/x", "trust") == "claimed"


async def test_a_listed_claim_is_located_before_it_is_opened(shown: Shown) -> None:
    claimed = shown.world.claimed
    shown.known = [KnownFile(claimed.digest, len(claimed.data), None, Trust.CLAIMED)]
    listed = (await shown.list("sha1"))[claimed.digest.hex]
    with pytest.raises(KacheryError) as caught:
        await shown.vfs.open(listed.inode)
    assert caught.value.errno == errno.ESTALE


# extended attributes


async def test_extended_attributes_say_what_no_mode_can(shown: Shown) -> None:
    large = shown.world.large
    large.present_bytes = 1000
    path = f"sha1dir/{shown.world.tree_sha1}.session/sub/inner.dat"
    assert await shown.xattr(path, "status") == f"1000/{len(large.data)}"
    assert await shown.xattr(path, "trust") == "linked"
    assert await shown.xattr(path, "manifest") == str(large.manifest)
    assert await shown.xattr(path, "link") == f"sha1://{large.digest}/inner.dat?manifest={large.manifest}"
    assert len(shown.vfs.list_xattrs((await shown.get(path)).inode)) == 4


async def test_a_directory_tells_how_much_of_its_files_is_present(shown: Shown) -> None:
    shown.world.large.present_bytes = 1000
    shown.world.small.present_bytes = len(shown.world.small.data)
    top = f"sha1dir/{shown.world.tree_sha1}.session"
    assert (await shown.xattr(top, "status")).split("/")[0] == str(1000 + len(shown.world.small.data))
    assert await shown.xattr(f"{top}/sub", "status") == f"1000/{len(shown.world.large.data)}"
    assert await shown.xattr(f"{top}/sub", "link") == f"sha1dir://{shown.world.tree_sha1}.session/sub"
    assert await shown.xattr(top, "trust") == "linked"


async def test_a_claimed_manifest_does_not_get_into_a_link(shown: Shown) -> None:
    claimed = shown.world.claimed
    assert await shown.xattr(f"sha1/{claimed.digest}.x", "link") == f"sha1://{claimed.digest}/x"
    assert await shown.xattr(f"sha1/{claimed.digest}.x", "manifest") == str(claimed.manifest)


@pytest.mark.parametrize("path", ["README", "sha1", "sha1:/" + "0" * 40])
async def test_what_is_no_file_and_no_tree_has_no_attributes(shown: Shown, path: str) -> None:
    assert shown.vfs.list_xattrs((await shown.get(path)).inode) == []
    with pytest.raises(KacheryError) as caught:
        await shown.xattr(path, "status")
    assert caught.value.errno == errno.ENODATA


async def test_a_file_without_a_manifest_has_no_such_attribute(shown: Shown) -> None:
    with pytest.raises(KacheryError) as caught:
        await shown.xattr(f"sha1/{shown.world.small.digest}", "manifest")
    assert caught.value.errno == errno.ENODATA


# for the control socket


async def test_a_path_tells_its_digest_without_waiting(shown: Shown) -> None:
    world, find = shown.world, shown.vfs.find_digest
    large = world.large.digest
    assert find(["sha1", f"{large}.mat"]) == large
    assert find(["sha1:", large.hex, "rec.dat?manifest=" + "0" * 64]) == large
    assert find(["sha1:", large.hex]) == large
    assert find(["sha1dir", world.tree_sha1.hex, "sub", "inner.dat"]) == world.tree_sha1  # not loaded yet
    await shown.get(f"sha1dir/{world.tree_sha1}.label")
    assert find(["sha1dir", world.tree_sha1.hex, "sub", "inner.dat"]) == large
    assert find(["sha1dir", world.tree_sha1.hex, "sub"]) == world.tree_sha1
    assert find(["sha1dir", world.tree_sha1.hex, "nothing"]) is None
    for parts in ([], ["sha1"], ["README", "x"], ["sha1", "x"], ["sha1", large.hex, "x"], ["", large.hex]):
        assert find(parts) is None


async def test_what_last_went_wrong_is_told_later(shown: Shown, autojump_clock: trio.testing.MockClock) -> None:
    shown.engine.failures[NOWHERE] = UnreachableError("some peer did not answer")
    await _outcome(shown, f"sha1/{NOWHERE}")
    with pytest.raises(TimedOutError):
        await shown.read(f"sha1/{shown.world.broken.digest}")
    await trio.sleep(100)
    for digest, kind in ((NOWHERE, UnreachableError), (shown.world.broken.digest, TimedOutError)):
        failure = shown.vfs.find_failure(digest)
        assert failure is not None
        assert failure.kind is kind
    assert shown.vfs.find_failure(shown.world.large.digest) is None


async def test_memory_of_what_went_wrong_is_bounded(shown: Shown) -> None:
    for i in range(6000):
        await shown.find(f"sha1/{digest_of(str(i))}")
    assert shown.vfs.find_failure(digest_of("5999")) is not None
    assert shown.vfs.find_failure(digest_of("0")) is None
    assert NotFoundError.errno == errno.ENOENT


async def test_the_tree_entry_of_a_small_file_needs_no_manifest(shown: Shown) -> None:
    assert entry_of(shown.world.small.data).manifest is None
    assert await shown.xattr(f"sha1dir/{shown.world.tree_sha1}/small.txt", "trust") == "linked"
