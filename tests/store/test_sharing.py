"""Sharing: one link a path, nothing read twice, nothing entered that is wrong or was not meant."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kacheryfs.core.link import FileLink, TreeLink, parse_link
from kacheryfs.core.model import BLOCK_BYTES, Blake3, Sha1
from kacheryfs.core.tree import Tree, decode_tree
from kacheryfs.errors import ChangedError, InputError
from kacheryfs.store import reading, sharing
from kacheryfs.store.catalog import Catalog
from kacheryfs.store.catalog_entry import NewHash
from kacheryfs.store.hashing import BUFFER_BYTES, HashedFile
from kacheryfs.store.originals import Identity
from kacheryfs.store.sharing import share

LARGE = bytes(range(256)) * (2 * BLOCK_BYTES // 256) + b"!"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog") as catalog:
        yield catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / "large").write_bytes(LARGE)
    (folder / ".zgroup").write_bytes(b"{}")
    (folder / "nothing").touch()
    return folder


def read(catalog: Catalog, sha1: Sha1) -> bytes:
    with catalog.open_original(sha1) as opened:
        return os.pread(opened.fd, opened.size_bytes, 0)


def tree_of(catalog: Catalog, link: FileLink | TreeLink | None) -> Tree:
    assert isinstance(link, TreeLink)
    return decode_tree(read(catalog, link.sha1))


def test_a_file_of_many_blocks_has_its_manifest_in_its_link(catalog: Catalog, folder: Path) -> None:
    shared = share(catalog, folder / "sub" / "large")
    assert isinstance(shared.link, FileLink)
    assert (shared.link.sha1, shared.link.label) == (Sha1.of(LARGE), "large")
    assert isinstance(shared.link.manifest, Blake3)
    assert (shared.n_files, shared.total_bytes, shared.read_bytes) == (1, len(LARGE), len(LARGE))


@pytest.mark.parametrize("size_bytes", [0, 1, BLOCK_BYTES])
def test_a_file_of_one_block_needs_no_manifest(catalog: Catalog, tmp_path: Path, size_bytes: int) -> None:
    (tmp_path / "f").write_bytes(LARGE[:size_bytes])
    assert share(catalog, tmp_path / "f").link == FileLink(Sha1.of(LARGE[:size_bytes]), "f")


def test_a_folder_s_json_tells_names_sizes_digests_and_manifests(catalog: Catalog, folder: Path) -> None:
    shared = share(catalog, folder)
    tree = tree_of(catalog, shared.link)
    assert shared.link is not None
    assert shared.link.label == "data"
    assert dict(tree.dirs["sub"].dirs) == {"empty": Tree()}
    files = {"/".join(names): (entry.size_bytes, entry.sha1) for names, entry in tree.walk()}
    assert files == {
        ".zgroup": (2, Sha1.of(b"{}")),
        "nothing": (0, Sha1.of(b"")),
        "sub/large": (len(LARGE), Sha1.of(LARGE)),
    }
    assert {"/".join(names) for names, entry in tree.walk() if entry.manifest} == {"sub/large"}
    assert (shared.n_files, shared.total_bytes) == (3, len(LARGE) + 2)


def test_no_path_of_the_machine_is_in_the_json(catalog: Catalog, folder: Path) -> None:
    link = share(catalog, folder).link
    assert link is not None
    data = read(catalog, link.sha1)
    for part in folder.parts[1:]:
        assert part.encode() not in data


def test_one_content_has_one_link_wherever_it_lies(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere" / "data")
    assert share(catalog, folder).link == share(catalog, tmp_path / "elsewhere" / "data").link


@pytest.mark.parametrize("name", [b"a b", b"100%", b"what?", b"x.tar.gz", "é€".encode(), b"\xff\xfe", b"#&+;"])
def test_any_name_survives_in_link_and_tree(catalog: Catalog, tmp_path: Path, name: bytes) -> None:
    folder = os.fsencode(tmp_path) + b"/" + name
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
    file_link = share(catalog, os.fsdecode(folder + b"/" + name)).link
    tree_link = share(catalog, os.fsdecode(folder)).link
    label = name.decode("utf-8", "surrogateescape")
    assert parse_link(str(file_link)) == FileLink(Sha1.of(name), label)
    assert isinstance(parse_link(str(tree_link)), TreeLink)
    assert parse_link(str(tree_link)).label == label
    assert tree_of(catalog, tree_link).files[label].sha1 == Sha1.of(name)
    assert read(catalog, Sha1.of(name)) == name


def test_a_link_inside_is_the_file_that_it_leads_to(catalog: Catalog, folder: Path) -> None:
    (folder / "again").symlink_to("sub/large")
    (folder / "out").symlink_to("/etc/passwd")
    shared = share(catalog, folder)
    tree = tree_of(catalog, shared.link)
    assert tree.files["again"] == tree.dirs["sub"].files["large"]
    assert "out" not in tree.files
    assert shared.left_out == (("out", "a symbolic link that leads out of the shared folder"),)
    assert shared.read_bytes == len(LARGE) + 2, "the file is read once under both names"


def test_a_single_link_is_resolved_and_keeps_its_name(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latest.dat").symlink_to("data/sub/large")
    shared = share(catalog, tmp_path / "latest.dat")
    assert shared.path == str(folder / "sub" / "large")
    assert shared.link is not None
    assert shared.link.label == "latest.dat"
    (tmp_path / "latest.dat").unlink()
    assert read(catalog, Sha1.of(LARGE)) == LARGE


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []
    read_original = reading.read_original

    def note(hasher: object, root: bytes, relative: bytes, *args: object) -> object:
        names.append(os.path.basename(os.fsdecode(relative)))
        return read_original(hasher, root, relative, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "read_original", note)
    return names


def test_unchanged_files_are_not_read_again(catalog: Catalog, folder: Path, reads: list[str]) -> None:
    first = share(catalog, folder)
    assert len(reads) == 3
    second = share(catalog, folder)
    assert len(reads) == 3
    assert first.link == second.link
    assert second.read_bytes == 0


def test_nor_are_they_in_an_overlapping_share(catalog: Catalog, folder: Path, reads: list[str]) -> None:
    share(catalog, folder / "sub")
    share(catalog, folder / "nothing")
    reads.clear()
    share(catalog, folder)
    assert reads == [".zgroup"]
    share(catalog, folder / "sub" / "large")
    share(catalog, folder / "sub")
    assert reads == [".zgroup"]


def test_nor_after_they_were_unshared(catalog: Catalog, folder: Path, reads: list[str]) -> None:
    link = share(catalog, folder).link
    catalog.unshare(str(folder))
    reads.clear()
    assert share(catalog, folder).link == link
    assert reads == []


def test_a_folder_whose_name_begins_alike_is_another(catalog: Catalog, folder: Path, reads: list[str]) -> None:
    shutil.copytree(folder, f"{folder}2")
    share(catalog, folder)
    reads.clear()
    share(catalog, f"{folder}2")
    assert len(reads) == 3


@pytest.mark.parametrize("sets_times_back", [True, False])
def test_a_change_brings_a_new_link(catalog: Catalog, folder: Path, reads: list[str], sets_times_back: bool) -> None:
    old = share(catalog, folder).link
    path = folder / ".zgroup"
    times = path.stat()
    path.write_bytes(b"[]")
    if sets_times_back:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    reads.clear()
    new = share(catalog, folder).link
    assert reads == [".zgroup"]
    assert new != old
    assert tree_of(catalog, new).files[".zgroup"].sha1 == Sha1.of(b"[]")
    assert catalog.originals(Sha1.of(b"{}")) == []


def test_a_write_right_after_sharing_is_noticed(catalog: Catalog, tmp_path: Path) -> None:
    """File times move in steps: without a wait before hashing, a write in the same step would leave no trace."""
    for turn in range(20):
        (tmp_path / "f").write_bytes(b"%02d" % turn)
        assert share(catalog, tmp_path / "f").link == FileLink(Sha1.of(b"%02d" % turn), "f")


@pytest.mark.parametrize(
    ("ctime_ns", "age_ns", "waits_ns"),
    [
        (10**18 + 1, 0, 20_000_000),
        (10**18 + 1, 19_000_000, 1_000_000),
        (10**18 + 1, 21_000_000, None),
        (10**18 + 1, -5, None),
        (10**18, 500_000_000, 1_500_000_000),
    ],
)
def test_a_young_file_is_read_only_when_the_next_write_will_show(
    monkeypatch: pytest.MonkeyPatch, ctime_ns: int, age_ns: int, waits_ns: int | None
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(reading.time, "time_ns", lambda: ctime_ns + age_ns)
    monkeypatch.setattr(reading.time, "sleep", waited.append)
    reading._let_clock_pass(ctime_ns)
    assert waited == ([] if waits_ns is None else [waits_ns / 1e9])


def test_a_file_that_has_just_been_written_is_waited_for(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    waited: list[float] = []
    monkeypatch.setattr(reading.time, "time_ns", lambda: (tmp_path / "f").stat().st_ctime_ns + 1)
    monkeypatch.setattr(reading.time, "sleep", waited.append)
    share(catalog, tmp_path / "f")
    assert len(waited) == 1


def change_while_reading(path: Path, how: str) -> Callable[[int, int], None]:
    times = path.stat()

    def change(_done: int, _total: int) -> None:
        if how == "cut":
            os.truncate(path, 10)
        else:
            with path.open("r+b") as file:
                file.seek(0, os.SEEK_END if how == "append" else os.SEEK_SET)
                file.write(b"changed")
            if how == "rewrite and set times back":
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return change


@pytest.mark.parametrize("how", ["append", "rewrite", "rewrite and set times back", "cut"])
@pytest.mark.parametrize("size_bytes", [100, 8 * BUFFER_BYTES])
def test_a_file_that_is_modified_while_it_is_hashed_is_refused(
    catalog: Catalog, tmp_path: Path, how: str, size_bytes: int
) -> None:
    path = tmp_path / "growing.dat"
    path.write_bytes(os.urandom(size_bytes))
    with pytest.raises(ChangedError, match=r"growing\.dat is still being written"):
        share(catalog, path, progress=change_while_reading(path, how))
    assert catalog.shares() == []
    assert list(catalog.digests()) == []
    assert catalog.hashed_below(os.fsencode(path)) == {}


def test_the_rest_of_the_folder_is_read_and_remembered_all_the_same(
    catalog: Catalog, folder: Path, reads: list[str]
) -> None:
    (folder / "a.log").write_bytes(b"log")
    with pytest.raises(ChangedError, match=r"a\.log is still being written.*--exclude"):
        share(catalog, folder, progress=change_while_reading(folder / "a.log", "append"))
    assert set(reads) == {"a.log", "large", "nothing", ".zgroup"}
    assert list(catalog.digests()) == [], "nothing is offered of a share that failed"
    reads.clear()
    assert share(catalog, folder, exclude=["*.log"]).n_files == 3
    assert reads == []


def test_an_interrupted_share_offers_nothing_and_loses_nothing(
    catalog: Catalog, folder: Path, reads: list[str]
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    (folder / "zz").write_bytes(b"last")
    with pytest.raises(KeyboardInterrupt):
        share(catalog, folder, progress=interrupt)
    assert catalog.shares() == []
    assert list(catalog.digests()) == []
    reads.clear()
    share(catalog, folder)
    assert reads == ["zz"]


KILLED = """
import os, signal, sys; from pathlib import Path
from kacheryfs.store import reading, sharing
from kacheryfs.store.catalog import Catalog
from kacheryfs.store.sharing import share
reading.FLUSH_FILES = 2
def progress(done, total):
    if done == total: os.kill(os.getpid(), signal.SIGKILL)
