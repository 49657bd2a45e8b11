"""An existing kachery storage folder is offered in place, and nothing of it is believed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kacheryfs.core.link import FileLink
from kacheryfs.core.model import BLOCK_BYTES, Sha1
from kacheryfs.core.wire import fan_out
from kacheryfs.errors import InputError
from kacheryfs.store.catalog import Catalog
from kacheryfs.store.catalog_entry import NewHash
from kacheryfs.store.hashing import HashedFile
from kacheryfs.store.originals import Identity
from kacheryfs.store.storage_folder import SharedStorage, share_kachery_storage

LARGE = bytes(range(256)) * (2 * BLOCK_BYTES // 256) + b"!"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog") as catalog:
        yield catalog


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    (tmp_path / "storage" / "sha1").mkdir(parents=True)
    return tmp_path / "storage"


def put(folder: Path, data: bytes, *, sha1: Sha1 | None = None, suffix: str = "", content: bytes | None = None) -> Path:
    path = folder / (fan_out(sha1 or Sha1.of(data)) + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if content is None else content)
    return path


def point(folder: Path, target: Path, *, is_cloud: bool = False, **fields: object) -> Path:
    """Write the pointer of one dialect to a file kept elsewhere."""
    data, status = target.read_bytes(), target.stat()
    pointer: dict[str, object] = {"path": str(target), "manifestSha1": None}
    pointer["stat"] = {"size": status.st_size, "mtime": status.st_mtime}
    if is_cloud:
        pointer = {"path": str(target), "size": status.st_size, "mtime": status.st_mtime, "sha1": Sha1.of(data).hex}
        folder = folder.parent / "linked_files" / "sha1"
    text = json.dumps(pointer | fields).encode()
    return put(folder, data, suffix="" if is_cloud else ".link", content=text)


def read(catalog: Catalog, data: bytes) -> bytes:
    with catalog.open_original(Sha1.of(data)) as opened:
        return os.pread(opened.fd, opened.size_bytes, 0)


def reasons(shared: SharedStorage) -> dict[str, str]:
    return {os.path.basename(name): reason for name, reason in shared.left_out}


def test_objects_are_offered_in_place(catalog: Catalog, storage: Path) -> None:
    path = put(storage / "sha1", LARGE)
    put(storage / "sha1", b"small")
    shared = share_kachery_storage(catalog, storage)
    assert {link.sha1 for link in shared.links} == {Sha1.of(LARGE), Sha1.of(b"small")}
    assert [bool(link.manifest) for link in shared.links] == [link.sha1 == Sha1.of(LARGE) for link in shared.links]
    assert (shared.n_files, shared.total_bytes, shared.left_out) == (2, len(LARGE) + 5, ())
    assert read(catalog, LARGE) == LARGE
    assert [original.path for original in catalog.originals(Sha1.of(LARGE))] == [os.fsencode(path)]


@pytest.mark.parametrize("is_cloud", [False, True])
def test_files_kept_elsewhere_are_offered_where_they_lie(
    catalog: Catalog, storage: Path, tmp_path: Path, is_cloud: bool
) -> None:
    (tmp_path / "rec é.dat").write_bytes(LARGE)
    point(storage / "sha1", tmp_path / "rec é.dat", is_cloud=is_cloud)
    shared = share_kachery_storage(catalog, storage)
    assert [(link.sha1, link.label) for link in shared.links] == [(Sha1.of(LARGE), "rec é.dat")]
    (original,) = catalog.originals(Sha1.of(LARGE))
    assert (original.root, original.relative) == (os.fsencode(tmp_path), "rec é.dat".encode())
    assert read(catalog, LARGE) == LARGE


def test_a_storage_with_only_linked_files_is_one(catalog: Catalog, storage: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    point(storage / "sha1", tmp_path / "f", is_cloud=True)
    (storage / "sha1").rmdir()
    assert share_kachery_storage(catalog, storage).n_files == 1


def test_an_object_and_its_pointers_are_one_link_and_several_originals(
    catalog: Catalog, storage: Path, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    put(storage / "sha1", b"x")
    point(storage / "sha1", tmp_path / "f")
    point(storage / "sha1", tmp_path / "f", is_cloud=True)
    shared = share_kachery_storage(catalog, storage)
    assert shared.links == (FileLink(Sha1.of(b"x"), "f"),)
    assert shared.total_bytes == 1
    assert len(catalog.originals(Sha1.of(b"x"))) == 2


def test_what_is_not_what_its_name_says_is_left_out(catalog: Catalog, storage: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    put(storage / "sha1", b"right")
    put(storage / "sha1", b"wrong", content=b"wronG")
    point(storage / "sha1", tmp_path / "f")
    (tmp_path / "f").write_bytes(b"y")
    shared = share_kachery_storage(catalog, storage)
    assert [link.sha1 for link in shared.links] == [Sha1.of(b"right")]
    says = "its content has another SHA-1: "
    assert reasons(shared) == {
        Sha1.of(b"wrong").hex: says + Sha1.of(b"wronG").hex,
        Sha1.of(b"x").hex + ".link": says + Sha1.of(b"y").hex,
    }
    for data in (b"wrong", b"wronG", b"x", b"y"):
        assert catalog.originals(Sha1.of(data)) == []


def test_a_wrong_object_is_left_out_again_though_it_is_not_read_again(catalog: Catalog, storage: Path) -> None:
    put(storage / "sha1", b"wrong", content=b"wronG")
    first = share_kachery_storage(catalog, storage)
    second = share_kachery_storage(catalog, storage)
    assert (first.read_bytes, second.read_bytes) == (5, 0)
    assert first.left_out == second.left_out
    assert second.links == ()


def test_the_second_of_two_contents_with_one_sha1_is_left_out(catalog: Catalog, storage: Path) -> None:
    first = HashedFile(Sha1.of(LARGE), 7, None, [])
    catalog.remember([NewHash(b"/first", Identity(1, 2, 7, 3, 4), first)])
    put(storage / "sha1", LARGE)
    shared = share_kachery_storage(catalog, storage)
    assert shared.links == ()
    assert "a collision" in reasons(shared)[Sha1.of(LARGE).hex]


@pytest.mark.parametrize(
    ("pointer", "says"),
    [
        (b"not json", "not JSON"),
        (b"[" * 30_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "names no absolute path"),
        (b'{"path": 3}', "names no absolute path"),
        (b'{"path": "relative"}', "names no absolute path"),
        (b'{"path": "/a\\u0000b"}', "names no absolute path"),
        (b'{"path": "/nowhere/at/all"}', "No such file"),
        (b'{"path": "/dev/null"}', "not a regular file"),
        (b'{"path": "/"}', "not a regular file"),
        (b'{"path": "/\\ud800"}', "no text"),
        (b'{"path": "/x", "pad": "' + b"x" * 70_000 + b'"}', "not JSON"),
    ],
)
def test_a_bad_pointer_is_left_out_with_its_reason(catalog: Catalog, storage: Path, pointer: bytes, says: str) -> None:
    put(storage / "sha1", b"x", suffix=".link", content=pointer)
    put(storage / "sha1", b"right")
    shared = share_kachery_storage(catalog, storage)
    assert [link.sha1 for link in shared.links] == [Sha1.of(b"right")]
    assert says in reasons(shared)[Sha1.of(b"x").hex + ".link"]


def test_a_pointer_of_another_size_is_left_out_unread(catalog: Catalog, storage: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(LARGE)
    point(storage / "sha1", tmp_path / "f", stat={"size": 7, "mtime": 0})
    shared = share_kachery_storage(catalog, storage)
    assert f"it had 7 bytes and has {len(LARGE)}" in reasons(shared)[Sha1.of(LARGE).hex + ".link"]
    assert shared.read_bytes == 0


def test_files_in_the_wrong_place_and_of_other_names_are_not_objects(catalog: Catalog, storage: Path) -> None:
    misplaced = Sha1.of(b"misplaced").hex
    (storage / "sha1" / "00").mkdir()
    (storage / "sha1" / "00" / misplaced).write_bytes(b"misplaced")
    put(storage / "sha1", b"x", suffix=".tmp")
    put(storage / "sha1", b"y", suffix=".link.bak")
    shared = share_kachery_storage(catalog, storage)
    assert shared.links == ()
    assert reasons(shared) == {misplaced: "not in the folder that its name belongs in"}


def test_an_object_that_is_a_link_is_followed_and_a_fifo_is_not(
    catalog: Catalog, storage: Path, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    path = put(storage / "sha1", b"x")
    path.unlink()
    path.symlink_to(tmp_path / "f")
    fifo = put(storage / "sha1", b"fifo")
    fifo.unlink()
    os.mkfifo(fifo)
    shared = share_kachery_storage(catalog, storage)
    assert [link.sha1 for link in shared.links] == [Sha1.of(b"x")]
    assert read(catalog, b"x") == b"x"
    assert "not a regular file" in reasons(shared)[fifo.name]


def test_sharing_again_follows_what_came_and_went(catalog: Catalog, storage: Path) -> None:
    old = put(storage / "sha1", b"old")
    put(storage / "sha1", b"stays")
    share_kachery_storage(catalog, storage)
    old.unlink()
    put(storage / "sha1", b"new")
    shared = share_kachery_storage(catalog, storage)
    assert shared.read_bytes == 3
    assert set(catalog.digests()) == {Sha1.of(b"stays"), Sha1.of(b"new")}


def test_it_is_one_share_without_a_link(catalog: Catalog, storage: Path) -> None:
    put(storage / "sha1", b"x")
    share_kachery_storage(catalog, storage)
    (listed,) = catalog.shares()
    assert (listed.path, listed.link, listed.n_files, listed.state) == (str(storage), "", 1, "ok")
    catalog.unshare(str(storage))
    assert list(catalog.digests()) == []


def test_dry_run_reads_nothing(catalog: Catalog, storage: Path) -> None:
    put(storage / "sha1", b"x")
    told = share_kachery_storage(catalog, storage, dry_run=True)
    assert (told.links, told.total_bytes, told.read_bytes) == ((FileLink(Sha1.of(b"x")),), 1, 1)
    assert catalog.shares() == []
    assert catalog.hashed_below(os.fsencode(storage)) == {}


def test_progress_counts_what_is_read(catalog: Catalog, storage: Path) -> None:
    put(storage / "sha1", b"x")
    put(storage / "sha1", LARGE)
    steps: list[tuple[int, int]] = []
    share_kachery_storage(catalog, storage, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (len(LARGE) + 1, len(LARGE) + 1)


@pytest.mark.parametrize("name", ["gone", "empty", "file"])
def test_a_folder_that_is_no_storage_is_refused(catalog: Catalog, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no kachery storage folder"):
        share_kachery_storage(catalog, tmp_path / name)


def test_our_own_store_is_no_storage_to_share(catalog: Catalog, storage: Path) -> None:
    with pytest.raises(InputError, match="its own files"):
        share_kachery_storage(catalog, storage, own_folders=[storage])
