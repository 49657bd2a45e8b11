"""Real programs on a real mount: they read what the Vfs shows, and get the errors that it promises."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernelmount import KernelMount
from mountfakes import ODD_NAMES, World

pytestmark = pytest.mark.kernel

WORLD = World()
TREE = f"sha1dir/{WORLD.tree_sha1}"


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelMount]:
    folder = tmp_path_factory.mktemp("mount")
    with KernelMount(folder / "mp", folder / "log") as mount:
        yield mount


def test_cat_gives_the_bytes(mounted: KernelMount) -> None:
    for name in (f"sha1/{WORLD.large.digest}", f"sha1/{WORLD.large.digest}.mat", f"{TREE}/sub/inner.dat"):
        assert mounted.run("cat", mounted.path / name).stdout == WORLD.large.data


def test_mountpoint_and_link_make_a_path(mounted: KernelMount) -> None:
    large = WORLD.large
    path = f"{mounted.path}/sha1://{large.digest}/rec 1.dat?manifest={large.manifest}"
    assert mounted.run("cat", path).stdout == large.data
    path = f"{mounted.path}/sha1dir://{WORLD.tree_sha1}.session/sub/inner.dat"
    assert mounted.run("cat", path).stdout == large.data


def test_dd_and_tail_read_from_the_middle(mounted: KernelMount) -> None:
    path = mounted.path / f"sha1/{WORLD.large.digest}"
    done = mounted.run("dd", f"if={path}", "bs=1000", "skip=123", "count=777", "status=none")
    assert done.stdout == WORLD.large.data[123_000:900_000]
    assert mounted.run("tail", "-c", "100", path).stdout == WORLD.large.data[-100:]
    done = mounted.run("dd", f"if={path}", "bs=4096", "skip=3", "count=5", "iflag=direct", "status=none")
    assert done.stdout == WORLD.large.data[3 * 4096 : 8 * 4096]


def test_sha1sum_of_a_name_is_the_name(mounted: KernelMount) -> None:
    done = mounted.run("sha1sum", mounted.path / f"sha1/{WORLD.large.digest}")
    assert done.stdout.startswith(WORLD.large.digest.hex.encode())


@pytest.mark.parametrize("command", [("cp", "-r"), ("cp", "-a")])
def test_cp_copies_a_tree_with_every_name(mounted: KernelMount, tmp_path: Path, command: tuple[str, ...]) -> None:
    mounted.run(*command, mounted.path / TREE, tmp_path / "copy")
    _check_copy(tmp_path / "copy")
    mounted.run("chmod", "-R", "u+w", tmp_path / "copy")


def test_tar_takes_no_file_for_a_hole(mounted: KernelMount, tmp_path: Path) -> None:
    mounted.run("tar", "-C", mounted.path / TREE, "--sparse", "-cf", tmp_path / "t.tar", ".")
    (tmp_path / "copy").mkdir()
    mounted.run("tar", "-C", tmp_path / "copy", "-xf", tmp_path / "t.tar")
    _check_copy(tmp_path / "copy")
    mounted.run("chmod", "-R", "u+w", tmp_path / "copy")


def _check_copy(copy: Path) -> None:
    assert (copy / "sub/inner.dat").read_bytes() == WORLD.large.data
    assert list((copy / "empty folder").iterdir()) == []
    assert (copy / "empty").read_bytes() == b""
    for i, name in enumerate(ODD_NAMES):
        assert Path(os.fsdecode(os.fsencode(copy) + b"/" + name.encode("utf-8", "surrogateescape"))).read_bytes() == (
            f"content of {i}".encode()
        )


def test_numpy_memmap_reads_by_page_faults(mounted: KernelMount) -> None:
    program = """
