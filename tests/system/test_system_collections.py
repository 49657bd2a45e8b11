"""Collections in the mount: folders with human names, opened and closed by the command, read by real programs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import spikeinterface.core as si
from system_content import LARGE, SMALL, contents, sha1_of, write, write_folder
from system_labs import Lab, MakeLab, Mount, Server, opened, wait_until
from system_readers import start_reader

from kacheryfs.core.collection import Collection, RecordingEntry, SortingEntry
from kacheryfs.core.collection_json import encode_collection
from kacheryfs.core.link import parse_link

pytestmark = pytest.mark.kernel

LOCUST = Path(__file__).resolve().parents[3] / "shared" / "data" / "locust" / "locust_trial_01.raw"
"""Beside the repository; not part of it."""
ABSENT_LINK = f"sha1://{sha1_of(b'nobody has this')}"
FAR = 3_000_000


def share_collection(lab: Lab, name: str, links: dict[str, str], previous: str | None = None) -> str:
    """Share a collection of recordings with their sortings; returns its link."""
    recordings = {id_: RecordingEntry(id=id_, link=parse_link(link)) for id_, link in links.items()}
    first = next(iter(recordings.values()), None)
    sortings = {"by hand": SortingEntry(id="by hand", link=first.link, recording_id=first.id)} if first else {}
    collection = Collection(name, "", recordings, sortings, parse_link(previous) if previous else None)
    return lab.share(
        write(lab.folder / sha1_of(repr(collection).encode()) / f"{name}.json", encode_collection(collection))
    )


@dataclass
class Shared:
    """A lab that shares a folder, a file and a collection of both, and another lab's mount."""

    alice: Lab
    server: Server
    mount: Mount
    folder: Path
    links: dict[str, str]
    link: str

    @property
    def top(self) -> Path:
        return self.mount / "collections/locust"

    def open(self) -> Path:
        assert self.mount.lab.run("collection", "open", self.link) == str(self.top)
        return self.top


@pytest.fixture
def shared(make_lab: MakeLab) -> Shared:
    alice, bob = make_lab("alice"), make_lab("bob", lookup_timeout="1")
    folder = write_folder(alice.folder / "session")
    tree = alice.share(folder)
    links = {
        "trial 01": tree,
        "trial 02, für 100%": f"{tree}/sub%20folder",
        "one file": alice.share(folder / "large.dat"),
    }
    link = share_collection(alice, "locust", links)
    server = alice.serve()
    return Shared(alice, server, bob.mount(server), folder, links, link)


def errno_of(call: Callable[[], object]) -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is what is asked
        call()
    return errno.errorcode[caught.value.errno or 0]


def test_an_opened_collection_stands_in_the_mount_under_human_names(shared: Shared) -> None:
    assert os.listdir(shared.mount / "collections") == []
    top = shared.open()
    assert os.listdir(shared.mount / "collections") == ["locust"]
    assert sorted(os.listdir(top)) == ["collection.json", "recordings", "sortings"]
    assert sorted(os.listdir(top / "recordings")) == sorted(shared.links)
    assert contents(top / "recordings" / "trial 01") == contents(shared.folder)
    assert contents(top / "recordings" / "trial 02, für 100%") == contents(shared.folder / "sub folder")
    assert os.listdir(top / "recordings" / "one file") == ["large.dat"]
    assert (top / "recordings" / "one file" / "large.dat").read_bytes() == LARGE
    assert (top / "sortings" / "by hand" / "small.txt").read_bytes() == SMALL
    assert sha1_of((top / "collection.json").read_bytes()) == shared.link.removeprefix("sha1://")[:40]
    assert os.getxattr(top / "recordings" / "trial 01" / "large.dat", "user.kacheryfs.trust") == b"linked"


def test_a_closed_collection_is_gone_at_once_and_what_is_open_in_it_reads_on(shared: Shared) -> None:
    top = shared.open()
    with opened(top / "recordings" / "one file" / "large.dat") as fd:
        shared.mount.lab.run("collection", "close", "locust")
        assert errno_of(lambda: os.stat(top)) == "ENOENT"
        assert errno_of(lambda: os.stat(top / "recordings" / "trial 01")) == "ENOENT"
        assert os.listdir(shared.mount / "collections") == []
        assert os.pread(fd, 1000, FAR) == LARGE[FAR : FAR + 1000]
    again = shared.mount.lab.try_run("collection", "close", "locust")
    assert again.returncode == 2
    assert b"no collection is open under the name 'locust'" in again.stderr


