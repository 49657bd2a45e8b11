"""A recording's folder is known by its looks, and `kacheryfs share` gives its link beside the plain one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import spikeinterface as si
from recording_kinds import KINDS, samples, write_binary, write_spikeglx
from shared_trees import assert_equal_recordings, description_of, lay_out

from kacheryfs.cli import main
from kacheryfs.ephys import recognising
from kacheryfs.ephys.recognising import find_kind


@pytest.fixture(autouse=True)
def _lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path / "lab"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


PLACES = {
    "spikeglx": ("run1_g0", "SpikeGLX"),
    "open ephys": ("session", "Open Ephys"),
    "nwb": ("session.nwb", "NWB"),
    "zarr": ("saved.zarr", "SpikeInterface Zarr"),
    "binary folder": ("saved", "SpikeInterface binary"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_recording_is_known_by_its_looks(kind: str, data: Path) -> None:
    KINDS[kind](data)
    name, expected = PLACES[kind]
    assert find_kind(data / name) == expected


def test_other_things_are_not_taken_for_recordings(data: Path) -> None:
    write_binary(data)
    (data / "notes.nwb").write_text("not HDF5")
    (data / "other.zarr").mkdir()
    (data / "other.zarr" / ".zattrs").write_text("{}")
    (data / "broken.zarr").mkdir()
    (data / "broken.zarr" / ".zattrs").write_text("{")
    for path in (data, *data.iterdir(), data / "gone"):
        assert find_kind(path) is None


def test_a_large_folder_is_not_searched_to_its_end(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognising, "_MAX_ENTRIES", 3)
    for index in range(5):
        (data / f"{index}").mkdir()
        (data / f"{index}" / "x_g0_t0.imec0.ap.meta").touch()
    assert find_kind(data) is None


def test_a_folder_of_several_runs_is_no_recording(data: Path) -> None:
    for run in ("run1", "run2"):
        (data / f"{run}_g0").mkdir()
        (data / f"{run}_g0" / f"{run}_g0_t0.imec0.ap.meta").touch()
    assert find_kind(data) is None
    assert find_kind(data / "run1_g0") == "SpikeGLX"


def share(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[list[str], list[str]]:
    assert main(["share", *args]) == 0
    said = capsys.readouterr()
    return said.out.splitlines(), said.err.splitlines()


def share_json(capsys: pytest.CaptureFixture[str], *args: str) -> list[dict[str, Any]]:
    out, _ = share(capsys, "--json", *args)
    found: list[dict[str, Any]] = json.loads("\n".join(out))
    return found


@pytest.mark.parametrize("kind", PLACES)
def test_share_gives_the_recordings_link_beside_the_plain_one(
    kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = KINDS[kind](data)
    name, expected = PLACES[kind]
    out, err = share(capsys, str(data / name))
    assert len(out) == 1
    (shared,) = share_json(capsys, str(data / name))
    assert shared["link"] == out[0]
    assert shared["read_bytes"] == 0
    about = shared["recordings"]
    assert all(each["kind"] == expected for each in about)
    assert all(any(f"load_recording({each['link']!r})" in line for line in err) for each in about)
    assert_equal_recordings(si.load(lay_out(about[0]["link"], tmp_path / "mount"), base_folder=True), recording)


def test_each_stream_has_a_link_and_a_name(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_spikeglx(data)
    _, err = share(capsys, str(data / "run1_g0"))
    assert any("SpikeGLX, imec0.ap" in line for line in err)
    (shared,) = share_json(capsys, str(data / "run1_g0"))
    links = {each["stream"]: each["link"] for each in shared["recordings"]}
    assert links.keys() == {"imec0.ap", "imec0.lf"}
    assert links["imec0.lf"].endswith(".run1_g0.imec0.lf")
    assert description_of(links["imec0.lf"]).summary.sampling_frequency_hz == 2500


def test_several_paths_give_one_line_each(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_spikeglx(data, streams=("ap",))
    samples(100, 4).tofile(data / "plain.dat")
    out, _ = share(capsys, str(data / "run1_g0"), str(data / "plain.dat"))
    assert [link.partition(":")[0] for link in out] == ["sha1dir", "sha1"]


def test_a_broken_recording_is_said_and_its_plain_link_stands(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "run").mkdir()
    (data / "run" / "run_g0_t0.imec0.ap.meta").write_text("broken")
    out, err = share(capsys, str(data / "run"))
    assert len(out) == 1
    (line,) = [line for line in err if "no link of a recording" in line]
    assert "looks like a recording (SpikeGLX)" in line


@pytest.mark.parametrize("option", ["--exclude=*.lf.bin", "--dry-run"])
def test_nothing_is_shared_that_was_left_out(option: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_spikeglx(data)
    (shared,) = share_json(capsys, option, str(data / "run1_g0"))
    assert shared["recordings"] == []


def test_without_spikeinterface_there_is_a_hint_for_who_asks(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spikeglx(data, streams=("ap",))
    monkeypatch.setattr(recognising, "has_spikeinterface", lambda: False)
    out, err = share(capsys, str(data / "run1_g0"))
    assert len(out) == 1
    assert not [line for line in err if "recording" in line]
    _, err = share(capsys, "-v", str(data / "run1_g0"))
    assert [line for line in err if "kacheryfs[spikeinterface]" in line]


def test_without_h5py_an_nwb_file_alone_gets_no_link_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "h5py" else find_spec(name))
    assert not recognising.has_reader("NWB")
    assert recognising.has_reader("SpikeGLX")
