"""A mount's beginning and end: waiting readers, signals, crashes, mountpoints that won't do."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernelmount import CHILD, DEADLINE_S, KernelMount, wait_until, waits_in_kernel
from mountfakes import World

from kacheryfs.errors import MountError
from kacheryfs.mount.mountpoint import Health, prepare_mountpoint, probe
from kacheryfs.mount.mounts import list_mounts, unmount

pytestmark = pytest.mark.kernel

WORLD = World()

READ_ONCE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
fd = os.open(sys.argv[1], os.O_RDONLY)
print("open", flush=True)
try:
    os.pread(fd, 4096, int(sys.argv[2]))
except OSError as exc:
    sys.exit(exc.errno)
"""
READ_BY_300 = """
import os, sys, threading
fd = os.open(sys.argv[1], os.O_RDONLY)
def read(i):
    try:
        os.pread(fd, 4096, i * 1_000_000)
    except OSError as exc:
        os.write(1, b"%d " % exc.errno)
threads = [threading.Thread(target=read, args=(i,)) for i in range(300)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[KernelMount]:
    with KernelMount(tmp_path / "mp", tmp_path / "log") as mount:
        yield mount


def _stuck(mounted: KernelMount) -> str:
    return str(mounted.path / f"sha1/{WORLD.stuck.digest}")


def _start_waiting(mounted: KernelMount, offset: int = 0) -> subprocess.Popen[bytes]:
    reader = mounted.start(sys.executable, "-c", READ_ONCE, _stuck(mounted), str(offset))
    assert reader.stdout is not None
    assert reader.stdout.readline() == b"open\n"
    wait_until(lambda: waits_in_kernel(reader.pid), "a waiting reader")
    return reader


def test_waiting_reads_do_not_freeze_the_others(mounted: KernelMount) -> None:
    reader = mounted.start(sys.executable, "-c", READ_BY_300, _stuck(mounted))
    wait_until(lambda: waits_in_kernel(reader.pid, 300), "300 waiting readers")
    assert mounted.run("cat", mounted.path / f"sha1/{WORLD.large.digest}").stdout == WORLD.large.data
    assert mounted.run("ls", mounted.path).stdout.split() == [b"README", b"collections", b"sha1", b"sha1dir"]
    assert mounted.stop() == 0
    answers = reader.communicate(timeout=DEADLINE_S)[0].split()
    assert answers == [b"%d" % errno.EIO] * 300


def test_a_lookup_that_waits_does_not_hold_up_the_others(mounted: KernelMount) -> None:
    names = [mounted.path / place / WORLD.slow_to_find.hex for place in ("sha1", "sha1dir")]
    for name in names:
        asker = mounted.start("stat", name)
        wait_until(lambda pid=asker.pid: waits_in_kernel(pid), "a waiting lookup")  # type: ignore[misc]
    assert mounted.run("cat", mounted.path / f"sha1/{WORLD.small.digest}.x").stdout == WORLD.small.data
    assert mounted.run("ls", mounted.path / f"sha1dir/{WORLD.tree_sha1}", mounted.path / "sha1").stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_waiting_reader_can_be_killed(mounted: KernelMount, number: int) -> None:
    reader = _start_waiting(mounted)
    reader.send_signal(number)
    assert reader.wait(DEADLINE_S) == -number
    assert mounted.run("cat", mounted.path / f"sha1/{WORLD.small.digest}").stdout == WORLD.small.data


def test_a_default_sigint_frees_a_waiting_reader(mounted: KernelMount) -> None:
    reader = _start_waiting(mounted)
    reader.send_signal(signal.SIGINT)
    assert reader.wait(DEADLINE_S) == -signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_answers_waiting_reads_and_unmounts(mounted: KernelMount, number: int) -> None:
    reader = _start_waiting(mounted)
    assert mounted.stop(number) == 0
    assert reader.wait(DEADLINE_S) == errno.EIO
    assert not mounted.is_mounted
    assert list(mounted.path.iterdir()) == []


READ_UNTIL_BUS_ERROR = """
import mmap, os, sys, time
data = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
print(data[5000], flush=True)
for _ in range(3000):
    data[5000]
    time.sleep(0.01)