import sys, hashlib, numpy
data = numpy.memmap(sys.argv[1], dtype="uint8", mode="r")
print(len(data), hashlib.sha1(data[1_000_003:3_000_001]).hexdigest(), hashlib.sha1(data).hexdigest())
"""
    import hashlib

    part = hashlib.sha1(WORLD.large.data[1_000_003:3_000_001]).hexdigest()
    done = mounted.python(program, mounted.path / f"sha1/{WORLD.large.digest}")
    assert done.stdout.decode().split() == ["5000000", part, WORLD.large.digest.hex]


def test_a_read_that_fails_is_an_os_error_for_pread(mounted: KernelMount) -> None:
    program = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
try:
    os.pread(fd, 100, 5000)
except OSError as exc:
    print(exc.errno)
"""
    for file in (WORLD.broken, WORLD.faulty):
        assert int(mounted.python(program, mounted.path / f"sha1/{file.digest}").stdout) == errno.EIO


def test_a_read_that_fails_is_sigbus_for_mmap(mounted: KernelMount) -> None:
    program = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print(mmap.mmap(fd, 0, prot=mmap.PROT_READ)[5000])
"""
    done = mounted.python(program, mounted.path / f"sha1/{WORLD.broken.digest}", check=False)
    assert done.returncode == -7  # SIGBUS


def test_a_fault_in_a_handler_does_not_end_the_mount(mounted: KernelMount) -> None:
    assert mounted.run("cat", mounted.path / f"sha1/{WORLD.faulty.digest}", check=False).returncode == 1
    assert mounted.run("cat", mounted.path / f"sha1/{WORLD.small.digest}").stdout == WORLD.small.data
    assert "ZeroDivisionError" in mounted.log.read_text()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"sha1/{'0' * 40}", errno.ENOENT),
        ("sha1/no-digest", errno.ENOENT),
        (f"{TREE}/nothing", errno.ENOENT),
        (f"sha1/{WORLD.unreachable}", errno.EHOSTUNREACH),
        (f"sha1dir/{WORLD.unreachable}/x", errno.EHOSTUNREACH),
        (f"sha1/{WORLD.small.digest}/x", errno.ENOTDIR),
    ],
)
def test_a_name_that_is_not_there_says_why(mounted: KernelMount, path: str, code: int) -> None:
    program = """
import os, sys
for _ in range(2):
    try:
        os.stat(sys.argv[1])
    except OSError as exc:
        print(exc.errno)
"""
    assert [int(word) for word in mounted.python(program, mounted.path / path).stdout.split()] == [code, code]


def test_whoever_writes_is_told_that_it_is_read_only(mounted: KernelMount) -> None:
    program = """
import os, sys
root, file = sys.argv[1:]
def tries():
    yield lambda: os.open(file, os.O_WRONLY)
    yield lambda: os.open(file, os.O_RDWR)
    yield lambda: os.open(root + "/new", os.O_CREAT | os.O_WRONLY)
    yield lambda: os.truncate(file, 0)
    yield lambda: os.mkdir(root + "/new")
    yield lambda: os.unlink(file)
    yield lambda: os.rmdir(root + "/sha1")
    yield lambda: os.rename(file, root + "/new")
    yield lambda: os.link(file, root + "/new")
    yield lambda: os.symlink("x", root + "/new")
    yield lambda: os.mknod(root + "/new")
    yield lambda: os.chmod(file, 0o777)
    yield lambda: os.chown(file, 1, 1)
    yield lambda: os.utime(file)
    yield lambda: os.setxattr(file, "user.x", b"1")
    yield lambda: os.removexattr(file, "user.kacheryfs.trust")
for attempt in tries():
    try:
        attempt()
        print(0)
    except OSError as exc:
        print(exc.errno)
"""
    done = mounted.python(program, mounted.path, mounted.path / f"sha1/{WORLD.small.digest}")
    assert [int(word) for word in done.stdout.split()] == [errno.EROFS] * 16


def test_stat_shows_what_tools_need(mounted: KernelMount) -> None:
    program = """
