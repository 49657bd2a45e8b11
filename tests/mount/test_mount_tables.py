"""What stands under the Vfs and beside it: inodes, mountinfo, the adapter's answers, the handshake with the kernel."""

from __future__ import annotations

import errno
import logging
import os
import struct
from pathlib import Path

import pyfuse3
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from mountfakes import Shown, digest_of

from kacheryfs.errors import MountError, NotFoundError, TimedOutError
from kacheryfs.mount.device import open_device, why_not_mounted
from kacheryfs.mount.fuse import Adapter, answered
from kacheryfs.mount.handshake import improve_reply
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
    assert plain == {"forget", "getxattr", "read"}  # these raise nothing else, forget nothing at all


async def test_a_fault_in_the_quick_way_of_reading_is_answered_by_the_slow_one(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: int) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(shown.vfs, "read_now", fail)
    with pytest.raises(pyfuse3.FUSEError):
        await Adapter(shown.vfs).read(99, 0, 1)


async def test_forgetting_the_unknown_raises_nothing(shown: Shown) -> None:
    await Adapter(shown.vfs).forget([(99, 1), (1, 5)])


# the kernel's first request, as kernel 6.18 sent it, and libfuse 3.14's reply

REQUEST = struct.pack("=IIQQIIII", 104, 26, 2, 0, 0, 0, 0, 0) + struct.pack("=IIII48x", 7, 45, 131072, 0x73FFFFFB)
REPLY = struct.pack("=IiQ", 80, 0, 2) + struct.pack("=IIIIHHI40x", 7, 31, 131072, 0x4040B029, 0, 0, 1 << 20)


def test_the_kernel_is_told_that_lookups_may_come_together_and_many_reads_wait() -> None:
    improved = improve_reply(REQUEST, REPLY)
    flags, background, congestion = struct.unpack_from("=IHH", improved, 28)
    assert len(improved) == len(REPLY) == 80
    assert flags == 0x4040B029 | 1 << 18
    assert (background, congestion) == (4096, 4096)
    assert (improved[:28], improved[36:]) == (REPLY[:28], REPLY[36:])


def test_a_kernel_that_does_not_offer_parallel_lookups_is_not_asked_for_them() -> None:
    old = bytearray(REQUEST)
    struct.pack_into("=I", old, 52, 0x3FB)
    assert struct.unpack_from("=I", improve_reply(bytes(old), REPLY), 28) == (0x4040B029,)


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"", REPLY),
        (REQUEST[:40], REPLY),
        (REQUEST[:4] + b"\x01" + REQUEST[5:], REPLY),
        (REQUEST, b""),
        (REQUEST, REPLY[:4] + struct.pack("=i", -71) + REPLY[8:16]),
        (REQUEST, REPLY[:4] + struct.pack("=i", -71) + REPLY[8:]),
    ],
)
def test_a_handshake_that_fails_is_a_mount_error(request_: bytes, reply: bytes) -> None:
    with pytest.raises(MountError):
        improve_reply(request_, reply)


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (
            "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n",
            "ask the adm",
        ),
        ("fusermount3: failed to open /dev/fuse: Permission denied\n", "can't be opened by you"),
        (
            "fusermount3: a warning\nfusermount3: mount failed: Operation not permitted\n",
            "/mp can't be mounted: mount fa",
        ),
        ("", "gave no reason"),
    ],
)
def test_why_a_mount_is_refused_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, stderr: str, words: str) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    assert words in why_not_mounted("/mp", stderr)
    assert "\n" not in why_not_mounted("/mp", stderr)


def test_a_machine_without_fuse_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert "--device /dev/fuse" in why_not_mounted("/mp", "fusermount3: fuse device not found")


def test_a_missing_fusermount_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountError, match="install the package fuse3"):
        open_device(str(tmp_path), allow_other=False)


def test_a_vfs_needs_no_event_loop_to_be_made(shown: Shown) -> None:
    assert isinstance(shown.vfs, Vfs)