"""


def test_a_claim_that_is_proven_false_takes_its_pages_along(mounted: KernelMount) -> None:
    path = mounted.path / f"sha1/{WORLD.claimed.digest}"
    reader = mounted.start(sys.executable, "-c", READ_UNTIL_BUS_ERROR, path)
    assert reader.stdout is not None
    assert int(reader.stdout.readline()) == WORLD.claimed.data[5000]
    mounted.process.send_signal(signal.SIGUSR2)
    assert reader.wait(DEADLINE_S) == -signal.SIGBUS


def test_a_mount_in_use_is_taken_away_lazily(mounted: KernelMount) -> None:
    program = "import os, sys; os.chdir(sys.argv[1]); print('here', flush=True); sys.stdin.read()"
    user = subprocess.Popen(
        [sys.executable, "-c", program, mounted.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with user:
        assert user.stdout is not None
        user.stdout.readline()
        with pytest.raises(MountError, match="in use"):
            unmount(str(mounted.path))
        assert mounted.stop() == 0
        assert not mounted.is_mounted
        user.communicate(timeout=DEADLINE_S)


def test_umount_from_outside_ends_the_process(mounted: KernelMount) -> None:
    unmount(str(mounted.path))
    assert mounted.process.wait(DEADLINE_S) == 0
    assert not mounted.is_mounted


def test_a_crash_leaves_no_empty_folder_behind(mounted: KernelMount) -> None:
    mounted.stop(signal.SIGKILL)
    assert probe(str(mounted.path)) is Health.DEAD
    done = mounted.run("ls", mounted.path, check=False)
    assert b"not connected" in done.stderr
    assert mounted.is_mounted


def test_a_fault_of_the_mount_leaves_no_empty_folder_behind(mounted: KernelMount) -> None:
    mounted.stop(signal.SIGUSR1)  # the child lets an exception out of its event loop
    assert probe(str(mounted.path)) is Health.DEAD
    assert "a fault of kacheryfs ended the mount" in mounted.log.read_text()


def test_a_dead_mount_is_cleared_by_the_next_one(mounted: KernelMount) -> None:
    mounted.stop(signal.SIGKILL)
    with KernelMount(mounted.path, mounted.log) as again:
        assert again.run("cat", again.path / f"sha1/{WORLD.small.digest}").stdout == WORLD.small.data
    assert not mounted.is_mounted


def test_a_dead_mount_can_be_unmounted(mounted: KernelMount) -> None:
    mounted.stop(signal.SIGKILL)
    unmount(str(mounted.path), is_lazy=True)
    assert not mounted.is_mounted
    with pytest.raises(MountError, match="not mounted"):
        unmount(str(mounted.path))


def test_a_living_mount_is_not_mounted_over(mounted: KernelMount) -> None:
    with pytest.raises(MountError, match="mounted already"):
        prepare_mountpoint(str(mounted.path))
    link = mounted.path.parent / "link"
    link.symlink_to(mounted.path)
    with pytest.raises(MountError, match="mounted already"):
        prepare_mountpoint(str(link))


def test_mounts_are_listed_with_their_mounter(mounted: KernelMount) -> None:
    found = [mount for mount in list_mounts() if mount.mountpoint == str(mounted.path)]
    assert [mount.uid for mount in found] == [os.getuid()]


def test_the_mount_of_a_folder_with_an_odd_name_is_found(tmp_path: Path) -> None:
    path = tmp_path / "with space\tand\\more\nü"
    with KernelMount(path, tmp_path / "log") as mounted:
        assert mounted.is_mounted
        assert mounted.stop() == 0
        assert not mounted.is_mounted


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda path: path.write_text(""), "is not a folder"),
        (lambda path: (path / "x").mkdir(parents=True), "is not empty"),
        (lambda path: path.symlink_to("/proc/nowhere/x"), "can't be mounted at"),
    ],
)
def test_a_mountpoint_that_will_not_do_is_refused_in_one_line(tmp_path: Path, prepare: object, words: str) -> None:
    prepare(tmp_path / "mp")  # type: ignore[operator]
    with pytest.raises(MountError, match=words) as caught:
        prepare_mountpoint(str(tmp_path / "mp"))
    assert "\n" not in str(caught.value)
    done = subprocess.run([sys.executable, CHILD, tmp_path / "mp"], capture_output=True, timeout=60, check=False)
    assert words in done.stderr.decode()


def test_a_missing_mountpoint_is_made(tmp_path: Path) -> None:
    assert prepare_mountpoint(str(tmp_path / "a/b")) == str(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()
