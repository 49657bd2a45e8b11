"""What the catalog offers, to whom who asks by which name, and what it stops offering."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kacheryfs.core.link import FileLink, TreeLink
from kacheryfs.core.manifest import GROUP_BYTES, Root
from kacheryfs.core.model import BLOCK_BYTES, Blake3, Sha1, salted
from kacheryfs.core.wire import FileInfo
from kacheryfs.errors import CatalogError, ChangedError, InputError, LinkError, NotFoundError
from kacheryfs.store.catalog import Catalog
from kacheryfs.store.catalog_entry import NewHash, NewShare, Offered
from kacheryfs.store.hashing import HashedFile, hash_file
from kacheryfs.store.originals import Identity
from kacheryfs.store.sharing import Shared, share

SMALL = b"small"
LARGE = bytes(range(256)) * (3 * BLOCK_BYTES // 256) + b"!"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog") as catalog:
        yield catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "small").write_bytes(SMALL)
    (folder / "large").write_bytes(LARGE)
    return folder


def manifest_of(path: Path) -> Blake3:
    with path.open("rb") as file:
        manifest = hash_file(file.fileno(), path.stat().st_size).manifest
    assert isinstance(manifest, Blake3)
    return manifest


def link_of(shared: Shared) -> str:
    assert shared.link is not None
    return str(shared.link)


def read(catalog: Catalog, sha1: Sha1) -> bytes:
    with catalog.open_original(sha1) as opened:
        data = os.pread(opened.fd, opened.size_bytes + 1, 0)
        opened.check()
    return data


def test_a_shared_file_is_found_by_every_name(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder / "large")
    sha1, manifest = Sha1.of(LARGE), manifest_of(folder / "large")
    assert read(catalog, sha1) == LARGE
    assert catalog.file_info(sha1) == FileInfo(len(LARGE), manifest)
    assert catalog.find_salted(salted(sha1))
    assert list(catalog.digests()) == [sha1]
    found = catalog.find_path(folder / "large")
    assert found is not None
    assert (found.sha1, found.manifest, found.size_bytes) == (sha1, manifest, len(LARGE))
    assert catalog.originals(sha1) == [found]


def test_a_manifest_is_given_out_part_by_part(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder / "large")
    manifest = manifest_of(folder / "large")
    data = catalog.find_manifest_part(manifest)
    assert data is not None
    root = Root.decode(data, manifest)
    assert (root.size_bytes, root.sha1) == (len(LARGE), Sha1.of(LARGE))
    groups = [catalog.find_manifest_part(group) for group in root.groups]
    assert [group and Blake3.of(group) for group in groups] == list(root.groups)


def test_the_json_of_a_shared_folder_is_served_like_an_original(catalog: Catalog, folder: Path) -> None:
    shared = share(catalog, folder)
    assert isinstance(shared.link, TreeLink)
    sha1 = shared.link.sha1
    assert Sha1.of(read(catalog, sha1)) == sha1
    assert catalog.find_salted(salted(sha1))
    assert list(catalog.tree_digests()) == [sha1]
    assert set(catalog.digests()) == {sha1, Sha1.of(SMALL), Sha1.of(LARGE)}


def test_a_large_json_has_a_manifest_though_its_link_has_none(catalog: Catalog, folder: Path) -> None:
    for number in range(2000):
        (folder / f"{number:0200}").touch()
    shared = share(catalog, folder)
    assert shared.link is not None
    assert "manifest" not in str(shared.link)
    info = catalog.file_info(shared.link.sha1)
    assert info is not None
    assert info.size_bytes > BLOCK_BYTES
    assert isinstance(info.manifest, Blake3)
    assert catalog.find_manifest_part(info.manifest) is not None


def test_what_is_not_shared_is_not_found(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder / "small")
    sha1 = Sha1.of(LARGE)
    assert catalog.originals(sha1) == []
    assert catalog.file_info(sha1) is None
    assert not catalog.find_salted(salted(sha1))
    assert not catalog.find_salted(sha1)
    assert catalog.find_manifest_part(manifest_of(folder / "large")) is None
    assert catalog.find_path(folder / "large") is None
    with pytest.raises(NotFoundError, match="not shared here"):
        catalog.open_original(sha1)


def test_a_changed_original_is_not_served_while_another_copy_is(catalog: Catalog, folder: Path) -> None:
    (folder / "copy").write_bytes(LARGE)
    share(catalog, folder)
    (folder / "copy").write_bytes(b"other")
    assert read(catalog, Sha1.of(LARGE)) == LARGE
    (folder / "large").unlink()
    with pytest.raises(ChangedError):
        catalog.open_original(Sha1.of(LARGE))


def test_the_one_unchanged_copy_among_many_is_found(catalog: Catalog, folder: Path) -> None:
    (folder / "sub").mkdir()
    for number in range(50):
        (folder / "sub" / f"{number:02}").write_bytes(b"many")
    share(catalog, folder)
    share(catalog, folder / "sub")
    assert len(catalog.originals(Sha1.of(b"many"))) == 100, "one path in two shares has two roots"
    for number in range(49):
        (folder / "sub" / f"{number:02}").unlink()
    assert read(catalog, Sha1.of(b"many")) == b"many"
    (folder / "sub" / "49").unlink()
    with pytest.raises(ChangedError):
        catalog.open_original(Sha1.of(b"many"))


@pytest.mark.parametrize("path", ["data", "data/small"])
def test_shares_tell_what_was_shared_and_whether_it_changed(catalog: Catalog, folder: Path, path: str) -> None:
    shared = share(catalog, folder.parent / path)
    (listed,) = catalog.shares()
    assert (listed.path, listed.link, listed.state) == (str(folder.parent / path), link_of(shared), "ok")
    assert (listed.n_files, listed.total_bytes) == (shared.n_files, shared.total_bytes)
    (folder / "small").write_bytes(b"other")
    assert [(one.state, one.n_changed) for one in catalog.shares()] == [("changed", 1)]
    folder.rename(folder.with_name("moved"))
    assert [one.state for one in catalog.shares()] == ["missing"]


def test_a_share_whose_file_is_gone_is_changed(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder)
    (folder / "small").unlink()
    assert [(one.state, one.n_changed) for one in catalog.shares()] == [("changed", 1)]


def test_a_file_read_anew_under_another_share_is_changed_in_the_first(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder)
    (folder / "small").write_bytes(b"other")
    share(catalog, folder / "small")
    assert {one.path: one.state for one in catalog.shares()} == {str(folder): "changed", str(folder / "small"): "ok"}
    assert [(path, sha1) for path, sha1, _ in catalog.stale_originals()] == [
        (os.fsencode(folder / "small"), Sha1.of(SMALL))
    ]
    assert not catalog.find_salted(salted(Sha1.of(SMALL)))
    with pytest.raises(ChangedError):
        catalog.open_original(Sha1.of(SMALL))


def test_a_file_that_was_touched_is_served_again_once_any_share_read_it_anew(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder)
    os.utime(folder / "small")
    with pytest.raises(ChangedError):
        catalog.open_original(Sha1.of(SMALL))
    share(catalog, folder / "small")
    assert read(catalog, Sha1.of(SMALL)) == SMALL
    assert {one.state for one in catalog.shares()} == {"ok"}


def test_sharing_again_keeps_an_old_link_of_the_folder_alive(catalog: Catalog, folder: Path) -> None:
    old = share(catalog, folder).link
    (folder / "small").write_bytes(b"other")
    new = share(catalog, folder).link
    assert old is not None
    assert new is not None
    assert old != new
    assert Sha1.of(read(catalog, old.sha1)) == old.sha1
    assert set(catalog.tree_digests()) == {old.sha1, new.sha1}
    assert len(catalog.shares()) == 1
    catalog.unshare(str(old))
    assert list(catalog.digests()) == []


@pytest.mark.parametrize("name", ["path", "link", "bare link", "relative path", "link to it"])
def test_unshare_takes_any_name_of_a_share(
    catalog: Catalog, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder.parent / "symlink").symlink_to("data")
    shared = share(catalog, folder)
    names = {
        "path": str(folder),
        "link": str(shared.link),
        "bare link": f"sha1dir://{shared.link and shared.link.sha1}/small",
        "relative path": ".",
        "link to it": str(folder.parent / "symlink"),
    }
    assert catalog.unshare(names[name]).path == str(folder)
    assert catalog.shares() == []
    assert list(catalog.digests()) == []
    assert not any(path.is_file() for path in (catalog.folder / "trees").rglob("*"))


def test_unshare_takes_the_path_of_what_is_gone(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder / "small")
    (folder / "small").unlink()
    assert catalog.unshare(str(folder / "small")).link == f"sha1://{Sha1.of(SMALL)}/small"


def test_what_is_unshared_is_given_out_no_more_in_any_part(catalog: Catalog, folder: Path) -> None:
    shared = share(catalog, folder / "large")
    manifest = manifest_of(folder / "large")
    catalog.unshare(link_of(shared))
    assert catalog.find_manifest_part(manifest) is None
    assert catalog.file_info(Sha1.of(LARGE)) is None
    assert not catalog.find_salted(salted(Sha1.of(LARGE)))
    with pytest.raises(NotFoundError):
        catalog.open_original(Sha1.of(LARGE))


def test_what_another_share_holds_stays(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder)
    share(catalog, folder / "large")
    catalog.unshare(str(folder))
    assert list(catalog.digests()) == [Sha1.of(LARGE)]
    assert catalog.find_manifest_part(manifest_of(folder / "large")) is not None


def test_one_tree_under_two_paths_lives_until_both_are_unshared(catalog: Catalog, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data" / "x").write_bytes(SMALL)
        link = share(catalog, tmp_path / name / "data").link
    assert link is not None
    with pytest.raises(InputError, match="2 shares have this link"):
        catalog.unshare(str(link))
    catalog.unshare(str(tmp_path / "one" / "data"))
    assert Sha1.of(read(catalog, link.sha1)) == link.sha1
    catalog.unshare(str(link))
    assert list(catalog.digests()) == []


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("/nowhere", InputError, "/nowhere is not shared"),
        ("sha1://" + "0" * 40, InputError, "is not shared"),
        ("sha1dir://" + "0" * 40, InputError, "is not shared"),
        (str(FileLink(Sha1.of(SMALL))), InputError, "was shared as part of"),
        (str(TreeLink(Sha1.of(SMALL))), InputError, "is not shared"),
        ("sha1://xyz", LinkError, "xyz"),
    ],
)
def test_unshare_says_what_is_wrong(
    catalog: Catalog, folder: Path, name: str, error: type[Exception], says: str
) -> None:
    share(catalog, folder)
    with pytest.raises(error, match=says):
        catalog.unshare(name)
    assert len(catalog.shares()) == 1


def test_digests_are_for_their_owner_alone_whoever_made_the_folder(tmp_path: Path, folder: Path) -> None:
    place = tmp_path / "open to all"
    place.mkdir()
    place.chmod(0o755)
    with Catalog(place) as catalog:
        share(catalog, folder)
        made = [path for path in place.iterdir() if path.stat().st_mode & 0o077]
    assert made == []


def n_parts(catalog: Catalog) -> int:
    with sqlite3.connect(catalog.folder / "catalog.sqlite") as connection:
        (n,) = connection.execute("SELECT count(*) FROM part").fetchone()
    connection.close()
    return int(n)


def test_manifests_of_contents_that_no_path_has_are_dropped(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder)
    assert n_parts(catalog) == 2
    (folder / "large").write_bytes(LARGE[::-1])
    share(catalog, folder)
    assert n_parts(catalog) == 2
    (folder / "large").unlink()
    share(catalog, folder)
    assert n_parts(catalog) == 0


def make_up(path: bytes, groups: list[bytes]) -> NewHash:
    size_bytes = sum(map(len, groups)) // 32 * BLOCK_BYTES
    root = Root(size_bytes, Sha1.of(b"".join(groups)), tuple(map(Blake3.of, groups)))
    return NewHash(path, Identity(1, 2, size_bytes, 3, 4), HashedFile(root.sha1, size_bytes, root, groups))


def test_two_contents_of_one_sha1_are_not_mixed_up(catalog: Catalog) -> None:
    """SHA-1 collisions can be made; only the first content of a pair is offered."""
    first = make_up(b"/first", [b"a" * GROUP_BYTES])
    assert first.file.root is not None
    other_root = replace(first.file.root, groups=(Blake3.of(b"b" * GROUP_BYTES),))
    second = NewHash(b"/second", first.identity, replace(first.file, root=other_root, groups=[b"b" * GROUP_BYTES]))
    assert catalog.remember([first, second]) == [second]
    assert set(catalog.hashed_below(b"/")) == {b"/first"}


def test_a_share_enters_wholly_or_not_at_all(catalog: Catalog) -> None:
    """Another process may take a file out of the catalog between the reading of a share and its entering."""
    known, unknown = make_up(b"/known", [b"a" * GROUP_BYTES]), Offered(b"/unknown", 1, Sha1.of(b"unknown"))
    catalog.remember([known])
    offers = [Offered(b"/known", 1, known.file.sha1), unknown]
    with pytest.raises(CatalogError, match="share it again"):
        catalog.enter(NewShare(b"/", "", 2, 0, offers))
    assert catalog.shares() == []
    assert list(catalog.digests()) == []


def test_a_group_that_two_manifests_share_outlives_one_of_them(catalog: Catalog) -> None:
    """The versions of a recording that grows have their first groups in common (half a GB each: made up here)."""
    groups = [b"a" * GROUP_BYTES, b"b" * GROUP_BYTES]
    for n_groups in (1, 2):
        made_up = make_up(b"/recording", groups[:n_groups])
        assert catalog.remember([made_up]) == []
        offer = Offered(b"/recording", 1, made_up.file.sha1)
        catalog.enter(NewShare(b"/recording", f"sha1://{offer.sha1}", 1, made_up.file.size_bytes, [offer]))
    assert n_parts(catalog) == 3
    assert [catalog.find_manifest_part(Blake3.of(group)) for group in groups] == groups


def test_a_damaged_manifest_is_not_given_out_and_is_mended_by_sharing_again(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder)
    manifest = manifest_of(folder / "large")
    connection = sqlite3.connect(catalog.folder / "catalog.sqlite")
    connection.execute("UPDATE part SET data = zeroblob(76) WHERE digest = ?", (manifest.raw,))
    connection.commit()
    connection.close()
    assert catalog.find_manifest_part(manifest) is None
    assert share(catalog, folder).read_bytes == len(LARGE)
    assert catalog.find_manifest_part(manifest) is not None


def test_a_damaged_json_is_not_served_and_is_mended_by_sharing_again(catalog: Catalog, folder: Path) -> None:
    link = share(catalog, folder).link
    assert link is not None
    (stored,) = (path for path in (catalog.folder / "trees").rglob("*") if path.is_file())
    stored.write_bytes(b"")
    with pytest.raises(ChangedError):
        catalog.open_original(link.sha1)
    assert [one.state for one in catalog.shares()] == ["changed"]
    share(catalog, folder)
    assert Sha1.of(read(catalog, link.sha1)) == link.sha1


def test_the_catalog_is_read_again_by_the_next_process(tmp_path: Path, folder: Path) -> None:
    with Catalog(tmp_path / "catalog") as first:
        share(first, folder / "large")
    with Catalog(tmp_path / "catalog") as second:
        assert read(second, Sha1.of(LARGE)) == LARGE


def test_a_share_is_seen_at_once_by_a_catalog_that_is_open(tmp_path: Path, catalog: Catalog, folder: Path) -> None:
    with Catalog(tmp_path / "catalog") as other:
        assert list(other.digests()) == []
        share(catalog, folder / "small")
        assert read(other, Sha1.of(SMALL)) == SMALL


def test_a_newer_catalog_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    Catalog(tmp_path / "catalog").close()
    connection = sqlite3.connect(tmp_path / "catalog" / "catalog.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CatalogError, match="version 99, this kacheryfs knows 1"):
        Catalog(tmp_path / "catalog")


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "catalog.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(CatalogError, match="file is not a database") as caught:
        Catalog(tmp_path / "catalog")
    assert "\n" not in str(caught.value)


def test_a_folder_that_can_not_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match="can't be made"):
        Catalog(tmp_path / "file" / "catalog")


def test_the_catalog_is_nobody_else_s_to_read(catalog: Catalog) -> None:
    assert catalog.folder.stat().st_mode & 0o777 == 0o700


def test_threads_use_one_catalog_at_once(catalog: Catalog, tmp_path: Path) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                path = tmp_path / f"{number}-{turn}"
                path.write_bytes(path.name.encode())
                share(catalog, path)
                if read(catalog, Sha1.of(path.name.encode())) != path.name.encode():
                    wrong.append(path)
        except BaseException as exc:
            wrong.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(catalog.shares()) == 20


SHARE_ALL = """
import sys; from pathlib import Path
from kacheryfs.store.catalog import Catalog; from kacheryfs.store.sharing import share
sys.stdin.read(1)
with Catalog(Path(sys.argv[1])) as catalog:
    for path in sys.argv[2:]:
        print(share(catalog, path).link)