share(Catalog(Path(sys.argv[1])), sys.argv[2], progress=progress)
"""


def test_kill_9_leaves_a_catalog_that_works(tmp_path: Path, folder: Path) -> None:
    (folder / "zz").write_bytes(b"last")
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "catalog", folder], timeout=60, check=False)
    assert done.returncode == -9
    with Catalog(tmp_path / "catalog") as catalog:
        assert list(catalog.digests()) == []
        assert len(catalog.hashed_below(os.fsencode(folder))) == 2
        assert share(catalog, folder).n_files == 4


def test_dry_run_tells_all_and_does_nothing(catalog: Catalog, folder: Path, reads: list[str]) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "x.tmp").touch()
    told = share(catalog, folder, exclude=["*.tmp"], dry_run=True)
    assert (told.link, told.n_files, told.total_bytes, told.read_bytes) == (None, 3, len(LARGE) + 2, len(LARGE) + 2)
    assert told.left_out == (("fifo", "a fifo"),)
    assert told.n_excluded == 1
    assert reads == []
    assert catalog.shares() == []
    done = share(catalog, folder, exclude=["*.tmp"])
    assert (done.n_files, done.total_bytes, done.read_bytes) == (told.n_files, told.total_bytes, told.read_bytes)
    assert (done.left_out, done.n_excluded) == (told.left_out, told.n_excluded)


def test_what_is_excluded_is_neither_named_nor_offered(catalog: Catalog, folder: Path) -> None:
    link = share(catalog, folder, exclude=["large"]).link
    assert tree_of(catalog, link).dirs["sub"].files == {}
    assert catalog.originals(Sha1.of(LARGE)) == []
    share(catalog, folder)
    share(catalog, folder, exclude=["large"])
    assert catalog.originals(Sha1.of(LARGE)) == []


def test_progress_counts_what_must_be_read(catalog: Catalog, folder: Path) -> None:
    share(catalog, folder / "nothing")
    (folder / "big").write_bytes(os.urandom(3 * BUFFER_BYTES))
    share(catalog, folder / "sub")
    steps: list[tuple[int, int]] = []
    share(catalog, folder, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (3 * BUFFER_BYTES + 2, 3 * BUFFER_BYTES + 2)
    assert steps == sorted(steps)
    assert len(steps) >= 4


def test_a_file_that_turns_out_unreadable_is_left_out(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_beneath = reading.open_beneath

    def fail(root: bytes, relative: bytes) -> int:
        if relative.endswith(b"large"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open_beneath(root, relative)

    monkeypatch.setattr(reading, "open_beneath", fail)
    shared = share(catalog, folder)
    assert shared.left_out == (("sub/large", "can't be read: Input/output error"),)
    assert shared.n_files == 2
    assert tree_of(catalog, shared.link).dirs["sub"].files == {}
    with pytest.raises(InputError, match="large can't be shared: can't be read: Input/output error"):
        share(catalog, folder / "sub" / "large")
    assert [one.path for one in catalog.shares()] == [str(folder)]


def test_the_second_of_two_contents_with_one_sha1_is_left_out(catalog: Catalog, folder: Path) -> None:
    """SHA-1 collisions can be made: a stand-in for the first of a pair is in the catalog already."""
    first = HashedFile(Sha1.of(LARGE), 7, None, [])
    catalog.remember([NewHash(b"/first", Identity(1, 2, 7, 3, 4), first)])
    shared = share(catalog, folder)
    assert shared.left_out == (("sub/large", "another content with this SHA-1 is known: a collision"),)
    assert "large" not in tree_of(catalog, shared.link).dirs["sub"].files
    with pytest.raises(InputError, match="collision"):
        share(catalog, folder / "sub" / "large")


def test_a_folder_swapped_for_a_link_while_sharing_leads_nowhere(catalog: Catalog, folder: Path) -> None:
    (folder.parent / "outside").mkdir()
    (folder.parent / "outside" / "large").write_bytes(b"secret")

    def swap(_done: int, _total: int) -> None:
        if (folder / "sub").is_dir() and not (folder / "sub").is_symlink():
            shutil.move(folder / "sub", folder.parent / "moved")
            (folder / "sub").symlink_to("../outside")

    shared = share(catalog, folder, progress=swap)
    assert [name for name, _ in shared.left_out] == ["sub/large"]
    assert catalog.originals(Sha1.of(b"secret")) == []


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_home_folder_is_shared_only_when_forced(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch, is_forced: bool
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    if is_forced:
        assert share(catalog, folder, is_forced=True).link is not None
        return
    for path in (folder, folder.parent, folder / "sub" / ".."):
        with pytest.raises(InputError, match=r"home folder.*--force"):
            share(catalog, path)
    with pytest.raises(InputError, match="home folder"):
        share(catalog, folder, dry_run=True)
    assert share(catalog, folder / "sub").link is not None
    assert share(catalog, folder / ".zgroup").link is not None


def test_the_home_of_a_folder_s_owner_needs_force(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = pwd.struct_passwd(("u", "x", 1, 1, "", str(folder), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: user)
    with pytest.raises(InputError, match="home folder"):
        share(catalog, folder)


def test_the_root_is_shared_only_when_forced(catalog: Catalog) -> None:
    for path in ("/", "//", "/etc/.."):
        with pytest.raises(InputError, match="--force"):
            share(catalog, path, dry_run=True)


def test_files_below_the_root_are_opened_beneath_it(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    share(catalog, tmp_path / "f")
    assert reading.read_original(reading.FileHasher(), b"/", os.fsencode(tmp_path / "f")[1:]).content.size_bytes == 1


@pytest.mark.parametrize("inside", ["", "trees"])
def test_kacheryfs_s_own_folders_can_not_be_shared(catalog: Catalog, tmp_path: Path, inside: str) -> None:
    (tmp_path / "store").mkdir()
    (catalog.folder / "trees").mkdir()
    for path in (catalog.folder / inside, tmp_path / "store"):
        with pytest.raises(InputError, match="its own files"):
            share(catalog, path, is_forced=True, own_folders=[tmp_path / "store"])


def test_they_are_left_out_of_a_folder_that_holds_them(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "f").touch()
    shared = share(catalog, tmp_path, own_folders=[tmp_path / "store", tmp_path / "none"])
    assert shared.n_files == 1
    assert [name for name, _ in shared.left_out] == ["catalog", "store"]


def test_what_lies_in_a_mount_of_kacheryfs_is_not_shared_again(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "kachery_devices", lambda: frozenset({folder.stat().st_dev}))
    for path in (folder, folder / "nothing"):
        with pytest.raises(InputError, match="is in a mount of kacheryfs"):
            share(catalog, path, is_forced=True)


def test_bad_paths_are_one_clear_line(catalog: Catalog, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "circle").symlink_to("circle")
    bad = {
        tmp_path / "gone": "No such file",
        tmp_path / "fifo": "only regular files and folders",
        tmp_path / "fifo" / "x": "Not a directory",
        tmp_path / "circle": "",
        Path("/dev/null"): "only regular files and folders",
        tmp_path / ("n" * 300): "File name too long",
        tmp_path / "a\0b": "null",
        tmp_path / "new\nline": "No such file",
    }
    for path, says in bad.items():
        with pytest.raises(InputError, match=f"can't be shared: .*{says}") as caught:
            share(catalog, path)
        assert "\n" not in str(caught.value)
    assert catalog.shares() == []


def test_the_current_folder_has_its_real_name_as_label(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for path in (".", "sub/..", str(folder) + "/"):
        link = share(catalog, path).link
        assert link is not None
        assert link.label == "data"


def test_ten_thousand_files_are_entered_in_few_transactions(catalog: Catalog, folder: Path) -> None:
    for number in range(3 * reading.FLUSH_FILES):
        (folder / f"{number}").touch()
    calls: list[int] = []
    remember = catalog.remember
    catalog.remember = lambda hashes: calls.append(len(hashes)) or remember(hashes)  # type: ignore[method-assign, func-returns-value]
    share(catalog, folder)
    assert len([n for n in calls if n]) <= 4
