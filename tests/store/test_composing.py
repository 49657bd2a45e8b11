"""A composed share: originals under chosen names beside made files, one link a tree, and nothing left when it goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kacheryfs.core.link import TreeLink
from kacheryfs.core.model import BLOCK_BYTES, Sha1
from kacheryfs.core.tree import FileEntry, Tree, decode_tree
from kacheryfs.errors import ChangedError, InputError
from kacheryfs.store.catalog import Catalog
from kacheryfs.store.composing import InPlace, compose
from kacheryfs.store.originals import Identity
from kacheryfs.store.sharing import share

LARGE = os.urandom(3 * BLOCK_BYTES + 7)
MADE_LARGE = bytes(2 * BLOCK_BYTES) + b"made"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog") as catalog:
        yield catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "a.bin").write_bytes(LARGE)
    (folder / "run" / "a.meta").write_bytes(b"meta")
    (folder / "run" / "notes_private.txt").write_bytes(b"private")
    return folder


def parts(folder: Path) -> dict[tuple[str, ...], InPlace | bytes | FileEntry]:
    return {
        ("run", "a.bin"): InPlace(str(folder / "run" / "a.bin")),
        ("run", "a.meta"): InPlace(str(folder / "run" / "a.meta")),
        ("recording.json",): b"{}",
        ("kacheryfs", "top.npz"): MADE_LARGE,
    }


def read(catalog: Catalog, sha1: Sha1) -> bytes:
    with catalog.open_original(sha1) as opened:
        return os.pread(opened.fd, opened.size_bytes, 0)


def tree_of(catalog: Catalog, link: object) -> Tree:
    assert isinstance(link, TreeLink)
    return decode_tree(read(catalog, link.sha1))


def test_every_file_of_the_tree_is_offered_and_nothing_else(catalog: Catalog, folder: Path) -> None:
    tree = tree_of(catalog, compose(catalog, parts(folder), "rec").link)
    contents = {"/".join(names): read(catalog, entry.sha1) for names, entry in tree.walk()}
    expected = {"run/a.bin": LARGE, "run/a.meta": b"meta", "recording.json": b"{}", "kacheryfs/top.npz": MADE_LARGE}
    assert contents == expected
    assert not catalog.originals(Sha1.of(b"private"))


def test_a_large_made_file_has_the_manifest_that_an_original_has(catalog: Catalog, folder: Path) -> None:
    tree = tree_of(catalog, compose(catalog, parts(folder), "rec").link)
    entry = tree.find(("kacheryfs", "top.npz"))
    (folder / "same").write_bytes(MADE_LARGE)
    assert isinstance(entry, FileEntry)
    assert share(catalog, folder / "same").link.manifest == entry.manifest is not None  # type: ignore[union-attr]
    assert catalog.has_manifest(entry.manifest)


def test_composing_again_gives_the_same_link_and_reads_nothing(catalog: Catalog, folder: Path) -> None:
    first = compose(catalog, parts(folder), "rec")
    assert first.read_bytes == len(LARGE) + 4
    again = compose(catalog, parts(folder), "rec")
    assert (again.link, again.read_bytes) == (first.link, 0)
    assert len(catalog.shares()) == 1


def test_it_is_listed_by_where_its_originals_lie(catalog: Catalog, folder: Path) -> None:
    shared = compose(catalog, parts(folder), "rec")
    (listed,) = catalog.shares()
    assert (listed.place, listed.link, listed.state) == (str(folder / "run"), str(shared.link), "ok")
    assert (listed.n_files, listed.total_bytes) == (4, shared.total_bytes)


def test_a_plain_share_of_the_same_folder_stands_beside_it(catalog: Catalog, folder: Path) -> None:
    composed = compose(catalog, parts(folder), "rec")
    plain = share(catalog, folder / "run")
    assert plain.read_bytes == len(b"private")
    assert {listed.link for listed in catalog.shares()} == {str(composed.link), str(plain.link)}
    catalog.unshare(str(plain.link))
    assert read(catalog, Sha1.of(LARGE)) == LARGE


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_unsharing_by_link_leaves_no_made_file(catalog: Catalog, folder: Path) -> None:
    shared = compose(catalog, parts(folder), "rec")
    assert len(files_below(catalog.folder / "trees")) == 3
    gone = catalog.unshare(str(shared.link))
    assert gone.place == str(folder / "run")
    assert not files_below(catalog.folder / "trees")
    assert not list(catalog.digests())
    assert compose(catalog, parts(folder), "rec").read_bytes == 0


def test_a_made_file_stays_while_another_share_holds_it(catalog: Catalog, folder: Path) -> None:
    first = compose(catalog, parts(folder), "rec")
    second = compose(catalog, {("top.npz",): MADE_LARGE}, "other")
    catalog.unshare(str(first.link))
    assert read(catalog, Sha1.of(MADE_LARGE)) == MADE_LARGE
    catalog.unshare(str(second.link))
    assert not files_below(catalog.folder / "trees")


def test_an_original_that_was_changed_is_told_of_by_the_share(catalog: Catalog, folder: Path) -> None:
    compose(catalog, parts(folder), "rec")
    (folder / "run" / "a.meta").write_bytes(b"else")
    (listed,) = catalog.shares()
    assert (listed.state, listed.n_changed) == ("changed", 1)


def test_an_original_that_is_not_the_one_looked_at_is_refused(catalog: Catalog, folder: Path) -> None:
    path = folder / "run" / "a.bin"
    before = Identity.of(path.stat())
    path.write_bytes(LARGE[:-1])
    with pytest.raises(ChangedError, match="was changed while it was shared"):
        compose(catalog, {("a.bin",): InPlace(str(path), before)}, "rec")
    assert catalog.shares() == []


def test_an_entry_of_another_tree_stands_in_it_and_is_not_offered(catalog: Catalog, folder: Path) -> None:
    entry = FileEntry(3, Sha1.of(b"abc"))
    tree = tree_of(catalog, compose(catalog, {**parts(folder), ("far.bin",): entry}, "rec").link)
    assert tree.find(("far.bin",)) == entry
    assert not catalog.originals(entry.sha1)


def test_what_cannot_be_shared_is_said(catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, reason in {
        str(folder / "gone"): "No such file",
        str(folder): "not a file",
        str(catalog.folder / "catalog.sqlite"): "keeps its own files there",
    }.items():
        with pytest.raises(InputError, match=reason):
            compose(catalog, {("x",): InPlace(path)}, "rec", own_folders=[catalog.folder])
    with pytest.raises(InputError, match="don't make a folder"):
        compose(catalog, {("x",): b"", ("x", "y"): b""}, "rec")
    monkeypatch.setattr("kacheryfs.store.composing.kachery_devices", lambda: {folder.stat().st_dev})
    with pytest.raises(InputError, match="in a mount of kacheryfs"):
        compose(catalog, parts(folder), "rec")
