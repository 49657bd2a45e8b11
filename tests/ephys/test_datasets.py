"""Recipes: the same link on every machine, from files or links; what a recipe may not do is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab_pairs import LabPair
from recording_kinds import KINDS
from running_peers import Peer
from shared_trees import made_texts
from spikeinterface.core import NpzSortingExtractor, NumpySorting, read_binary

import kacheryfs as kfs
from kacheryfs.app import open_catalog
from kacheryfs.config import load_settings
from kacheryfs.ephys.datasets import build_dataset, plan_dataset
from kacheryfs.store.sharing import share

SCRIPTS = Path(__file__).parents[2] / "scripts" / "dataset"
MADE = {
    "odour.firings.mda": "65bea3f0b5f2b13feccd5daadc157c65459e5ad3",
    "odour.raw": "064b4875c3c83f390754f644d24407b0b75aac2d",
    "recovery.firings.mda": "a15d799aa5cd4b7233e0b4e0229715f7d721a714",
    "recovery.raw": "6dc7e7fca87a447d6c9b2badee6c9a4ebcbbf30c",
    "rest.firings.mda": "61dc5bd35fd4a6c8e7db62aacceb3eee7239e8fa",
    "rest.raw": "6aada93f4498c66030aeee407634f4c053057957",
}
"""What make_recordings.py makes, on every machine."""
BINARY = 'format = "binary"\nparameters = { sampling_frequency = 15000.0, num_channels = 4, dtype = "int16" }\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of the recipe that ships."""
    folder = tmp_path_factory.mktemp("made")
    command = [sys.executable, str(SCRIPTS / "make_recordings.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPair:
    return LabPair(tmp_path, monkeypatch)


@pytest.fixture
def at_alice(labs: LabPair) -> Iterator[LabPair]:
    with labs.at(labs.alice):
        yield labs


def write_recipe(folder: Path, text: str, name: str = 'name = "c"\n') -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.toml"
    path.write_text(name + text)
    return path


def share_path(path: Path) -> str:
    with open_catalog(load_settings({}, os.environ)) as catalog:
        return str(share(catalog, path).link)


def write_samples(path: Path, n_frames: int = 2000) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = (np.arange(n_frames * 4) * 31 % 500).astype("<i2").reshape(-1, 4)
    samples.tofile(path)
    return samples


def test_the_recordings_that_ship_are_the_same_bytes_on_every_machine(made: Path) -> None:
    assert {path.name: hashlib.sha1(path.read_bytes()).hexdigest() for path in made.iterdir()} == MADE


def test_two_labs_that_build_the_recipe_get_the_same_link_and_a_third_loads_it(made: Path, labs: LabPair) -> None:
    """In processes of their own, from different folders, told of them in different ways."""
    moved, recipes = labs.folder / "some where" / "else", labs.folder / "recipes of bob"
    shutil.copytree(made, moved)
    shutil.copytree(SCRIPTS, recipes)
    link = labs.alice.get("dataset", "build", "--folder", f"RAW={made}", SCRIPTS / "recipe.toml")
    command = [sys.executable, "-m", "kacheryfs", "dataset", "build", str(recipes / "recipe.toml")]
    environment = {**labs.bob.environment, "DATASET_RAW": str(moved)}
    done = subprocess.run(command, env=environment, cwd=recipes, capture_output=True, timeout=60, check=True)
    assert done.stdout.decode().strip() == link
    assert link.endswith("/tetrodes.json")
    assert labs.alice.get("dataset", "build", "--folder", f"RAW={made}", SCRIPTS / "recipe.toml") == link
    carol = Peer(labs.folder / "carol")
    with labs.alice.serving() as url:
        carol.get("peer", "add", url)
        with labs.at(carol):
            check_tetrodes(kfs.Collection.load(link), made)


def check_tetrodes(collection: Any, made: Path) -> None:
    assert sorted(collection.recordings) == ["odour", "recovery", "rest"]
    for name, item in collection.recordings.items():
        samples = np.fromfile(made / f"{name}.raw", "<i2").reshape(-1, 4)
        recording = item.load()
        np.testing.assert_array_equal(recording.get_traces(), samples)
        assert recording.get_channel_gains().tolist() == [0.195] * 4
        assert recording.get_probe().contact_positions.tolist() == [[0, 0], [25, 0], [0, 25], [25, 25]]
        assert (item.sampling_frequency, item.n_channels, item.probe) == (15000.0, 4, "tetrode")
        truth = collection.sortings[f"{name}_truth"].load()
        frames = truth.get_unit_spike_train(1)
        troughs = samples[:, 0].astype(int)[frames]
        assert len(frames) > 20
        assert (troughs < -250).mean() > 0.9  # unit 1 is largest on channel 0


@pytest.mark.kernel
def test_a_built_dataset_stands_in_the_mount_with_human_names(made: Path, labs: LabPair) -> None:
    link = labs.alice.get("dataset", "build", "--folder", f"RAW={made}", SCRIPTS / "recipe.toml")
    with labs.alice.serving() as url, labs.bob.mounted(labs.folder / "kachery", "--peer", url) as mountpoint:
        labs.bob.get("collection", "open", link)
        folder = mountpoint / "collections" / "tetrodes" / "recordings" / "odour"
        found = subprocess.run(["sha1sum", "odour.raw"], cwd=folder, capture_output=True, timeout=60, check=True)
        assert found.stdout.decode().split()[0] == MADE["odour.raw"]


def test_a_dry_run_tells_what_would_be_built_and_shares_nothing(made: Path, labs: LabPair) -> None:
    recipe = SCRIPTS / "recipe.toml"
    told = labs.alice.get_json("dataset", "build", "--dry-run", "--folder", f"RAW={made}", recipe)
    assert [entry["id"] for entry in told["entries"][:3]] == ["rest", "odour", "recovery"]
    assert told["entries"][0]["path"] == str(made / "rest.raw")
    done = labs.alice.run("dataset", "build", "--dry-run", "--folder", f"RAW={made}", recipe).success
    assert done.stdout == b""
    assert "would build tetrodes: 3 recordings, 3 sortings" in done.stderr
    assert labs.alice.get_json("shares") == []
    assert labs.alice.get_json("collection", "list") == []


def test_links_to_files_and_folders_become_recordings_without_being_fetched(labs: LabPair) -> None:
    samples = write_samples(labs.folder / "data" / "x.raw", 3_000_000)
    with labs.at(labs.alice):
        file_link, folder_link = share_path(labs.folder / "data" / "x.raw"), share_path(labs.folder / "data")
        shared = kfs.share_recording(
            read_binary(labs.folder / "data" / "x.raw", sampling_frequency=1e4, num_channels=4, dtype="int16")
        )
    recipe = write_recipe(
        labs.folder,
        f'[[recording]]\nid = "file"\nlink = "{file_link}"\n{BINARY}'
        f'[[recording]]\nid = "inside"\nlink = "{folder_link}/x.raw"\n{BINARY}'
        f'[[recording]]\nid = "shared"\nlink = "{shared}"\n',
    )
    with labs.at_bob_with_alice_serving():
        link = build_dataset(recipe)
        stored = sum(path.stat().st_blocks * 512 for path in (labs.bob.folder / "store").rglob("*") if path.is_file())
        assert stored < 2_000_000  # of 24 MB
        for item in kfs.Collection.load(link).recordings.values():
            recording = item.load()
            np.testing.assert_array_equal(recording.get_traces(end_frame=100), samples[:100])
            assert recording.get_num_samples() == len(samples)
    with labs.at(labs.alice):
        assert build_dataset(recipe) == link


FORMATS = {
    "binary": (
        'path = ["$RAW/part0.dat", "$RAW/part1.dat"]\nformat = "binary"\n[recording.parameters]\n'
        'sampling_frequency = 30000\nnum_channels = 4\ndtype = "int16"\nt_starts = [0.0, 10.0]\ngain_to_uV = 0.195\n'
        'offset_to_uV = 0.0\nchannel_ids = ["a", "b", "c", "d"]\n'
    ),
    "binary folder": 'path = "$RAW/saved"\nformat = "binaryfolder"\n',
    "zarr": 'path = "$RAW/saved.zarr"\nformat = "zarr"\n',
    "mda": 'path = "$RAW/mda"\nformat = "mda"\n',
    "spikeglx": 'path = "$RAW/run1_g0"\nformat = "spikeglx"\nparameters = { stream_id = "imec0.ap" }\n',
    "open ephys": (
        'path = "$RAW/session"\nformat = "openephysbinary"\n'
        'parameters = { stream_name = "Record Node 101#Rhythm-100.0" }\n'
    ),
    "nwb": 'path = "$RAW/session.nwb"\nformat = "nwb"\n',
}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_gives_one_link_wherever_its_files_lie(kind: str, labs: LabPair) -> None:
    recipe = write_recipe(labs.folder, f'[[recording]]\nid = "r"\n{FORMATS[kind]}')
    here, there = labs.folder / "here", labs.folder / "elsewhere" / "of bob"
    here.mkdir()
    original = KINDS[kind](here)
    shutil.copytree(here, there)
    links = []
    for lab, folder in ((labs.alice, here), (labs.bob, there)):
        with labs.at(lab):
            links.append(build_dataset(recipe, {"RAW": str(folder)}))
    assert links[0] == links[1]
    with labs.at(labs.alice):
        item = kfs.Collection.load(links[0]).recordings["r"]
        assert item.n_channels == original.get_num_channels()
        n_frames = sum(original.get_num_samples(index) for index in range(original.get_num_segments()))
        assert item.duration_s == pytest.approx(n_frames / original.sampling_frequency)


def test_a_saved_folder_with_a_pickle_in_it_is_refused_before_it_is_loaded(at_alice: LabPair, tmp_path: Path) -> None:
    KINDS["binary folder"](tmp_path)
    bomb = np.array([Bomb(str(tmp_path / "executed"))] * 4, dtype=object)
    np.save(tmp_path / "saved" / "properties" / "gain_to_uV.npy", bomb, allow_pickle=True)
    recipe = write_recipe(tmp_path, '[[recording]]\nid = "r"\npath = "saved"\nformat = "binaryfolder"\n')
    with pytest.raises(kfs.KacheryError, match="recording 'r'"):
        build_dataset(recipe)
    assert not (tmp_path / "executed").exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self._path),)