import json, os, sys
s = os.stat(sys.argv[1])
print(json.dumps([s.st_mode, s.st_size, s.st_blocks, s.st_blksize, s.st_nlink, s.st_uid, s.st_mtime, s.st_ctime]))
print(json.dumps([os.access(sys.argv[1], mode) for mode in (os.R_OK, os.W_OK, os.X_OK)]))
"""
    done = mounted.python(program, mounted.path / f"sha1/{WORLD.large.digest}")
    seen, access = [json.loads(line) for line in done.stdout.splitlines()]
    assert seen == [stat.S_IFREG | 0o444, 5_000_000, 9766, 262_144, 1, os.getuid(), 946_684_800, 946_684_800]
    assert access == [True, False, False]


def test_df_finds_no_space_and_nothing_full(mounted: KernelMount) -> None:
    fields = (
        mounted.run("df", "--output=source,fstype,size,pcent", mounted.path).stdout.decode().splitlines()[1].split()
    )
    assert fields == ["kacheryfs", "fuse.kacheryfs", "0", "-"]


def test_extended_attributes_reach_programs(mounted: KernelMount) -> None:
    program = """
import json, os, sys
path = sys.argv[1]
print(json.dumps({name: os.getxattr(path, name).decode() for name in os.listxattr(path)}))
for name in ("user.kacheryfs.nothing", "user.other", "security.capability"):
    try:
        os.getxattr(path, name)
    except OSError as exc:
        print(exc.errno)
"""
    lines = mounted.python(program, mounted.path / f"{TREE}.session/sub/inner.dat").stdout.splitlines()
    seen = json.loads(lines[0])
    link = seen.pop("user.kacheryfs.link")  # its label is the first name that the file was opened by
    assert link.startswith(f"sha1://{WORLD.large.digest}/")
    assert link.endswith(f"?manifest={WORLD.large.manifest}")
    assert seen == {
        "user.kacheryfs.status": "0/5000000",
        "user.kacheryfs.trust": "linked",
        "user.kacheryfs.manifest": str(WORLD.large.manifest),
    }
    assert [int(line) for line in lines[1:]] == [errno.ENODATA, errno.ENODATA, errno.ENOTSUP]
    lines = mounted.python(program, mounted.path / f"{TREE}.session/sub").stdout.splitlines()
    assert json.loads(lines[0])["user.kacheryfs.link"] == f"sha1dir://{WORLD.tree_sha1}.session/sub"


def test_ls_of_ten_thousand_entries_shows_each(mounted: KernelMount) -> None:
    path = mounted.path / f"sha1dir/{WORLD.wide_sha1}"
    started = time.monotonic()
    done = mounted.run("ls", path)
    print(f"ls of 10,000 entries: {time.monotonic() - started:.2f} s")
    assert len(done.stdout.splitlines()) == 10_000
    started = time.monotonic()
    done = mounted.run("ls", "-l", path)
    print(f"ls -l of 10,000 entries: {time.monotonic() - started:.2f} s")
    assert len(done.stdout.splitlines()) == 10_001


def test_find_walks_everything(mounted: KernelMount) -> None:
    done = mounted.run("find", mounted.path / TREE, "-type", "f", "-print0")
    assert len(done.stdout.split(b"\0")) - 1 == 3 + len(ODD_NAMES)


def test_what_is_listed_as_a_claim_can_be_opened(mounted: KernelMount) -> None:
    names = mounted.run("ls", mounted.path / "sha1").stdout.split()
    assert WORLD.claimed.digest.hex.encode() in names
    assert mounted.run("cat", mounted.path / f"sha1/{WORLD.claimed.digest}").stdout == WORLD.claimed.data


def test_links_and_their_directories_are_not_listed(mounted: KernelMount) -> None:
    assert mounted.run("ls", "-A", mounted.path).stdout.split() == [b"README", b"collections", b"sha1", b"sha1dir"]
    assert mounted.run("ls", "-A", mounted.path / "sha1:").stdout == b""
    assert mounted.run("ls", "-A", mounted.path / f"sha1:/{WORLD.large.digest}").stdout == b""


def test_a_directory_keeps_its_path_whatever_else_it_is_called(mounted: KernelMount) -> None:
    program = """
import os, sys
os.chdir(sys.argv[1])
os.listdir(sys.argv[2])
os.stat(sys.argv[2] + "/sub/inner.dat")
print(os.getcwd())
"""
    done = mounted.python(program, mounted.path / f"{TREE}/sub", mounted.path / f"{TREE}.label")
    assert done.stdout.decode().strip() == f"{mounted.path}/{TREE}/sub"
