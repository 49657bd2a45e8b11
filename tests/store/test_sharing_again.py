"""``verify`` reads originals again, whatever their identity says."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from kacheryfs.core.link import FileLink, TreeLink
from kacheryfs.core.model import BLOCK_BYTES, Blake3, Sha1
from kacheryfs.errors import ChangedError, NotFoundError
from kacheryfs.store import rechecking
from kacheryfs.store.catalog import Catalog
from kacheryfs.store.originals import Identity, Original
from kacheryfs.store.rechecking import verify_originals
from kacheryfs.store.sharing import share

LARGE = bytes(range(256)) * (2 * BLOCK_BYTES // 256) + b"!"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog") as catalog:
        yield catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "large").write_bytes(LARGE)
    (folder / "small").write_bytes(b"small")
    return folder


def verdicts(catalog: Catalog, link: FileLink | TreeLink | None = None) -> dict[str, str]:
    """The verdict on each file by name; a folder's JSON is named "json"."""
    trees = str(catalog.folder)
    checks = verify_originals(catalog, link)
    return {"json" if one.path.startswith(trees) else os.path.basename(one.path): one.verdict for one in checks}


def damage(catalog: Catalog, path: Path) -> None:
    """Change a byte as a bad disk does: the catalog is made to hold the identity that the file has then."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    connection = sqlite3.connect(catalog.folder / "catalog.sqlite")
    row = (Identity.of(path.stat()).pack(), os.fsencode(path))
    connection.execute("UPDATE hashed SET identity = ? WHERE path = ?", row)
    connection.commit()
    connection.close()


def test_all_is_right_at_first(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder)
    assert verdicts(catalog) == {"json": "right", "large": "right", "small": "right"}


@pytest.mark.parametrize("name", ["sub/large", "small"])
def test_a_wrong_byte_behind_an_unchanged_identity_is_found_and_served_no_more(
    catalog: Catalog, folder: Path, name: str
) -> None:
    share(catalog, folder)
    sha1 = Sha1.of((folder / name).read_bytes())
    damage(catalog, folder / name)
    assert [one.state for one in catalog.shares()] == ["ok"]
    assert verdicts(catalog)[os.path.basename(name)] == "wrong"
    with pytest.raises(ChangedError):
        catalog.open_original(sha1)
    assert [one.state for one in catalog.shares()] == ["changed"]
    assert verdicts(catalog)[os.path.basename(name)] == "changed"
    assert share(catalog, folder).read_bytes == (folder / name).stat().st_size


def test_changed_and_missing_files_are_told_apart(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder)
    (folder / "small").write_bytes(b"other")
    (folder / "sub" / "large").unlink()
    assert verdicts(catalog) == {"json": "right", "large": "missing", "small": "changed"}


def test_a_file_that_changes_while_it_is_read_again_is_changed(catalog: Catalog, folder: Path) -> None:
    shared = share(catalog, folder / "sub" / "large")
    assert shared.link is not None
    checks = verify_originals(catalog, progress=lambda _done, _total: os.utime(folder / "sub" / "large"))
    assert [one.verdict for one in checks] == ["changed"]


def test_a_file_that_changes_right_before_it_is_read_again_is_changed(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(catalog, folder / "small")
    (folder / "small").write_bytes(b"other")
    monkeypatch.setattr(Original, "state", lambda _original: "ok")
    assert verdicts(catalog) == {"small": "changed"}


def test_a_file_that_can_not_be_read_is_no_longer_offered_as_right(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(catalog, folder / "small")

    def fail(*_: object) -> object:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(rechecking, "read_original", fail)
    assert verdicts(catalog) == {"small": "unreadable"}


def test_one_link_s_originals_are_read_alone(catalog: Catalog, folder: Path) -> None:
    tree_link = share(catalog, folder).link
    (folder.parent / "other").write_bytes(b"other")
    share(catalog, folder.parent / "other")
    assert isinstance(tree_link, TreeLink)
    assert set(verdicts(catalog, tree_link)) == {"json", "large", "small"}
    assert set(verdicts(catalog, TreeLink(tree_link.sha1, path=("sub",)))) == {"json", "large"}
    assert set(verdicts(catalog, TreeLink(tree_link.sha1, path=("small",)))) == {"json", "small"}
    assert set(verdicts(catalog, FileLink(Sha1.of(b"other")))) == {"other"}


@pytest.mark.parametrize("link", [FileLink(Sha1.of(b"unknown")), TreeLink(Sha1.of(b"unknown"))])
def test_a_link_that_is_not_shared_is_an_error(catalog: Catalog, folder: Path, link: FileLink | TreeLink) -> None:
    share(catalog, folder)
    with pytest.raises(NotFoundError):
        list(verify_originals(catalog, link))


def test_lost_parts_of_a_manifest_are_written_again(catalog: Catalog, folder: Path) -> None:
    link = share(catalog, folder / "sub" / "large").link
    assert isinstance(link, FileLink)
    assert isinstance(link.manifest, Blake3)
    connection = sqlite3.connect(catalog.folder / "catalog.sqlite")
    connection.execute("UPDATE part SET data = x'00'")
    connection.commit()
    connection.close()
    assert catalog.find_manifest_part(link.manifest) is None
    assert verdicts(catalog) == {"large": "right"}
    assert catalog.find_manifest_part(link.manifest) is not None


def test_progress_reaches_the_total(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder)
    (folder / "small").unlink()
    steps: list[tuple[int, int]] = []
    list(verify_originals(catalog, progress=lambda done, total: steps.append((done, total))))
    assert steps[-1][0] == steps[-1][1] > len(LARGE)
