"""What fsspec promises of a file system, of links."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from embedded_labs import Labs
from running_peers import TIMEOUT_S
from shared_folder import Shared

from kacheryfs.core.model import Sha1
from kacheryfs.errors import ConfigError, KacheryError, LinkError, NotFoundError, UnreachableError
from kacheryfs.fsspec_files import Sha1DirFileSystem, Sha1FileSystem

NAMES = ["big.dat", "inner/deep/x.bin", "inner/empty", "small.txt", "with space/100%25 (a+b)#?.txt"]
H, M = "0123456789" * 4, "a" * 64


@pytest.fixture
def tree(shared: Shared) -> Sha1DirFileSystem:
    return Sha1DirFileSystem()


@pytest.fixture
def root(shared: Shared) -> str:
    return shared.link.removeprefix("sha1dir://")


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "path"),
    [
        (f"sha1://{H}/x.npy?manifest={M}", f"{H}/x.npy?manifest={M}"),
        (f"sha1:/{H}/x.npy?manifest={M}", f"{H}/x.npy?manifest={M}"),
        (f"sha1://{H}?manifest={M}", f"{H}?manifest={M}"),
        (f"sha1://{H}", H),
        (f"sha1://{H}/a b%20c.npy", f"{H}/a%20b%20c.npy"),
        (f"sha1://{H}?rec.json", f"{H}/rec.json"),
        (f"{H}/x.npy?manifest={M}", f"{H}/x.npy?manifest={M}"),
        ("sha1://", ""),
    ],
)
def test_the_path_of_a_file_is_its_link_without_the_scheme(link: str, path: str) -> None:
    assert Sha1FileSystem._strip_protocol(link) == path
    assert Sha1FileSystem._strip_protocol(path) == path


@pytest.mark.parametrize(
    ("link", "path"),
    [
        (f"sha1dir://{H}.label/a/b", f"{H}.label/a/b"),
        (f"sha1dir://{H}.label/a/b/", f"{H}.label/a/b"),
        (f"sha1dir:/{H}/a//b", f"{H}/a/b"),
        (f"sha1dir://{H}.a%20label/100%2525/%3F", f"{H}.a label/100%25/?"),
        (f"{H}.a label/100%25/?", f"{H}.a label/100%25/?"),
        ("sha1dir://", ""),
    ],
)
def test_the_path_in_a_folder_has_real_names(link: str, path: str) -> None:
    assert Sha1DirFileSystem._strip_protocol(link) == path
    assert Sha1DirFileSystem._strip_protocol(path) == path
    if path:
        again = Sha1DirFileSystem().unstrip_protocol(path)
        assert Sha1DirFileSystem._strip_protocol(again) == path


@pytest.mark.parametrize("link", ["sha1://nodigest/x", f"sha1://{H}/x?manifest=abc", "sha1dir://nodigest/x"])
def test_what_is_no_link_is_said(link: str) -> None:
    with pytest.raises(LinkError):
        fsspec.open(link)


# -- folders -------------------------------------------------------------------------------------------------------


def test_a_folder_is_listed(tree: Sha1DirFileSystem, root: str) -> None:
    assert tree.ls(root, detail=False) == [f"{root}/{name}" for name in ("big.dat", "inner", "small.txt", "with space")]
    infos = {info["name"]: info for info in tree.ls(f"sha1dir://{root}/")}
    assert infos[f"{root}/big.dat"]["size"] == 3_000_000
    assert infos[f"{root}/big.dat"]["type"] == "file"
    assert infos[f"{root}/inner"]["type"] == "directory"
    assert tree.ls(f"{root}/small.txt", detail=False) == [f"{root}/small.txt"]


def test_what_is_below_a_folder_is_found(tree: Sha1DirFileSystem, root: str) -> None:
    assert tree.find(root) == [f"{root}/{name}" for name in NAMES]
    assert tree.find(f"{root}/inner/deep/x.bin") == [f"{root}/inner/deep/x.bin"]
    assert tree.find(root, maxdepth=1) == [f"{root}/big.dat", f"{root}/small.txt"]
    assert tree.find(f"{root}/inner", maxdepth=1, withdirs=True) == [
        f"{root}/{name}" for name in ("inner", "inner/deep", "inner/empty")
    ]
    assert tree.find(f"{root}/nothing") == []
    assert tree.glob(f"{root}/inner/**/*.bin") == [f"{root}/inner/deep/x.bin"]
    assert tree.du(root) == 3_001_019
    assert [names for names, _, _ in tree.walk(root)] == [
        f"{root}{below}" for below in ("", "/inner", "/inner/deep", "/with space")
    ]


def test_a_path_is_a_file_or_a_folder_or_nothing(tree: Sha1DirFileSystem, root: str) -> None:
    kinds = {
        name: (tree.exists(f"{root}{name}"), tree.isfile(f"{root}{name}"), tree.isdir(f"{root}{name}"))
        for name in ("", "/inner", "/small.txt", "/nothing", "/small.txt/below", "/inner/nothing/at/all")
    }
    missing = (False, False, False)
    assert kinds == {
        "": (True, False, True),
        "/inner": (True, False, True),
        "/small.txt": (True, True, False),
        "/nothing": missing,
        "/small.txt/below": missing,
        "/inner/nothing/at/all": missing,
    }


def test_what_is_missing_is_a_file_not_found_error_of_ours(tree: Sha1DirFileSystem, root: str) -> None:
    for ask in (tree.info, tree.ls, tree.open, tree.cat_file, tree.size):
        with pytest.raises(FileNotFoundError, match="the folder has no such path") as caught:
            ask(f"{root}/nothing")
        assert isinstance(caught.value, NotFoundError)
        assert caught.value.errno == 2


def test_a_folder_is_no_file(tree: Sha1DirFileSystem, root: str) -> None:
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        tree.open(f"{root}/inner")
    with pytest.raises(IsADirectoryError):
        tree.cat_file(f"{root}/inner")


def test_nothing_stands_above_the_digests(tree: Sha1DirFileSystem) -> None:
    for files in (tree, Sha1FileSystem()):
        assert not files.exists("")
        with pytest.raises(FileNotFoundError, match="digests are not listed"):
            files.ls("")


# -- reading -------------------------------------------------------------------------------------------------------


def test_every_file_of_a_folder_is_read(shared: Shared, tree: Sha1DirFileSystem, root: str) -> None:
    for name in NAMES:
        assert tree.cat_file(f"{root}/{name}") == (shared.original / name).read_bytes()
    whole = tree.cat(root, recursive=True)
    assert whole == {f"{root}/{name}": (shared.original / name).read_bytes() for name in NAMES}


def test_a_link_is_opened(shared: Shared) -> None:
    data = (shared.original / "big.dat").read_bytes()
    with fsspec.open(shared.file_link("big.dat")) as file:
        assert file.size == len(data)
        assert file.read(10) == data[:10]
        file.seek(-10, 2)
        assert file.read() == data[-10:]
    with fsspec.open(f"{shared.link}/small.txt", "rt") as file:
        assert file.readlines() == ["one,two\n", "1,2\n", "3,4\n"]
    with fsspec.open(f"{shared.link}/with%20space/100%2525%20%28a%2Bb%29%23%3F.txt") as file:
        assert file.read() == b"odd"


@pytest.mark.parametrize(
    "bounds", [(None, None), (0, 10), (100, None), (None, 100), (-10, None), (5, -5), (7, 7), (9, 3)]
)
def test_a_range_is_cut_as_a_slice_is(shared: Shared, bounds: tuple[Any, Any]) -> None:
    data = (shared.original / "big.dat").read_bytes()
    link = shared.file_link("big.dat")
    assert Sha1FileSystem().cat_file(link, *bounds) == data[slice(*bounds)]


def test_many_ranges_are_read_at_once(shared: Shared, tree: Sha1DirFileSystem, root: str) -> None:
    data = (shared.original / "big.dat").read_bytes()
    starts = list(range(0, 2_900_000, 100_000))
    read = tree.cat_ranges([f"{root}/big.dat"] * len(starts), starts, [start + 10 for start in starts])
    assert read == [data[start : start + 10] for start in starts]
    mixed = tree.cat_ranges([f"{root}/big.dat", f"{root}/nothing"], 0, 10)
    assert mixed[0] == data[:10]
    assert isinstance(mixed[1], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        tree.cat_ranges([f"{root}/nothing"], 0, 10, on_error="raise")


def test_many_files_are_read_at_once_and_missing_ones_told(tree: Sha1DirFileSystem, root: str) -> None:
    paths = [f"{root}/small.txt", f"{root}/nothing"]
    assert list(tree.cat(paths, on_error="omit")) == [f"{root}/small.txt"]
    assert isinstance(tree.cat(paths, on_error="return")[f"{root}/nothing"], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        tree.cat(paths)


def test_a_mapper_has_the_keys_of_the_folder(shared: Shared) -> None:
    mapper = fsspec.get_mapper(shared.link)
    assert sorted(mapper) == sorted(NAMES)
    assert mapper["inner/deep/x.bin"] == b"x" * 1000
    assert "nothing" not in mapper
    with pytest.raises(KeyError):
        mapper["nothing"]
    assert mapper.getitems(["small.txt", "nothing"], on_error="omit") == {
        "small.txt": (shared.original / "small.txt").read_bytes()
    }


def test_files_are_copied_to_this_machine(shared: Shared, tree: Sha1DirFileSystem, root: str, tmp_path: Path) -> None:
    tree.get(f"{root}/", str(tmp_path / "copy"), recursive=True)
    copied = {str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert copied == set(NAMES)
    assert (tmp_path / "copy" / "big.dat").read_bytes() == (shared.original / "big.dat").read_bytes()
    for place in ("other.dat", "copy/inner/", "copy/with space"):
        Sha1FileSystem().get(shared.file_link("big.dat"), f"{tmp_path}/{place}")
    for place in ("other.dat", "copy/inner/big.dat", "copy/with space/big.dat"):
        assert (tmp_path / place).read_bytes() == (shared.original / "big.dat").read_bytes()


def test_a_file_by_its_digest_is_all_there_is(shared: Shared) -> None:
    link, files = shared.file_link("big.dat"), Sha1FileSystem()
    path = files._strip_protocol(link)
    info = files.info(link)
    assert info.pop("trust") in ("linked", "proven")  # proven once all of it was read
    assert info == {"name": path, "size": 3_000_000, "type": "file", "sha1": path[:40]}
    assert files.ls(link, detail=False) == files.find(link) == files.glob(link) == [path]
    assert files.exists(link)
    assert files.isfile(link)
    assert not files.isdir(link)
    assert files.cat(link) == (shared.original / "big.dat").read_bytes()
    assert files.cat([link]) == {path: (shared.original / "big.dat").read_bytes()}
    assert files.ukey(link) == path[:40]
    assert files.unstrip_protocol(path) == link


def test_another_protocol_may_stand_before_a_link(shared: Shared, tmp_path: Path) -> None:
    link = shared.file_link("big.dat")
    with fsspec.open(f"simplecache::{link}", simplecache={"cache_storage": str(tmp_path)}) as file:
        assert file.read() == (shared.original / "big.dat").read_bytes()


# -- pickles -------------------------------------------------------------------------------------------------------


def test_file_systems_and_files_are_pickled(shared: Shared, tree: Sha1DirFileSystem, root: str) -> None:
    again = pickle.loads(pickle.dumps(tree))
    assert again.cat_file(f"{root}/small.txt", 0, 3) == b"one"
    with tree.open(f"{root}/small.txt") as file:
        file.seek(4)
        with pickle.loads(pickle.dumps(file)) as other:
            assert other.read(3) == b"two"
            assert other.full_name == f"{shared.link}/small.txt"
    opener = pickle.loads(pickle.dumps(fsspec.open(shared.file_link("small.txt"))))
    with opener as file:
        assert file.read(3) == b"one"


def test_settings_travel_with_a_pickle(labs: Labs) -> None:
    link = labs.share("folder/x.dat", b"content")
    link = labs.theirs.get("share", labs.folder / "folder")
    labs.serve()
    settings = labs.settings(read_timeout="77 s")
    again = pickle.loads(pickle.dumps(Sha1DirFileSystem(settings=settings)))
    try:
        assert again.fetcher.settings.read_timeout_s == 77
        assert again.cat_file(f"{link}/x.dat") == b"content"
    finally:
        again.fetcher.close()


# -- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda files, path: files.open(path, "wb"),
        lambda files, path: files.open(path, "ab"),
        lambda files, path: files.open(path, "r+b"),
        lambda files, path: files.open(path, "w"),
        lambda files, path: files.pipe_file(path, b"x"),
        lambda files, path: files.pipe({path: b"x"}),
        lambda files, path: files.rm(path),
        lambda files, path: files.rm_file(path),
        lambda files, path: files.mkdir(path),
        lambda files, path: files.makedirs(path, exist_ok=True),
        lambda files, path: files.rmdir(path),
        lambda files, path: files.touch(path),
        lambda files, path: files.put_file("/dev/null", path),
        lambda files, path: files.cp_file(path, path + "2"),
        lambda files, path: files.mv(path, path + "2"),
    ],
)
def test_nothing_is_written(tree: Sha1DirFileSystem, root: str, write: Any) -> None:
    with pytest.raises(PermissionError, match="content never changes") as caught:
        write(tree, f"{root}/small.txt")
    assert isinstance(caught.value, KacheryError)
    assert "\n" not in str(caught.value)


# -- peers that are gone -------------------------------------------------------------------------------------------


def test_a_lost_peer_is_no_missing_key(labs: Labs) -> None:
    labs.share("folder/x.dat", bytes(range(256)) * 2000)
    link = labs.theirs.get("share", labs.folder / "folder")
    labs.serve()
    mapper = fsspec.get_mapper(link)
    assert list(mapper) == ["x.dat"]  # the tree is here now, its file is not
    labs.servers[0].kill()
    for ask in (lambda: mapper["x.dat"], lambda: mapper.fs.cat_file(f"{link}/x.dat")):
        with pytest.raises(UnreachableError, match=labs.servers[0].url) as caught:
            ask()
        assert not isinstance(caught.value, (OSError, KeyError))


def test_what_a_lost_peer_may_have_is_neither_there_nor_not(labs: Labs) -> None:
    labs.serve()
    labs.servers[0].kill()
    unknown = Sha1.of(b"unknown")
    for link in (f"sha1://{unknown}", f"sha1dir://{unknown}"):
        files, path = fsspec.core.url_to_fs(link)
        for ask in (files.exists, files.isfile, files.isdir, files.info, files.ls):
            with pytest.raises(UnreachableError):
                ask(path)


def test_a_digest_that_nobody_has_is_missing(labs: Labs) -> None:
    labs.serve()
    for link in (f"sha1://{Sha1.of(b'unknown')}", f"sha1dir://{Sha1.of(b'unknown')}"):
        files, path = fsspec.core.url_to_fs(link)
        assert not files.exists(path)
        with pytest.raises(FileNotFoundError, match="no peer has it"):
            files.open(path)


def test_wrong_settings_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACHERYFS_READ_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="KACHERYFS_READ_TIMEOUT"):
        fsspec.open(f"sha1://{H}")


def test_fsspec_finds_the_links_by_their_entry_points() -> None:
    program = "import fsspec; print(*(fsspec.get_filesystem_class(name).protocol for name in ('sha1', 'sha1dir')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=TIMEOUT_S, check=True)
    assert done.stdout.split() == [b"sha1", b"sha1dir"]


def test_an_open_file_is_a_buffered_reader(tree: Sha1DirFileSystem, root: str) -> None:
    with tree.open(f"{root}/small.txt") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.mode == "rb"
        assert file.readline() == b"one,two\n"
    assert file.closed
