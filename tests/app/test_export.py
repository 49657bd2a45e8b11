"""Copies in the static layout: proven, whole or not there, gone on with."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import trio

from kacheryfs.app.export import CHUNK_BYTES, Exported, Exporter, Target
from kacheryfs.app.export_folder import PARTS, FolderTarget
from kacheryfs.cli.mirroring import open_target
from kacheryfs.config import load_settings
from kacheryfs.core.manifest import Root
from kacheryfs.core.model import BLOCK_BYTES, Binding, Blake3, Sha1
from kacheryfs.core.request import FileRequest, Trust
from kacheryfs.core.tree import Tree
from kacheryfs.core.wire import fan_out
from kacheryfs.errors import InputError, ProofError, StoreError, TimedOutError
from kacheryfs.fsspec_files.targets import FsspecTarget
from kacheryfs.store.hashing import hash_bytes

DATA = bytes(range(256)) * 1024 * 41  # 10.25 MiB: several chunks, and a last one that isn't whole
SHA1 = Sha1.of(DATA)
HASHED = hash_bytes(DATA)
REQUEST = FileRequest(SHA1, HASHED.manifest)


class Memory:
    """An engine that has one file, and stops serving it at ``stop``; counts what is read."""

    trust = Trust.LINKED

    def __init__(self, data: bytes = DATA, stop: int | None = None) -> None:
        self.data = data
        self.size_bytes = len(data)
        self.stop = len(data) if stop is None else stop
        self.n_located = 0
        self.n_open = 0
        self.read_bytes = 0
        self.binding = Binding(SHA1, HASHED.manifest)

    async def locate(self, request: FileRequest, *, allow_claims: bool = False) -> Memory:
        self.n_located += 1
        return self

    async def get_tree(self, sha1: Sha1) -> Tree:
        raise AssertionError("no tree is asked for")

    def open(self) -> Memory:
        self.n_open += 1
        return self

    def present_bytes(self) -> int:
        return 0

    def read_now(self, offset: int, n_bytes: int) -> memoryview | None:
        return None

    async def read(self, offset: int, n_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if offset >= self.stop:
            raise TimedOutError("the peers are gone")
        self.read_bytes += len(self.data[offset : offset + n_bytes])
        return self.data[offset : offset + n_bytes]

    def close(self) -> None:
        self.n_open -= 1


MakeTarget = Callable[[], Target]


@pytest.fixture(params=["folder", "fsspec"])
def make_target(request: pytest.FixtureRequest, tmp_path: Path) -> MakeTarget:
    if request.param == "folder":
        return lambda: FolderTarget(tmp_path / "www")
    # fsspec's view of a folder is a file system like any other; FolderTarget is for what users have as folders.
    return lambda: FsspecTarget(f"local://{tmp_path}/www")


async def export(engine: Memory, target: Target, request: FileRequest = REQUEST) -> Exported:
    found: list[int] = []
    done: list[int] = []
    exported = await Exporter(engine, target, on_found=found.append, on_bytes=done.append).export(request)
    assert sum(done) == engine.size_bytes == (request.size_bytes or sum(found))
    assert engine.n_open == 0
    return exported


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def layout_of(data: bytes) -> set[str]:
    hashed = hash_bytes(data)
    parts = [Blake3.of(group) for group in hashed.groups] + ([hashed.root.digest] if hashed.root else [])
    return {f"sha1/{fan_out(hashed.sha1)}", *(f"manifest/{fan_out(part)}" for part in parts)}


async def test_a_file_and_its_manifest_stand_in_the_static_layout(make_target: MakeTarget, tmp_path: Path) -> None:
    exported = await export(Memory(), make_target())
    assert exported == Exported(len(DATA), HASHED.manifest, is_new=True)
    assert names_below(tmp_path / "www") == layout_of(DATA)
    assert (tmp_path / "www" / "sha1" / fan_out(SHA1)).read_bytes() == DATA
    assert isinstance(HASHED.manifest, Blake3)
    root = Root.decode((tmp_path / "www" / "manifest" / fan_out(HASHED.manifest)).read_bytes(), HASHED.manifest)
    assert root == HASHED.root


@pytest.mark.parametrize("data", [b"", b"x" * BLOCK_BYTES])
async def test_a_file_of_one_block_needs_no_manifest(make_target: MakeTarget, tmp_path: Path, data: bytes) -> None:
    exported = await export(Memory(data), make_target(), FileRequest(Sha1.of(data)))
    assert exported.manifest is None
    assert names_below(tmp_path / "www") == layout_of(data) == {f"sha1/{fan_out(Sha1.of(data))}"}


async def test_a_bare_name_gets_the_manifest_that_a_link_should_carry(make_target: MakeTarget) -> None:
    assert (await export(Memory(), make_target(), FileRequest(SHA1))).manifest == HASHED.manifest


async def test_what_is_there_is_not_written_again(make_target: MakeTarget) -> None:
    await export(Memory(), make_target())
    again = Memory()
    assert not (await export(again, make_target(), FileRequest(SHA1, HASHED.manifest, len(DATA)))).is_new
    assert not (await export(again, make_target())).is_new
    assert again.read_bytes == 0


async def test_no_peer_is_asked_for_a_folders_file_that_is_there(make_target: MakeTarget) -> None:
    request = FileRequest(SHA1, HASHED.manifest, len(DATA))
    await export(Memory(), make_target(), request)
    again = Memory()
    await export(again, make_target(), request)
    assert again.n_located == 0


async def test_a_copy_without_its_manifest_is_made_again(make_target: MakeTarget, tmp_path: Path) -> None:
    await export(Memory(), make_target())
    assert isinstance(HASHED.manifest, Blake3)
    (tmp_path / "www" / "manifest" / fan_out(HASHED.manifest)).unlink()
    assert (await export(Memory(), make_target())).is_new
    assert names_below(tmp_path / "www") == layout_of(DATA)


async def test_a_file_of_another_size_is_replaced(make_target: MakeTarget, tmp_path: Path) -> None:
    place = tmp_path / "www" / "sha1" / fan_out(SHA1)
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA[:100])
    await export(Memory(), make_target())
    assert place.read_bytes() == DATA


async def test_bytes_with_another_sha1_never_get_the_name(make_target: MakeTarget, tmp_path: Path) -> None:
    target = make_target()
    with pytest.raises(ProofError, match=SHA1.short):
        await export(Memory(DATA[:-1] + b"x"), target)
    target.close()
    assert names_below(tmp_path / "www") == set()


async def test_what_breaks_off_leaves_nothing_under_the_name(make_target: MakeTarget, tmp_path: Path) -> None:
    with pytest.raises(TimedOutError):
        await export(Memory(stop=3 * CHUNK_BYTES), make_target())
    assert not any(name.startswith(("sha1/", "manifest/")) for name in names_below(tmp_path / "www"))


async def test_a_folder_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(TimedOutError):
        await export(Memory(stop=3 * CHUNK_BYTES), FolderTarget(tmp_path))
    again, target = Memory(), FolderTarget(tmp_path)
    await export(again, target)
    target.close()
    assert again.read_bytes == len(DATA) - 3 * CHUNK_BYTES
    assert names_below(tmp_path) == layout_of(DATA)
    assert (tmp_path / "sha1" / fan_out(SHA1)).read_bytes() == DATA
    assert not (tmp_path / PARTS).exists()


async def test_a_part_that_is_wrong_is_written_anew(tmp_path: Path) -> None:
    part = tmp_path / PARTS / SHA1.hex
    part.parent.mkdir()
    part.write_bytes(b"\0" * (len(DATA) + 5))  # as after a power cut, and too long
    await export(Memory(), FolderTarget(tmp_path))
    assert (tmp_path / "sha1" / fan_out(SHA1)).read_bytes() == DATA


async def test_two_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    upload = FolderTarget(tmp_path).start(f"sha1/{fan_out(SHA1)}", len(DATA))
    try:
        with pytest.raises(InputError, match="another kacheryfs mirror"):
            await export(Memory(), FolderTarget(tmp_path))
    finally:
        upload.close()


async def test_one_file_under_two_names_is_written_once(make_target: MakeTarget) -> None:
    engine, done = Memory(), list[int]()
    exporter = Exporter(engine, make_target(), on_found=done.append, on_bytes=done.append)
    async with trio.open_nursery() as nursery:
        for request in (REQUEST, FileRequest(SHA1)):
            nursery.start_soon(exporter.export, request)
    assert engine.read_bytes == len(DATA)


def test_a_store_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("kacheryfs-store 1\n")
    with pytest.raises(InputError, match="store"):
        FolderTarget(tmp_path)


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        FolderTarget(tmp_path / "file" / "below")


async def test_a_full_disk_ends_it_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(StoreError, match="No space left on device; make room"):
        await export(Memory(), FolderTarget(tmp_path))


@pytest.mark.parametrize("url", ["nonsense://x/y", "dir::nonsense://x/y"])
def test_an_unknown_file_system_is_bad_input_and_others_are_named(url: str) -> None:
    with pytest.raises(InputError, match=r"known by nonsense://; .* s3://, gs://, .*: pip install s3fs, gcsfs,"):
        FsspecTarget(url)


@pytest.mark.parametrize("url", ["memory://x", "memory://", "dir::memory://x"])
def test_a_target_that_is_gone_with_the_process_is_bad_input(url: str) -> None:
    with pytest.raises(InputError, match="gone once this command ends"):
        open_target(url, load_settings({}, {"HOME": "/nowhere"}))


@pytest.mark.parametrize("url", ["s3://", "s3:///kachery"])
def test_a_url_without_a_bucket_is_bad_input(url: str) -> None:
    pytest.importorskip("s3fs")
    with pytest.raises(InputError, match="names no bucket: s3://BUCKET/PREFIX"):
        FsspecTarget(url)


def test_what_a_file_system_raises_becomes_one_line(tmp_path: Path) -> None:
    (tmp_path / "sha1").write_bytes(b"a file in the place of a folder")
    target = FsspecTarget(f"local://{tmp_path}")
    with pytest.raises(StoreError, match=f"local://{tmp_path} can't be written"):
        target.put("sha1/ab/x", b"data")


def test_the_lock_of_a_part_ends_with_its_upload(tmp_path: Path) -> None:
    target = FolderTarget(tmp_path)
    target.start("sha1/x", 10).close()
    upload = target.start("sha1/x", 10)
    with open(tmp_path / PARTS / "x", "rb") as part, pytest.raises(BlockingIOError):
        fcntl.flock(part, fcntl.LOCK_SH | fcntl.LOCK_NB)
    upload.close()


def test_a_part_of_one_that_was_killed_is_removed_unless_it_is_being_written(tmp_path: Path) -> None:
    (tmp_path / PARTS).mkdir()
    names = (f"{'a' * 64}.0a1b2c3d", f"{'b' * 64}.0a1b2c3d", "c" * 40, "report.txt", "a.0a1b2c3d")
    orphan, busy, *kept = (tmp_path / PARTS / name for name in names)
    for part in (orphan, busy, *kept):
        part.write_bytes(b"half")
    with open(busy, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        FolderTarget(tmp_path)
    assert not orphan.exists()
    assert all(part.exists() for part in (busy, *kept))


async def test_nothing_else_in_the_folder_is_touched(make_target: MakeTarget, tmp_path: Path) -> None:
    folder = tmp_path / "www"
    theirs = (
        "tmp/report.txt",
        f"tmp/{'a' * 40}",
        f"tmp/{'a' * 40}.0a1b2c3d",
        f"tmp/{SHA1}",
        "sha1/notes.txt",
        "index.html",
    )
    for name in theirs:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "empty").mkdir()
    target = make_target()
    await export(Memory(), target)
    target.close()
    assert {name: (folder / name).read_bytes() for name in theirs} == {name: name.encode() for name in theirs}
    assert (folder / "empty").is_dir()


def test_two_uploads_of_one_file_do_not_meet(tmp_path: Path) -> None:
    target = FsspecTarget(f"local://{tmp_path}/www")
    one = target.start("sha1/x", len(DATA))
    one.write(DATA)
    other = target.start("sha1/x", len(DATA))
    other.write(b"half")
    one.commit()
    other.close()
    assert (tmp_path / "www" / "sha1" / "x").read_bytes() == DATA
    assert names_below(tmp_path / "www") == {"sha1/x"}


def test_what_a_file_system_did_not_take_whole_gets_no_name(tmp_path: Path) -> None:
    target = FsspecTarget(f"local://{tmp_path}/www")
    upload = target.start("sha1/x", len(DATA))
    upload.write(DATA)
    (part,) = (tmp_path / "www" / PARTS).iterdir()
    part.unlink()
    part.write_bytes(b"half")
    with pytest.raises(StoreError, match="it took 4 of 10747904 bytes"):
        upload.commit()
    upload.close()
    assert names_below(tmp_path / "www") == set()


def test_a_password_is_never_shown() -> None:
    assert FsspecTarget("memory://user:secret@host/x").place == "memory://host/x"
    with pytest.raises(InputError, match="nonsense://host/x") as caught:
        FsspecTarget("nonsense://user:secret@host/x")
    assert "secret" not in str(caught.value)


class Unreachable(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Connects at once, as SFTP does, to nobody."""

    protocol = "nobody"

    def __init__(self, **options: object) -> None:
        raise OSError(f"user:secret@host doesn't answer: {sorted(options)}")


@pytest.mark.parametrize("url", ["s3://[bad", "nobody://user:secret@host/x"])
def test_whatever_a_url_leads_to_is_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("nobody", Unreachable, clobber=True)
    with pytest.raises(InputError) as caught:
        open_target(url, load_settings({}, {"HOME": "/nowhere"})).find_size("x")
    assert "secret" not in str(caught.value)