def test_a_collection_stays_open_for_the_next_mount(shared: Shared) -> None:
    lab = shared.mount.lab
    shared.open()
    shared.mount.umount()
    lab.run("collection", "close", "locust")
    done = lab.try_run("collection", "open", shared.link, "--name", "grasshopper")
    assert done.returncode == 0
    assert done.stdout == b""
    assert b"no mount is running" in done.stderr
    mount = lab.mount(shared.server)
    assert os.listdir(mount / "collections") == ["grasshopper"]
    assert (mount / "collections/grasshopper/recordings/trial 01/small.txt").read_bytes() == SMALL


def test_a_new_version_takes_the_place_of_its_former_ones(shared: Shared) -> None:
    top, lab = shared.open(), shared.mount.lab
    listed = os.listdir(top / "recordings")
    second = share_collection(shared.alice, "locust", {"second": shared.links["one file"]}, shared.link)
    third = share_collection(shared.alice, "locust", {"third": shared.links["one file"]}, second)
    inside = os.open(top / "recordings", os.O_RDONLY)
    try:
        assert lab.json("collection", "open", third)["paths"] == [str(top)]
        assert os.listdir(top / "recordings") == ["third"]
        assert sorted(os.listdir(inside)) == sorted(listed)  # who stands in the old version still does
    finally:
        os.close(inside)
    assert lab.json("collection", "open", third)["is_new"] is False


def test_another_collection_of_that_name_is_refused_with_what_to_do(shared: Shared) -> None:
    top, lab = shared.open(), shared.mount.lab
    other = share_collection(shared.alice, "locust", {"other": shared.links["one file"]})
    done = lab.try_run("collection", "open", other)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"--name OTHER" in done.stderr
    assert b"kacheryfs collection close locust" in done.stderr
    assert sorted(os.listdir(top / "recordings")) == sorted(shared.links)
    lab.run("collection", "open", other, "--name", "another locust")
    assert os.listdir(shared.mount / "collections/another locust/recordings") == ["other"]


def test_what_is_no_collection_is_refused(shared: Shared) -> None:
    for link, code in ((shared.links["one file"], 5), (shared.links["trial 01"], 2), ("nonsense", 2)):
        done = shared.mount.lab.try_run("collection", "open", link)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (code, b"", 1)
    assert os.listdir(shared.mount / "collections") == []


def test_listing_needs_no_network_beyond_the_collections_json(shared: Shared) -> None:
    top = shared.open()
    os.listdir(top)
    shared.server.stop()
    assert sorted(os.listdir(top / "recordings")) == sorted(shared.links)
    for id_ in shared.links:
        assert (top / "recordings" / id_).is_dir()
    assert errno_of(lambda: os.listdir(top / "recordings" / "trial 01")) == "EHOSTUNREACH"
    shared.alice.serve(shared.server.port)
    wait_until(lambda: _can_be_listed(top / "recordings" / "trial 01"), "the peer that came back")


def _can_be_listed(folder: Path) -> bool:
    try:
        return bool(os.listdir(folder))
    except OSError as exc:
        assert exc.errno == errno.EHOSTUNREACH
        return False


def test_an_unreachable_collection_is_kept_and_shown_once_it_can_be_had(shared: Shared) -> None:
    lab = shared.mount.lab
    shared.server.stop()
    done = lab.try_run("collection", "open", shared.link)
    assert (done.returncode, done.stdout) == (0, f"{shared.top}\n".encode())
    assert b"shown once it can be had" in done.stderr
    assert os.listdir(shared.mount / "collections") == ["locust"]
    assert errno_of(lambda: os.listdir(shared.top)) == "EHOSTUNREACH"
    shared.alice.serve(shared.server.port)
    wait_until(lambda: _can_be_listed(shared.top), "the peer that came back")


def test_without_a_name_in_the_link_an_unreachable_collection_needs_one(shared: Shared) -> None:
    shared.server.stop()
    lab = shared.mount.lab
    done = lab.try_run("collection", "open", shared.link.partition("/locust")[0])
    assert done.returncode == 4
    assert b"--name NAME" in done.stderr


def test_a_link_that_nobody_has_is_not_there_until_somebody_has_it(make_lab: MakeLab) -> None:
    alice, bob = make_lab("alice"), make_lab("bob")
    mount = bob.mount(alice.serve())
    bob.run("collection", "open", f"{ABSENT_LINK}/absent.json")
    assert errno_of(lambda: os.listdir(mount / "collections/absent")) == "ENOENT"