"""


OPEN = """
import sys; from pathlib import Path
from kacheryfs.store.catalog import Catalog
print("ready", flush=True)
for folder in sys.stdin:
    Catalog(Path(folder.rstrip())).close()
    print("opened", flush=True)
"""


def test_processes_open_one_new_catalog_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for turn in range(80):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{tmp_path / str(turn)}\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", "", ""]
    assert [process.returncode for process in processes] == [0, 0, 0]


def test_processes_share_at_once_into_one_new_catalog(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in range(4):
        (root / f"{number}").mkdir(parents=True)
        for name in range(30):
            (root / f"{number}" / f"{name}").write_bytes(hashlib.sha1(f"{number} {name}".encode()).digest() * 20)
    # overlapping folders in both orders, each process in its own
    paths = [str(root), *(str(root / f"{number}") for number in range(4))]
    command = [sys.executable, "-c", SHARE_ALL, str(tmp_path / "catalog")]
    processes = [
        subprocess.Popen([*command, *order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for order in (paths, paths[::-1], paths)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert outputs[0] == outputs[2] == outputs[1][::-1]
    with Catalog(tmp_path / "catalog") as catalog:
        assert {one.state for one in catalog.shares()} == {"ok"}
        assert {one.link for one in catalog.shares()} == set(outputs[0])
        assert len(list(catalog.digests())) == 120 + 5
        for sha1 in catalog.digests():
            assert Sha1.of(read(catalog, sha1)) == sha1