def test_a_saved_folder_leaves_nothing_but_the_recording(at_alice: LabPair, tmp_path: Path) -> None:
    KINDS["binary folder"](tmp_path)
    recipe = write_recipe(tmp_path, '[[recording]]\nid = "r"\npath = "saved"\nformat = "binaryfolder"\n')
    link = build_dataset(recipe)
    shares = at_alice.alice.get_json("shares")
    assert sorted(share["link"] for share in shares) == sorted([link, kfs.Collection.load(link).recordings["r"].link])
    assert str(tmp_path) not in made_texts(kfs.Collection.load(link).recordings["r"].link)


def test_npz_sortings_are_built_and_an_empty_recipe_too(at_alice: LabPair, tmp_path: Path) -> None:
    write_samples(tmp_path / "x.raw")
    sorting = NumpySorting.from_samples_and_labels([np.array([10, 20])], [np.array([3, 4])], 1e4)
    NpzSortingExtractor.write_sorting(sorting, tmp_path / "s.npz")
    text = f'[[recording]]\nid = "r"\npath = "x.raw"\n{BINARY}[[sorting]]\nid = "s"\nrecording = "r"\n'
    link = build_dataset(write_recipe(tmp_path, text + 'path = "s.npz"\nformat = "npz"\n'))
    assert kfs.Collection.load(link).sortings["s"].load().unit_ids.tolist() == [3, 4]
    assert kfs.Collection.load(build_dataset(write_recipe(tmp_path, ""))).value.recordings == {}