def test_info_and_path_know_what_stands_in_a_collection(shared: Shared) -> None:
    top, lab = shared.open(), shared.mount.lab
    tree, file = shared.links["trial 01"], shared.links["one file"]
    assert lab.json("info", top)["link"] == shared.link
    assert lab.json("info", top / "recordings" / "trial 01")["link"] == tree
    assert lab.json("info", top / "recordings" / "trial 02, für 100%")["link"] == shared.links["trial 02, für 100%"]
    assert lab.json("info", top / "recordings" / "one file")["link"] == file
    found = lab.json("info", top / "recordings" / "trial 01" / "large.dat")
    assert (found["kind"], found["trust"], found["sha1"]) == ("file", "linked", sha1_of(LARGE))
    assert sha1_of(Path(lab.run("path", shared.link)).read_bytes()) == sha1_of((top / "collection.json").read_bytes())
    assert lab.json("status")["mounts"][0]["collections"] == {"locust": shared.link}


def test_info_says_why_a_recording_can_not_be_had(shared: Shared) -> None:
    top, lab = shared.open(), shared.mount.lab
    os.listdir(top)
    shared.server.stop()
    missing = top / "recordings" / "trial 01" / "large.dat"
    assert errno_of(lambda: os.stat(missing)) == "EHOSTUNREACH"
    done = lab.try_run("info", missing)
    assert done.returncode == 4
    assert shared.server.url.encode() in done.stderr


@pytest.mark.parametrize("below", ["", "recordings", "recordings/trial 01", "recordings/trial 01/large.dat"])
def test_cancel_ends_the_reads_below_a_path_of_a_collection(shared: Shared, below: str) -> None:
    top, lab = shared.open(), shared.mount.lab
    reader = start_reader(lab.running, "pread", top / "recordings" / "trial 01" / "large.dat", FAR)
    shared.server.stop()
    reader.go()
    shared.mount.wait_for_waits()
    assert lab.json("cancel", top / "recordings" / "trial 01" / "small.txt")["cancelled"] == 0
    assert lab.json("cancel", top / below)["cancelled"] == 1
    assert reader.result()["errno"] == "EIO"


def test_a_collection_reads_where_manifests_are_required(shared: Shared, make_lab: MakeLab) -> None:
    carol = make_lab("carol")
    mount = carol.mount(shared.server, flags=["--require-manifest"])
    carol.run("collection", "open", shared.link)
    top = mount / "collections/locust"
    assert sha1_of((top / "collection.json").read_bytes()) == shared.link.removeprefix("sha1://")[:40]
    assert (top / "recordings/trial 01/large.dat").read_bytes() == LARGE


def test_a_large_collection_lists_without_asking_for_its_recordings(make_lab: MakeLab) -> None:
    alice, bob = make_lab("alice"), make_lab("bob")
    links = {f"recording {i:04d}": f"sha1dir://{sha1_of(b'%d' % i)}.{'x' * 100}" for i in range(3000)}
    link = share_collection(alice, "large", links)
    assert "?manifest=" in link  # it has several blocks
    mount = bob.mount(alice.serve())
    bob.run("collection", "open", link)
    listed = mount / "collections/large/recordings"
    assert sorted(os.listdir(listed)) == sorted(links)
    with os.scandir(listed) as entries:
        assert all(entry.is_dir() and entry.stat().st_ino > 0 for entry in entries)


def test_the_lab_that_made_a_collection_opens_it_without_a_peer(shared: Shared) -> None:
    alice = shared.alice
    mount = alice.mount()
    alice.run("collection", "open", shared.link)
    assert (mount / "collections/locust/recordings/one file/large.dat").read_bytes() == LARGE


# -- stock SpikeInterface -------------------------------------------------------------------------------------------


@pytest.fixture(params=["real", "generated"])
def raw(request: pytest.FixtureRequest) -> bytes:
    if request.param == "generated":
        return np.random.default_rng(11).normal(0, 200, (150_000, 4)).astype("<i2").tobytes()
    if not LOCUST.exists():
        pytest.skip("the real locust recording (shared/data beside the repository) is absent")
    return LOCUST.read_bytes()


def test_stock_spikeinterface_loads_a_recording_by_its_name_in_the_collection(raw: bytes, make_lab: MakeLab) -> None:
    alice, bob = make_lab("alice"), make_lab("bob")
    folder = alice.folder / "trial_01"
    local = si.read_binary(write(folder / "trial_01.raw", raw), 15_000.0, "int16", num_channels=4)
    local.dump_to_json(folder / "recording.json", relative_to=folder)
    link = share_collection(alice, "locust", {"trial_01": alice.share(folder)})
    mount = bob.mount(alice.serve())
    bob.run("collection", "open", link)
    loaded = si.load(mount / "collections/locust/recordings/trial_01/recording.json", base_folder=True)
    spans = [(0, 1000), (50_000, 80_000), (local.get_num_samples() - 10, local.get_num_samples())]
    for start, stop in spans:
        assert np.array_equal(loaded.get_traces(start_frame=start, end_frame=stop), local.get_traces(None, start, stop))
