"""Every format goes from one lab to another, by the embedded fetcher and through a kernel mount, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import spikeinterface as si
from lab_pairs import LabPair
from recording_kinds import KINDS
from shared_trees import assert_equal_recordings

import kacheryfs as kfs


@dataclass(frozen=True)
class Shared:
    """What alice shares, by its kind, and bob's folder."""

    originals: dict[str, Any]
    links: dict[str, str]
    labs: LabPair


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("formats")
    with pytest.MonkeyPatch.context() as monkeypatch:
        labs = LabPair(folder / "labs", monkeypatch)
        originals: dict[str, Any] = {}
        for kind, write in KINDS.items():
            (folder / kind).mkdir()
            originals[kind] = write(folder / kind)
        with labs.at(labs.alice):
            links = {kind: kfs.share_recording(original) for kind, original in originals.items()}
        with labs.alice.serving() as url:
            labs.bob.get("peer", "add", url)
            yield Shared(originals, links, labs)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_mount_it_is_the_original(kind: str, shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACHERYFS_DIR", str(shared.labs.bob.folder))
    assert_equal_recordings(kfs.load_recording(shared.links[kind]), shared.originals[kind], exact=True)


@pytest.fixture(scope="module")
def mountpoint(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("mount")
    with shared.labs.bob.mounted(place):
        yield place


@pytest.mark.kernel
@pytest.mark.parametrize("kind", KINDS)
def test_below_a_mount_stock_spikeinterface_loads_the_original(kind: str, shared: Shared, mountpoint: Path) -> None:
    digest = shared.links[kind].removeprefix("sha1dir://")[:40]
    loaded = si.load(mountpoint / "sha1dir" / digest / "recording.json", base_folder=True)
    assert_equal_recordings(loaded, shared.originals[kind])
    del loaded  # what it maps would keep the mount busy