def test_a_recipe_names_the_version_before(at_alice: LabPair, tmp_path: Path) -> None:
    first = build_dataset(write_recipe(tmp_path, ""))
    second = build_dataset(write_recipe(tmp_path, f'previous = "{first}"\ndescription = "new"\n'))
    assert kfs.Collection.load(second).previous == first
    assert kfs.Collection.load("c").link == second


@pytest.mark.expects_warnings
def test_another_link_than_the_author_got_is_an_error(
    at_alice: LabPair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = build_dataset(write_recipe(tmp_path, ""))
    assert build_dataset(write_recipe(tmp_path, f'link = "{link}"\n')) == link
    with pytest.raises(kfs.ProofError, match="a file differs from the author's"):
        build_dataset(write_recipe(tmp_path, f'link = "{link}"\ndescription = "changed"\n'))
    with pytest.raises(kfs.ProofError, match=r"the author's was 0\.1\."):
        build_dataset(write_recipe(tmp_path, f'link = "{link}"\ndescription = "x"\nspikeinterface = "0.1."\n'))
    assert build_dataset(write_recipe(tmp_path, 'spikeinterface = "0.1."\n')) == link
    assert "another version may give another link" in caplog.text


def entry(**members: str) -> str:
    text = {"id": "r", "path": "x.raw", "format": "binary", **members}
    return "[[recording]]\n" + "".join(f'{key} = "{value}"\n' for key, value in text.items())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = [", "is not TOML"),
        ("name = 5", "is not TOML"),  # twice
        ('nome = "c"', "unknown key 'nome'"),
        (entry(path="absent.raw"), "recording 'r': there is no absent.raw"),
        (entry(path="/etc/hostname"), "leaves its folder"),
        (entry(path="../../../etc/hostname"), "leaves its folder"),
        (entry(path="$HOME/x.raw"), r"where is \$HOME"),
        (entry(path="$RAW/x.raw"), r"--folder RAW=DIR, or in DATASET_RAW"),
        (entry(format="pickle"), "format 'pickle' is not known; known are .*binary"),
        (entry(format="phy"), "not known"),
        (entry() + 'parameters = { num_chan_typo = 4 }\n', "takes no parameter 'num_chan_typo'; it takes"),
        (entry() + 'parameters = { file_paths = ["/etc/hostname"] }\n', "takes no parameter 'file_paths'"),
        (entry() + 'parameters = { file_timestamps_paths = ["/etc/hostname"] }\n', "absolute path"),
        (entry() + 'parameters = { dtype = "O" }\n', "the parameter dtype is not the name of a number type"),
        (entry() + 'parameters = { num_channels = 4 }\n', "can't be opened as binary"),
        (entry(format="nwb"), "can't be opened as nwb"),
        (entry(probe="recipe.toml") + BINARY.partition("\n")[2], "is no probe of this recording"),
        ('[[recording]]\nid = "r"\nlink = "sha1://' + "0" * 40 + '"\n' + BINARY, "recording 'r': "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_and_with_the_entry(
    text: str, reason: str, at_alice: LabPair, tmp_path: Path
) -> None:
    write_samples(tmp_path / "in" / "x.raw")
    with pytest.raises(kfs.KacheryError, match=reason) as refused:
        build_dataset(write_recipe(tmp_path / "in", text))
    assert len(str(refused.value).splitlines()) == 1
    assert "Error: " not in str(refused.value)[:20]


def test_sortings_that_execute_their_folder_are_no_format(at_alice: LabPair, tmp_path: Path) -> None:
    write_samples(tmp_path / "x.raw")
    (tmp_path / "phy").mkdir()
    (tmp_path / "phy" / "params.py").write_text("raise SystemExit('executed')")
    for kind in ("phy", "kilosort", "numpyfolder"):
        text = f'[[recording]]\nid = "r"\npath = "x.raw"\n{BINARY}[[sorting]]\nid = "s"\nrecording = "r"\n'
        with pytest.raises(kfs.InputError, match="known are mda, npz, nwb"):
            plan_dataset(write_recipe(tmp_path, text + f'path = "phy"\nformat = "{kind}"\n'))


def test_a_folder_that_no_path_needs_is_a_mistake(at_alice: LabPair, tmp_path: Path) -> None:
    with pytest.raises(kfs.InputError, match=r"begins with \$RWA"):
        plan_dataset(write_recipe(tmp_path, ""), {"RWA": "x"})
    for absent in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(kfs.InputError, match="can't be read"):
            plan_dataset(absent)
