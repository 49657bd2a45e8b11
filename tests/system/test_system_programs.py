"""Programs that know nothing of networks read the mount as they read a disk: real ones, each in its own process."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from system_content import LARGE, SMALL, contents, sha1_of, write, write_folder
from system_labs import MakeLab, Mount

pytestmark = pytest.mark.kernel

H = sha1_of(LARGE)
ARRAY = np.random.default_rng(3).integers(-1000, 1000, (50_000, 8), dtype=np.int16)


@dataclass(frozen=True)
class Shared:
    """A shared folder, and the same folder below another lab's mount."""

    folder: Path
    tree: Path
    mount: Mount
    scratch: Path

    def file(self, name: str, ending: str = "") -> Path:
        """Return the path of a shared file by its digest alone."""
        return self.mount / f"sha1/{sha1_of((self.folder / name).read_bytes())}{ending}"


@pytest.fixture(scope="module")
def shared(make_lasting_lab: MakeLab, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    alice, bob = make_lasting_lab("alice"), make_lasting_lab("bob")
    folder = write_folder(alice.folder / "data")
    np.save(folder / "array.npy", ARRAY)
    scipy.io.savemat(folder / "array.mat", {"traces": ARRAY, "rate": 30_000.0})
    with h5py.File(folder / "array.h5", "w") as file:
        file.create_dataset("chunked", data=ARRAY, chunks=(1000, 8), compression="gzip")
        file.create_dataset("whole", data=ARRAY)
    link = alice.share(folder)
    mount = bob.mount(alice.serve())
    return Shared(folder, mount.at(link), mount, tmp_path_factory.mktemp("scratch"))


def run(*argv: str | Path) -> bytes:
    done = subprocess.run([*map(str, argv)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def test_cat_gives_the_file(shared: Shared) -> None:
    assert run("cat", shared.mount / f"sha1/{H}") == LARGE


def test_dd_gives_any_range(shared: Shared) -> None:
    path = shared.tree / "large.dat"
    assert run("dd", f"if={path}", "bs=1000", "skip=777", "count=1500", "status=none") == LARGE[777_000:2_277_000]
    assert run("dd", f"if={path}", "bs=1M", "status=none") == LARGE
    assert run("dd", f"if={path}", "bs=4096", "skip=3", "count=5", "iflag=direct", "status=none") == LARGE[12288:32768]


def test_cp_copies_a_folder(shared: Shared) -> None:
    run("cp", "-r", shared.tree, shared.scratch / "copy")
    assert contents(shared.scratch / "copy") == contents(shared.folder)


def test_sha1sum_gives_the_name(shared: Shared) -> None:
    path = shared.mount / f"sha1/{H}"
    assert run("sha1sum", path).split()[0].decode() == path.name


def test_tar_takes_no_file_for_a_hole(shared: Shared) -> None:
    """GNU tar writes a file of 0 blocks as zeros, unread, where it looks for holes."""
    archive = shared.scratch / "archive.tar"
    run("tar", "--sparse", "-cf", archive, "-C", shared.tree, ".")
    with tarfile.open(archive) as tar:
        extracted = tar.extractfile("./large.dat")
        assert extracted is not None
        assert extracted.read() == LARGE
        small = tar.extractfile("./small.txt")
        assert small is not None
        assert small.read() == SMALL


def test_find_and_du_see_the_sizes(shared: Shared) -> None:
    assert run("find", shared.tree, "-name", "large.dat", "-size", f"{len(LARGE)}c").count(b"\n") == 1
    assert int(run("du", "-sb", "--apparent-size", shared.tree / "large.dat").split()[0]) == len(LARGE)
    assert int(run("du", "-s", "-B1", shared.tree / "large.dat").split()[0]) >= len(LARGE)


def test_numpy_maps_a_raw_file(shared: Shared) -> None:
    mapped = np.memmap(shared.mount / f"sha1/{H}", np.uint8, "r")
    assert mapped.shape == (len(LARGE),)
    assert bytes(mapped[3_000_000:3_100_000]) == LARGE[3_000_000:3_100_000]
    assert bytes(mapped[-1000:]) == LARGE[-1000:]


@pytest.mark.parametrize("mode", ["r", None])
def test_numpy_loads_an_array(shared: Shared, mode: Any) -> None:
    loaded = np.load(shared.file("array.npy"), mmap_mode=mode)
    assert np.array_equal(loaded[40_000:41_000, 3], ARRAY[40_000:41_000, 3])
    assert np.array_equal(loaded, ARRAY)


@pytest.mark.parametrize("dataset", ["chunked", "whole"])
def test_h5py_reads_a_dataset(shared: Shared, dataset: str) -> None:
    with h5py.File(shared.file("array.h5"), "r") as file:
        assert np.array_equal(file[dataset][123:4567, ::2], ARRAY[123:4567, ::2])


def test_scipy_loads_a_file_whose_name_ends_as_it_expects(shared: Shared) -> None:
    loaded = scipy.io.loadmat(str(shared.file("array.mat", ".mat")))
    assert np.array_equal(loaded["traces"], ARRAY)
    assert loaded["rate"].item() == 30_000.0


def test_a_process_that_changes_directory_into_the_mount_reads_by_relative_paths(shared: Shared) -> None:
    script = "import os, sys; os.chdir(sys.argv[1]); print(len(open('large.dat', 'rb').read()), os.getcwd())"
    size, where = run(sys.executable, "-c", script, shared.tree).decode().split(maxsplit=1)
    assert int(size) == len(LARGE)
    assert where.rstrip("\n").endswith("data")


def test_many_processes_read_one_file_at_once(make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    data = LARGE[::-1]
    link = alice.share(write(alice.folder / "backwards", data))
    mount = make_lab("bob").mount(alice.serve())
    path = mount.at(link)
    readers = [mount.lab.running.start(["sha1sum", str(path)], stdout=subprocess.PIPE) for _ in range(6)]
    sums = {reader.communicate(timeout=60)[0].split()[0].decode() for reader in readers}
    assert sums == {sha1_of(data)}
    (peer,) = mount.status()["peers"]
    assert peer["bytes_received"] < 2 * len(data)  # fetched once, for all
