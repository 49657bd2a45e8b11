"""``collection``: what each action prints, keeps and refuses."""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kacheryfs.app.embedded import get_fetcher
from kacheryfs.cli import main
from kacheryfs.cli.parser import parse
from kacheryfs.core.collection import Collection, RecordingEntry
from kacheryfs.core.collection_json import decode_collection, encode_collection
from kacheryfs.core.link import TreeLink, parse_link
from kacheryfs.core.model import Sha1
from kacheryfs.store.opened import CollectionList

ABSENT = "sha1://" + "0" * 40
ACTIONS = {
    ("collection", "create"): ["NAME"],
    ("collection", "add-recording"): ["NAME", "LINK"],
    ("collection", "add-sorting"): ["NAME", "ID", "LINK"],
    ("collection", "remove"): ["NAME", "ID"],
    ("collection", "list"): [],
    ("collection", "show"): ["NAME"],
    ("collection", "export"): ["NAME"],
    ("collection", "open"): ["LINK"],
    ("collection", "close"): ["NAME"],
    ("dataset", "build"): ["RECIPE"],
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("KACHERYFS_DIR", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    get_fetcher().close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command that must succeed; returns what it printed."""

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture
def recording_link(home: Path) -> str:
    import spikeinterface

    import kacheryfs as kfs

    (np.arange(60_000) % 777).astype("<i2").tofile(home / "made.raw")
    recording = spikeinterface.read_binary(
        home / "made.raw", sampling_frequency=15_000.0, num_channels=4, dtype="int16"
    )
    return kfs.share_recording(recording, label="trial_01")


@pytest.mark.parametrize("action", ACTIONS, ids=" ".join)
def test_every_action_has_its_function_and_a_help_with_an_example(
    action: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    module, _, function = parse([*action, *ACTIONS[action]]).run.partition(":")
    assert callable(getattr(importlib.import_module(f"kacheryfs.cli.{module}"), function))
    with pytest.raises(SystemExit) as ended:
        parse([*action, "--help"])
    assert ended.value.code == 0
    assert f"\n  kacheryfs {' '.join(action)}" in capsys.readouterr().out


def test_verbosity_counts_at_every_place() -> None:
    assert parse(["-v", "collection", "-v", "list", "-v"]).verbosity == 3
    assert parse(["collection", "list"]).verbosity == 0


@pytest.mark.parametrize("arguments", [["collection"], ["collection", "paint"], ["dataset"], ["collection", "create"]])
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_collection_grows_version_by_version(recording_link: str, run: Any) -> None:
    first = run("collection", "create", "locust", "--description", "Antennal lobe").strip()
    assert first.endswith("/locust.json")
    second = run(
        "collection", "add-recording", "locust", recording_link, "--label", "Trial 1", "--tag", "b", "--tag", "a"
    )
    told = json.loads(run("collection", "show", "--json", "locust"))
    assert told["link"] == second.strip()
    assert told["collection"]["previous"] == first
    (entry,) = told["collection"]["recordings"].values()
    assert entry == {
        "link": recording_link,
        "label": "Trial 1",
        "tags": ["a", "b"],
        "sampling_frequency": 15000.0,
        "n_channels": 4,
        "duration_s": 1.0,
    }
    told = json.loads(run("collection", "remove", "locust", "trial_01", "--json"))
    assert (told["name"], told["previous"]) == ("locust", second.strip())
    (row,) = json.loads(run("collection", "list", "--json"))
    assert row == {"name": "locust", "link": told["link"], "is_made_here": True, "is_open": False}
    assert run("collection", "list").split() == ["locust", "made", "here", told["link"]]


def test_show_and_export_print_what_is_in_it(recording_link: str, run: Any) -> None:
    run("collection", "create", "c", "--description", "two\nlines")
    link = run("collection", "add-recording", "c", recording_link, "--id", "=cmd|x").strip()
    shown = run("collection", "show", link)
    assert "two\n" in shown
    assert "1 recording, 0 sortings" in shown
    assert "15,000 Hz" in shown
    rows = list(csv.DictReader(io.StringIO(run("collection", "export", "--csv", "c"))))
    assert [row["id"] for row in rows] == ["'=cmd|x"]


def test_export_writes_the_bytes_that_the_link_names(
    recording_link: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["collection", "create", "c"]) == 0
    assert main(["collection", "add-recording", "c", recording_link]) == 0
    link = capfdbinary.readouterr().out.splitlines()[-1].decode()
    assert main(["collection", "export", "c"]) == 0
    data = capfdbinary.readouterr().out
    assert hashlib.sha1(data).hexdigest() == parse_link(link).sha1.hex
    assert encode_collection(decode_collection(data)) == data


def test_sortings_are_added_to_their_recording(recording_link: str, run: Any) -> None:
    from spikeinterface.core import NumpySorting

    import kacheryfs as kfs

    sorting = NumpySorting.from_samples_and_labels([np.array([1, 2])], [np.array([0, 1])], 15_000.0)
    link = kfs.share_sorting(sorting, label="sorted")
    run("collection", "create", "c")
    run("collection", "add-recording", "c", recording_link)
    run("collection", "add-sorting", "c", "trial_01", link)
    shown = run("collection", "show", "c")
    assert "of trial_01" in shown
    assert "2 units" in shown
    run("collection", "remove", "c", "sorted", "--sorting")
    assert "0 sortings" in run("collection", "show", "c")


def test_a_version_that_is_open_is_followed_by_the_next(recording_link: str, run: Any, home: Path) -> None:
    first = run("collection", "create", "c").strip()
    run("collection", "open", first)
    second = run("collection", "add-recording", "c", recording_link).strip()
    assert {name: str(link) for name, link in CollectionList(home / "home" / "data").links().items()} == {"c": second}
    assert "made here, open" in run("collection", "list")


def test_a_collection_of_others_is_gone_on_with_by_its_link(recording_link: str, run: Any, home: Path) -> None:
    entry = RecordingEntry(id="theirs", link=TreeLink(Sha1.of(b"tree")))
    (home / "theirs.json").write_bytes(encode_collection(Collection("their set", "", {entry.id: entry})))
    link = run("share", "theirs.json").strip()
    mine = run("collection", "add-recording", link, recording_link).strip()
    told = json.loads(run("collection", "show", "their set", "--json"))
    assert (told["link"], told["collection"]["previous"]) == (mine, link)
    assert sorted(told["collection"]["recordings"]) == ["theirs", "trial_01"]
    fork = json.loads(run("collection", "create", "my set", "--from", mine, "--json"))
    assert (fork["name"], fork["previous"]) == ("my set", mine)


def test_a_name_stands_for_one_collection(recording_link: str, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = run("collection", "create", "c").strip()
    run("collection", "add-recording", "c", recording_link)
    assert main(["collection", "create", "c"]) == 2
    assert "choose another name" in capsys.readouterr().err
    assert main(["collection", "add-recording", first, recording_link, "--id", "again"]) == 2
    assert "another version" in capsys.readouterr().err


def test_processes_that_add_at_once_lose_nothing(recording_link: str, run: Any, home: Path) -> None:
    run("collection", "create", "c")
    command = [sys.executable, "-m", "kacheryfs", "collection", "add-recording", "c", recording_link, "--id"]
    running = [subprocess.Popen([*command, f"r{n}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for n in range(4)]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in running]
    assert [code for *_, code in ended] == [0, 0, 0, 0], ended
    told = json.loads(run("collection", "show", "c", "--json"))["collection"]
    assert sorted(told["recordings"]) == ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["collection", "create", "a/b"], 2),
        (["collection", "create", ""], 2),
        (["collection", "create", "c", "--from", "nonsense"], 2),
        (["collection", "create", "c", "--from", ABSENT], 3),
        (["collection", "add-recording", "nowhere", ABSENT], 2),
        (["collection", "add-recording", "mine", "nonsense"], 2),
        (["collection", "add-recording", "mine", ABSENT], 2),
        (["collection", "add-recording", "mine", ABSENT + "/x"], 3),
        (["collection", "add-recording", "mine", ABSENT + "/x", ABSENT + "/y", "--id", "z"], 2),
        (["collection", "add-recording", "mine", "sha1dir://" + "0" * 40 + ".x"], 3),
        (["collection", "add-sorting", "mine", "r", ABSENT + "/x"], 2),
        (["collection", "remove", "mine", "r"], 2),
        (["collection", "remove", "mine", "s", "--sorting"], 2),
        (["collection", "show", "nowhere"], 2),
        (["collection", "show", ABSENT], 3),
        (["collection", "show", "feed://x"], 2),
        (["collection", "export", "sha1dir://" + "0" * 40], 3),
        (["collection", "close", "nowhere"], 2),
        (["dataset", "build", "absent.toml"], 2),
        (["dataset", "build", "recipe.toml", "--folder", "x"], 2),
        (["dataset", "build", "recipe.toml", "--folder", "X=a", "--folder", "X=b"], 2),
        (["dataset", "build", "recipe.toml", "--folder", "X=a"], 2),
    ],
)
def test_bad_input_is_one_line_and_its_code(
    arguments: list[str], code: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "recipe.toml").write_text('name = "c"\n')
    assert main(["collection", "create", "mine"]) == 0
    capsys.readouterr()
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("kacheryfs: ")
    assert "fault" not in captured.err


def test_a_list_of_nothing_is_no_error(run: Any) -> None:
    assert run("collection", "list") == ""
    assert run("collection", "list", "--json") == "[]\n"


def test_list_and_help_load_neither_spikeinterface_nor_the_engine() -> None:
    program = (
        "import sys; from kacheryfs.cli import main; main(['collection', 'list'])\n"
        "print(*{'trio', 'rich', 'spikeinterface', 'numpy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
