from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from kacheryfs.cli.entry import sole_cause
from kacheryfs.cli.getting import _get_tree as get_tree
from kacheryfs.cli.getting import choose_path, plan
from kacheryfs.cli.landing import Landing, Target, part_path
from kacheryfs.cli.progress import Progress
from kacheryfs.core.link import FileLink, TreeLink
from kacheryfs.core.model import Binding, Sha1
from kacheryfs.core.request import FileRequest, Trust
from kacheryfs.core.tree import FileEntry, Tree
from kacheryfs.errors import InputError, ProofError

if TYPE_CHECKING:
    from kacheryfs.mount.engine import Engine

DATA = b"0123456789" * 300_000
SHA1 = Sha1.of(DATA)


class Memory:
    """An engine that has one file, whatever it is asked for, and counts who asked."""

    trust = Trust.LINKED
    binding = Binding(SHA1, None, len(DATA))

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.size_bytes = len(data)
        self.n_located = 0
        self.n_open = 0

    async def locate(self, request: FileRequest) -> Memory:
        self.n_located += 1
        return self

    async def get_tree(self, sha1: Sha1) -> Tree:
        raise AssertionError("no tree is asked for")

    def open(self) -> Memory:
        self.n_open += 1
        return self

    def present_bytes(self) -> int:
        return 0

    async def read(self, offset: int, n_bytes: int) -> bytes:
        return self.data[offset : offset + n_bytes]

    def close(self) -> None:
        self.n_open -= 1


def landing_at(path: Path, *, is_forced: bool = False) -> Landing:
    return Landing(path, is_forced=is_forced, progress=Progress("test"))


def target_at(path: Path) -> Target:
    return Target(path, FileRequest(SHA1, None, len(DATA)), part_path(path))


def names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


async def test_a_file_lands_whole_under_its_name_alone(tmp_path: Path) -> None:
    engine, landing = Memory(), landing_at(tmp_path / "new" / "file")
    await landing.land(engine, target_at(landing.path))
    assert names_in(tmp_path / "new") == ["file"]
    assert landing.path.read_bytes() == DATA
    assert (landing.n_written, landing.bytes_written, engine.n_open) == (1, len(DATA), 0)


async def test_what_is_already_right_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    engine, landing = Memory(), landing_at(tmp_path / "file")
    await landing.land(engine, target_at(landing.path))
    assert (engine.n_located, landing.n_written, landing.n_skipped) == (0, 0, 1)


async def test_bytes_with_another_sha1_never_get_the_name(tmp_path: Path) -> None:
    engine, landing = Memory(DATA[:-1] + b"x"), landing_at(tmp_path / "file")
    with pytest.raises(ProofError, match=SHA1.hex):
        await landing.land(engine, target_at(landing.path))
    assert names_in(tmp_path) == []
    assert engine.n_open == 0


async def test_something_else_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * len(DATA))
    with pytest.raises(InputError, match="--force"):
        await landing_at(path).land(Memory(), target_at(path))
    assert path.read_bytes() == b"x" * len(DATA)
    await landing_at(path, is_forced=True).land(Memory(), target_at(path))
    assert path.read_bytes() == DATA


async def test_a_file_that_cant_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", pwrite)
    landing = landing_at(tmp_path / "file")
    with pytest.raises(BaseException, match=r"nursery|No space") as caught:
        await landing.land(Memory(), target_at(landing.path))
    cause = sole_cause(caught.value)
    assert isinstance(cause, OSError)
    assert (cause.errno, cause.filename) == (errno.ENOSPC, str(landing.path))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
async def test_a_place_that_never_takes_a_file_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def mkdir(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    landing = landing_at(tmp_path / "mount" / "file")
    with pytest.raises(InputError, match=f"{landing.path} can't be written: .*; name another DEST"):
        await landing.land(Memory(), target_at(landing.path))
    with pytest.raises(InputError, match="name another DEST"):
        await get_tree(cast("Engine", Memory()), Tree({}, {}), landing)


async def test_a_disk_that_may_be_mended_is_no_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(OSError, match="No space left"):
        await landing_at(tmp_path / "file").land(Memory(), target_at(tmp_path / "file"))


async def test_two_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    target = target_at(tmp_path / "file")
    other = os.open(target.part, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        with pytest.raises(InputError, match="another"):
            await landing_at(target.path).land(Memory(), target)
    finally:
        os.close(other)


def test_a_conflict_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "link"):
        with pytest.raises(InputError):
            landing_at(tmp_path).refuse_conflicts([target_at(tmp_path / name)])
    landing_at(tmp_path).refuse_conflicts([target_at(tmp_path / "free")])


def test_the_name_beside_is_short_enough_and_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert part_path(path).name == "file.part"
    assert part_path(path, {tmp_path / "file.part"}).name == "file.part.part"
    long = part_path(tmp_path / ("ü" * 127))
    assert len(os.fsencode(long.name)) <= 255
    assert long.parent == tmp_path


def test_every_file_of_a_tree_has_a_part_of_its_own(tmp_path: Path) -> None:
    entry = FileEntry(len(DATA), SHA1, None)
    targets = plan(Tree({"sub": Tree({}, {"a": entry})}, {"a": entry, "a.part": entry}), tmp_path)
    places = [place for target in targets for place in (target.path, target.part)]
    assert len(set(places)) == 6
    assert {target.path.relative_to(tmp_path).as_posix() for target in targets} == {"a", "a.part", "sub/a"}


FILE = FileLink(SHA1, "rec.dat")
FOLDER = TreeLink(SHA1, "run1", ("inside",))


def test_a_copy_is_named_by_dest_or_else_by_its_link(tmp_path: Path) -> None:
    assert choose_path(FILE, None, is_tree=False) == Path("rec.dat")
    assert choose_path(FileLink(SHA1), None, is_tree=False) == Path(hashlib.sha1(DATA).hexdigest())
    assert choose_path(FOLDER, None, is_tree=True) == Path("inside")
    assert choose_path(FILE, str(tmp_path), is_tree=False) == tmp_path / "rec.dat"
    assert choose_path(FILE, "new/", is_tree=False) == Path("new/rec.dat")
    assert choose_path(FOLDER, str(tmp_path), is_tree=True) == tmp_path  # so that doing it again goes on
