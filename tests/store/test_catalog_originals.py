"""An original is opened only beneath its root, only as a regular file, and only while it is what was hashed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kacheryfs.core.model import Sha1
from kacheryfs.errors import CatalogError, ChangedError
from kacheryfs.store.originals import Identity, Original, open_beneath

DATA = b"what was hashed"


def original(root: Path, relative: str = "a/b/file") -> Original:
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(DATA)
    os.utime(path, ns=(1, 1))
    identity = Identity.of(path.stat())
    return Original(Sha1.of(DATA), None, os.fsencode(root), os.fsencode(relative), identity)


def n_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_an_unchanged_original_is_read_through_its_descriptor(tmp_path: Path) -> None:
    with original(tmp_path).open() as opened:
        assert os.pread(opened.fd, 100, 0) == DATA
        assert opened.size_bytes == len(DATA)
        opened.check()


def test_closing_twice_closes_nobody_else_s_descriptor(tmp_path: Path) -> None:
    opened = original(tmp_path).open()
    opened.close()
    other = os.open(tmp_path, os.O_RDONLY)
    opened.close()
    os.close(other)


def rewrite(path: Path) -> None:
    path.write_bytes(DATA.upper())


def rewrite_and_set_times_back(path: Path) -> None:
    times = path.stat()
    path.write_bytes(DATA.upper())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_by_a_copy(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def remove(path: Path) -> None:
    path.unlink()


def replace_by_a_link_to_a_copy(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_its_folder_by_a_link(path: Path) -> None:
    """The file itself is the same, device, inode and times: only the walk beneath the root tells."""
    path.parent.rename(path.parent.with_name("outside"))
    path.parent.symlink_to("outside")


def remove_its_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def replace_its_folder_by_a_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(DATA)


CHANGES = [
    rewrite,
    rewrite_and_set_times_back,
    replace_by_a_copy,
    append,
    remove,
    replace_by_a_link_to_a_copy,
    replace_by_a_folder,
    replace_by_a_fifo,
    replace_its_folder_by_a_link,
    remove_its_folder,
    replace_its_folder_by_a_file,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_original_is_not_opened(tmp_path: Path, change: Callable[[Path], None]) -> None:
    shared = original(tmp_path)
    assert shared.state() == "ok"
    change(Path(os.fsdecode(shared.path)))
    n_open = n_open_files()
    with pytest.raises(ChangedError, match="changed or moved") as caught:
        shared.open()
    assert str(tmp_path) not in str(caught.value), "the message may be told to peers"
    assert shared.state() == ("missing" if change in (remove, remove_its_folder) else "changed")
    assert n_open_files() == n_open


def test_a_root_that_became_a_link_is_not_entered(tmp_path: Path) -> None:
    shared = original(tmp_path / "root")
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    (tmp_path / "root").symlink_to("elsewhere")
    with pytest.raises(ChangedError):
        shared.open()


@pytest.mark.parametrize("change", [rewrite, rewrite_and_set_times_back, append, remove])
def test_an_open_original_notices_that_it_was_changed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    shared = original(tmp_path)
    with shared.open() as opened:
        change(Path(os.fsdecode(shared.path)))
        with pytest.raises(ChangedError):
            opened.check()


def test_an_open_original_that_was_replaced_is_still_the_old_file(tmp_path: Path) -> None:
    shared = original(tmp_path)
    (tmp_path / "new").write_bytes(b"new")
    os.link(shared.path, tmp_path / "kept")
    shared = Original(shared.sha1, None, shared.root, shared.relative, Identity.of(os.stat(shared.path)))
    with shared.open() as opened:
        (tmp_path / "new").replace(os.fsdecode(shared.path))
        assert os.pread(opened.fd, 100, 0) == DATA


@pytest.mark.parametrize(
    "relative", [b"../file", b"a/../a/b/file", b"./file", b"a//b/file", b"", b"/a/b/file", b"a/b/."]
)
def test_only_plain_paths_below_the_root_are_opened(tmp_path: Path, relative: bytes) -> None:
    original(tmp_path)
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path.parent / "file").write_bytes(DATA)
    n_open = n_open_files()
    with pytest.raises(OSError, match="not"):
        open_beneath(os.fsencode(tmp_path), relative)
    assert n_open_files() == n_open


def swap_after_looking(monkeypatch: pytest.MonkeyPatch, shared: Original, change: Callable[[Path], None]) -> None:
    """Let the next look at a file's status be followed by a change at once."""
    stat = os.stat

    def look_then_swap(*args: object, **how: object) -> os.stat_result:
        monkeypatch.undo()
        status = stat(*args, **how)  # type: ignore[arg-type]
        change(Path(os.fsdecode(shared.path)))
        return status

    monkeypatch.setattr(os, "stat", look_then_swap)


@pytest.mark.parametrize("change", [replace_by_a_fifo, replace_by_a_link_to_a_copy, replace_by_a_copy])
def test_a_swap_between_looking_and_opening_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    shared = original(tmp_path)
    swap_after_looking(monkeypatch, shared, change)
    with pytest.raises(ChangedError):
        shared.open()


@pytest.mark.parametrize("change", [replace_by_a_fifo, replace_by_a_link_to_a_copy])
def test_nor_is_anything_swapped_in_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    shared = original(tmp_path)
    swap_after_looking(monkeypatch, shared, change)
    n_open = n_open_files()
    with pytest.raises(OSError, match=r"not a regular file|symbolic links"):
        open_beneath(shared.root, shared.relative)
    assert n_open_files() == n_open


def test_want_of_descriptors_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = original(tmp_path)

    def fail(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("kacheryfs.store.originals.open_beneath", fail)
    with pytest.raises(CatalogError, match="Too many open files"):
        shared.open()


def test_identities_of_64_bits_survive_the_catalog() -> None:
    identity = Identity(2**64 - 1, 2**64 - 2, 2**62, -1, 2**62)
    assert Identity.unpack(identity.pack()) == identity
