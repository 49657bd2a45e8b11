"""What stands under the Vfs and beside it: inodes, mountinfo, the adapter's answers, the limit of waiting reads."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pyfuse3
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from mountfakes import Shown, digest_of

from kacheryfs.errors import MountError, NotFoundError, TimedOutError
from kacheryfs.mount import limits
from kacheryfs.mount.fuse import Adapter, answered
from kacheryfs.mount.inodes import Inodes
from kacheryfs.mount.mountpoint import prepare_mountpoint, resolve_mountpoint
from kacheryfs.mount.mounts import Mount, parse_mountinfo
from kacheryfs.mount.nodes import Readme
from kacheryfs.mount.vfs import Vfs

LINE = (
    b"%d 27 0:%d / %s rw,nosuid,nodev,relatime shared:5 - %s kacheryfs ro,user_id=%d,group_id=7,default_permissions\n"
)


class InodesLikeADict(RuleBasedStateMachine):
    """The kernel's view (how often each number was given) against the table's."""

    def __init__(self) -> None:
        super().__init__()
        self.inodes = Inodes()
        self.given: dict[int, int] = {}
        self.keys: dict[int, int] = {}
        self.highest = 0

    @rule(key=st.integers(0, 5))
    def look_up(self, key: int) -> None:
        inode = self.inodes.enter(key, Readme())
        assert inode == self.keys.get(key, self.highest + 1)
        self.highest = max(self.highest, inode)
        self.keys[key] = inode
        self.inodes.count_lookup(inode)
        self.given[inode] = self.given.get(inode, 0) + 1

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        if not self.given:
            return
        inode = data.draw(st.sampled_from(sorted(self.given)))
        n_lookups = data.draw(st.integers(1, self.given[inode]))
        self.inodes.forget(inode, n_lookups)
        self.given[inode] -= n_lookups
        if self.given[inode] == 0:
            del self.given[inode]
            self.keys = {key: value for key, value in self.keys.items() if value != inode}

    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        if not self.given:
            return
        inode = data.draw(st.sampled_from(sorted(self.given)))
        self.inodes.retire(inode)
        self.keys = {key: value for key, value in self.keys.items() if value != inode}

    @invariant()
    def what_the_kernel_knows_is_held_and_nothing_else(self) -> None:
        assert {inode for inode, _ in self.inodes} == set(self.given)
        assert all(self.inodes.find_by_key(key) == inode for key, inode in self.keys.items())


TestInodesLikeADict = InodesLikeADict.TestCase


def test_forgetting_what_is_not_held_does_nothing() -> None:
    Inodes().forget(77, 1)
    Inodes().retire(77)


def test_mountinfo_tells_our_mounts_from_others() -> None:
    data = b"".join(
        [
            LINE % (40, 41, b"/home/me/kachery", b"fuse.kacheryfs", 1000),
            LINE % (41, 42, b"/home/me/other", b"fuse.sshfs", 1000),
            LINE % (42, 43, rb"/mnt/with\040space\011\134\012", b"fuse.kacheryfs", 0),
            LINE % (43, 44, b"/mnt/fuse.kacheryfs", b"ext4", 0),
        ]
    )
    assert parse_mountinfo(data) == [
        Mount("/home/me/kachery", 41, 1000),
        Mount("/mnt/with space\t\\\n", 43, 0),
    ]


@given(st.binary(min_size=1, max_size=50).filter(lambda raw: b"\0" not in raw))
def test_any_mountpoint_is_read_back(raw: bytes) -> None:
    escaped = b"".join(b"\\%03o" % byte if chr(byte) in " \t\n\\" else bytes([byte]) for byte in b"/" + raw)
    assert [mount.mountpoint for mount in parse_mountinfo(LINE % (1, 2, escaped, b"fuse.kacheryfs", 0))] == [
        os.fsdecode(b"/" + raw)
    ]


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path_is_no_mountpoint(path: str) -> None:
    with pytest.raises(MountError):
        resolve_mountpoint(path)


def test_a_mountpoint_is_known_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert prepare_mountpoint(str(tmp_path / "link/../link")) == str(tmp_path / "real")


# the adapter


@pytest.mark.expects_warnings
async def test_every_error_becomes_an_errno_and_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(exc: Exception) -> None:
        raise exc

    for exc, code, level in (
        (TimedOutError("no peer could serve it"), errno.EIO, logging.WARNING),
        (NotFoundError("nobody has it"), errno.ENOENT, logging.INFO),
        (ZeroDivisionError("a fault"), errno.EIO, logging.ERROR),
        (OSError(errno.ENOSPC, "full"), errno.EIO, logging.ERROR),
    ):
        caplog.clear()
        with caplog.at_level(logging.DEBUG), pytest.raises(pyfuse3.FUSEError) as caught:
            await answered(fail)(exc)
        assert caught.value.errno == code
        assert [record.levelno for record in caplog.records] == [level]


async def test_a_handler_that_is_cancelled_answers_eio() -> None:
    answers = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await answered(trio.sleep_forever)()
        except pyfuse3.FUSEError as exc:
            answers.append(exc.errno)
    assert answers == [errno.EIO]


@pytest.mark.parametrize(
    "name",
    ["setattr", "mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "create", "write", "setxattr"],
)
async def test_whatever_writes_is_refused(shown: Shown, name: str) -> None:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await getattr(Adapter(shown.vfs), name)(1, b"x", 0, 0, None)
    assert caught.value.errno == errno.EROFS


async def test_an_absent_name_is_answered_so_that_the_kernel_remembers(shown: Shown) -> None:
    adapter = Adapter(shown.vfs)
    parent = (await shown.get("sha1")).inode
    entry = await adapter.lookup(parent, digest_of("nowhere").hex.encode(), None)  # type: ignore[arg-type]
    assert (entry.st_ino, entry.entry_timeout) == (0, 2.0)
    entry = await adapter.lookup(parent, b".hidden", None)  # type: ignore[arg-type]
    assert (entry.st_ino, entry.entry_timeout) == (0, 86_400.0)


async def test_a_file_is_read_without_a_copy(shown: Shown) -> None:
    adapter, large = Adapter(shown.vfs), shown.world.large
    opened = await adapter.open((await shown.get(f"sha1/{large.digest}")).inode, os.O_RDONLY, None)  # type: ignore[arg-type]
    data = await adapter.read(opened.fh, 1000, 5)
    assert isinstance(data, memoryview)
    assert data.obj is large.data
    await adapter.release(opened.fh)
    assert shown.vfs.n_open_files == 0


async def test_no_handler_lacks_its_answer() -> None:
    """Every handler is wrapped: an exception that leaves one kills the mount."""
    own = {name for name in vars(Adapter) if not name.startswith("_") and callable(getattr(Adapter, name))}
    plain = {name for name in own if not hasattr(getattr(Adapter, name), "__wrapped__")}
    assert plain == {"init", "forget", "getxattr"}  # these raise nothing else, forget nothing at all


async def test_forgetting_the_unknown_raises_nothing(shown: Shown) -> None:
    await Adapter(shown.vfs).forget([(99, 1), (1, 5)])


# the limit of waiting reads


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("max_background", "congestion_threshold"):
        (tmp_path / "41").mkdir(exist_ok=True)
        (tmp_path / "41" / name).write_text("12")
    (tmp_path / "allowed").write_text("700\n")
    monkeypatch.setattr(limits, "CONNECTIONS", tmp_path)
    monkeypatch.setattr(limits, "USER_LIMIT", tmp_path / "allowed")
    return tmp_path


@pytest.mark.parametrize(("uid", "limit"), [(0, "4096"), (1000, "700")])
def test_the_limit_is_lifted_as_far_as_allowed(
    connections: Path, monkeypatch: pytest.MonkeyPatch, uid: int, limit: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    limits.lift_request_limit(41)
    assert (connections / "41/max_background").read_text() == limit
    assert (connections / "41/congestion_threshold").read_text() == limit


def test_a_limit_that_can_not_be_lifted_is_told(
    connections: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with caplog.at_level(logging.INFO):
        limits.lift_request_limit(42)
    assert "can slow others" in caplog.text


def test_a_vfs_needs_no_event_loop_to_be_made(shown: Shown) -> None:
    assert isinstance(shown.vfs, Vfs)
