"""What scientists read links with: zarr, xarray, h5py, numpy and pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from embedded_labs import Labs

from kacheryfs.app.embedded import RemoteFile
from kacheryfs.errors import KacheryError, NotFoundError, TimedOutError, UnreachableError

TRACES = np.random.default_rng(7).integers(-500, 500, (50_000, 16), dtype="i2")


def share(labs: Labs, path: Path) -> str:
    link = labs.theirs.get("share", path)
    labs.serve()
    return link


@pytest.fixture
def zarr_link(labs: Labs) -> str:
    """Share a group of two arrays; the second has chunks that were never written, which are zeros."""
    folder = labs.folder / "group.zarr"
    group = zarr.open_group(str(folder), mode="w")
    group.create_dataset("traces", data=TRACES, chunks=(10_000, 16))
    group.create_dataset("sparse", shape=(100,), chunks=(10,), dtype="f8", fill_value=0)[40:50] = 1.5
    group.attrs["name"] = "one"
    return share(labs, folder)


def save_npy(folder: Path) -> Path:
    np.save(folder / "x.npy", TRACES)
    return folder / "x.npy"


def save_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("traces", data=TRACES, chunks=(10_000, 16), compression="gzip")
        file.create_dataset("flat", data=TRACES)
        file.attrs["name"] = "one"
    return folder / "x.h5"


def opened(link: str) -> Any:
    return fsspec.open(link).open()


# -- zarr ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "a", "r+"])
def test_a_zarr_group_is_opened_by_its_link(zarr_link: str, mode: str) -> None:
    group = zarr.open(zarr_link, mode=mode)
    assert sorted(group) == ["sparse", "traces"]
    assert group.attrs["name"] == "one"
    assert np.array_equal(group["traces"][:], TRACES)
    assert np.array_equal(group["traces"][25_000:25_010, 3], TRACES[25_000:25_010, 3])


def test_chunks_that_were_never_written_are_the_fill_value(zarr_link: str) -> None:
    sparse = zarr.open(zarr_link, mode="r")["sparse"][:]
    assert sparse[40:50].tolist() == [1.5] * 10
    assert not sparse[:40].any()


def test_a_chunk_that_cant_be_had_is_not_filled_with_zeros(
    labs: Labs, zarr_link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KACHERYFS_READ_TIMEOUT", "1 s")
    traces = zarr.open(zarr_link, mode="r")["traces"]
    labs.servers[0].kill()
    with pytest.raises((UnreachableError, TimedOutError), match=labs.servers[0].url):
        traces[:]


def test_a_chunk_that_nobody_has_any_more_is_not_filled_with_zeros(
    labs: Labs, zarr_link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KACHERYFS_READ_TIMEOUT", "3 s")
    traces = zarr.open(zarr_link, mode="r")["traces"]
    (labs.folder / "group.zarr" / "traces" / "2.0").unlink()
    assert np.array_equal(traces[:20_000], TRACES[:20_000])
    with pytest.raises((NotFoundError, TimedOutError)) as caught:
        traces[20_000:]
    assert not isinstance(caught.value, OSError)


def test_nothing_is_written_into_a_zarr(zarr_link: str) -> None:
    with pytest.raises(KacheryError, match="read-only"):
        zarr.open(zarr_link, mode="r+")["traces"][0] = 1


def test_a_part_of_an_array_costs_its_chunks_alone(labs: Labs, zarr_link: str) -> None:
    zarr.open(zarr_link, mode="r")["traces"][:10]
    chunk = (labs.folder / "group.zarr" / "traces" / "0.0").stat().st_size
    assert chunk <= labs.present_bytes() < 2 * chunk


# -- xarray --------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset() -> xr.Dataset:
    return xr.Dataset({"traces": (("frame", "channel"), TRACES)}, coords={"channel": np.arange(16)})


def test_xarray_reads_a_zarr_by_its_link(labs: Labs, dataset: xr.Dataset) -> None:
    try:
        dataset.to_zarr(labs.folder / "x.zarr")
    except TypeError:
        pytest.skip(f"xarray {xr.__version__} can't use zarr {zarr.__version__}, not even with a local folder")
    link = share(labs, labs.folder / "x.zarr")
    with xr.open_zarr(link, chunks=None) as read:
        xr.testing.assert_identical(read.load(), dataset)


@pytest.mark.parametrize(("engine", "options"), [("h5netcdf", {}), ("scipy", {"format": "NETCDF3_64BIT"})])
def test_xarray_reads_an_opened_link(labs: Labs, dataset: xr.Dataset, engine: Any, options: Any) -> None:
    dataset = dataset.astype("i4")
    dataset.to_netcdf(labs.folder / "x.nc", engine=engine, **options)
    link = share(labs, labs.folder / "x.nc")
    with opened(link) as file, xr.open_dataset(file, engine=engine) as read:
        assert np.array_equal(read["traces"].load(), dataset["traces"])


# -- h5py ----------------------------------------------------------------------------------------------------------


def test_h5py_reads_an_opened_link(labs: Labs) -> None:
    link = share(labs, save_hdf5(labs.folder))
    with opened(link) as remote, h5py.File(remote, "r") as file:
        assert file.attrs["name"] == "one"
        assert np.array_equal(file["traces"][:], TRACES)
        assert np.array_equal(file["flat"][40_000:40_100, 5], TRACES[40_000:40_100, 5])


def test_h5py_reads_the_embedded_fetchers_file(labs: Labs) -> None:
    link = share(labs, save_hdf5(labs.folder))
    remote = labs.fetcher().open_link(link)
    assert isinstance(remote, RemoteFile)
    with remote, remote.as_file() as binary, h5py.File(binary, "r") as file:
        assert np.array_equal(file["traces"][:], TRACES)


def test_h5py_tells_of_a_lost_peer(labs: Labs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACHERYFS_READ_TIMEOUT", "1 s")
    link = share(labs, save_hdf5(labs.folder))
    with opened(link) as remote, h5py.File(remote, "r") as file:
        labs.servers[0].kill()
        with pytest.raises(TimedOutError, match=labs.servers[0].url):
            file["flat"][:]


# -- numpy and pandas ----------------------------------------------------------------------------------------------


def test_numpy_loads_an_opened_link(labs: Labs) -> None:
    with opened(share(labs, save_npy(labs.folder))) as file:
        assert np.array_equal(np.load(file), TRACES)


def test_numpy_tells_of_a_lost_peer(labs: Labs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACHERYFS_READ_TIMEOUT", "1 s")
    with opened(share(labs, save_npy(labs.folder))) as file:
        labs.servers[0].kill()
        with pytest.raises(TimedOutError, match=labs.servers[0].url):
            np.load(file)


def test_pandas_reads_a_table_by_its_link(labs: Labs) -> None:
    table = pd.DataFrame({"id": [1, 2, 3], "depth": [0.5, 1.5, 2.5]})
    table.to_csv(labs.folder / "x.csv", index=False)
    link = share(labs, labs.folder / "x.csv")
    pd.testing.assert_frame_equal(pd.read_csv(link), table)
