"""What the lineage left is read as it is: storage folders in place, old directory JSONs, manifests of both dialects."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from system_content import LARGE, SMALL, contents, sha1_of, write
from system_labs import Lab, MakeLab, Mount, read_range

pytestmark = pytest.mark.kernel


def repeated(n_bytes: int) -> bytes:
    """Return the content of the vectors: bytes 00..ff repeated, cut to ``n_bytes``."""
    return (bytes(range(256)) * (n_bytes // 256 + 1))[:n_bytes]


def legacy_manifest(data: bytes, chunk_bytes: int, **dumps: object) -> bytes:
    chunks = [
        {"start": start, "end": min(start + chunk_bytes, len(data)), "sha1": sha1_of(data[start : start + chunk_bytes])}
        for start in range(0, len(data), chunk_bytes)
    ]
    return json.dumps({"size": len(data), "sha1": sha1_of(data), "chunks": chunks}, **dumps).encode()  # type: ignore[arg-type]


VECTOR_06 = repeated(20_000_000)
MANIFEST_06 = legacy_manifest(VECTOR_06, 10_000_000)
VECTOR_08 = repeated(45_000_000)
MANIFEST_08 = legacy_manifest(VECTOR_08, 20_000_000, separators=(",", ":"))

OLD_TREE = json.dumps(
    {
        "files": {
            "z.txt": {"size": len(SMALL), "sha1": sha1_of(SMALL)},
            "large file.dat": {"size": len(LARGE), "sha1": sha1_of(LARGE)},
        },
        "dirs": {"sub": {"files": {"inner.txt": {"size": len(SMALL), "sha1": sha1_of(SMALL)}}, "dirs": {}}},
    }
).encode()
"""As old writers wrote it: the folder's own order, default separators, no manifests."""


def fan_out(digest: str) -> str:
    return f"{digest[0:2]}/{digest[2:4]}/{digest[4:6]}/{digest}"


@dataclass(frozen=True)
class Lineage:
    """A kachery storage folder that alice offers in place, and bob's mount."""

    alice: Lab
    storage: Path
    elsewhere: Path
    links: list[str]
    mount: Mount


@pytest.fixture(scope="module")
def lineage(make_lasting_lab: MakeLab) -> Lineage:
    alice = make_lasting_lab("alice")
    storage = alice.folder / "kachery-storage"
    for data in (SMALL, LARGE, OLD_TREE, VECTOR_06, MANIFEST_06, VECTOR_08, MANIFEST_08):
        write(storage / "sha1" / fan_out(sha1_of(data)), data)
    elsewhere = write(alice.folder / "elsewhere" / "linked rec.dat", LARGE[::-1])
    status = elsewhere.stat()
    pointer = {
        "path": str(elsewhere),
        "manifestSha1": None,
        "stat": {"size": status.st_size, "mtime": status.st_mtime},
    }
    write(storage / "sha1" / (fan_out(sha1_of(LARGE[::-1])) + ".link"), json.dumps(pointer).encode())
    links = alice.run("share", "--kachery-storage", storage).split("\n")
    return Lineage(alice, storage, elsewhere, links, make_lasting_lab("bob").mount(alice.serve()))


def test_the_vectors_are_those_of_the_lineage() -> None:
    assert sha1_of(VECTOR_06) == "8364394487c5b076b1bd176d855b9dab6416a07c"
    assert sha1_of(MANIFEST_06) == "9f57b72da4d3d6359052cf529e8990ea173416ba"
    assert sha1_of(VECTOR_08) == "497f23702eb05d9879e8e4836eff4d65de938889"
    assert sha1_of(MANIFEST_08) == "e4676e399f7ef0fab27150214320112248e2fb01"


def test_a_kachery_storage_folder_is_offered_in_place(lineage: Lineage) -> None:
    assert {link.removeprefix("sha1://")[:40] for link in lineage.links} == {
        sha1_of(data) for data in (SMALL, LARGE, LARGE[::-1], OLD_TREE, VECTOR_06, MANIFEST_06, VECTOR_08, MANIFEST_08)
    }
    for link in lineage.links:
        path = lineage.mount.at(link)
        if "?" not in link:  # "sha1:/H" is the folder of H's labels
            path = lineage.mount / f"sha1/{path.name}"
        assert sha1_of(path.read_bytes()) == link.removeprefix("sha1://")[:40]
    data_bytes = sum(path.stat().st_size for path in lineage.alice.data.rglob("*") if path.is_file())
    assert data_bytes < 2_000_000  # 80 MB are offered: nothing was copied


def test_an_object_of_a_storage_folder_reads_under_its_bare_name(lineage: Lineage, make_lab: MakeLab) -> None:
    mount = make_lab("carol").mount(lineage.alice.serve())
    assert (mount / f"sha1/{sha1_of(SMALL)}").read_bytes() == SMALL
    assert (mount / f"sha1/{sha1_of(LARGE[::-1])}").read_bytes() == LARGE[::-1]


def test_an_old_directory_json_without_manifests_reads_as_a_folder(lineage: Lineage, make_lab: MakeLab) -> None:
    mount = make_lab("carol").mount(lineage.alice.serve())
    for name in (f"sha1dir/{sha1_of(OLD_TREE)}", f"sha1dir://{sha1_of(OLD_TREE)}.old%20label"):
        assert contents(Path(f"{mount.path}/{name}")) == {
            "./z.txt": SMALL,
            "./large file.dat": LARGE,
            "./sub": None,
            "sub/inner.txt": SMALL,
        }
    assert (mount / f"sha1dir/{sha1_of(OLD_TREE)}/large file.dat").stat().st_size == len(LARGE)


@pytest.mark.parametrize(
    ("data", "manifest"), [(VECTOR_06, MANIFEST_06), (VECTOR_08, MANIFEST_08)], ids=["kachery 0.6", "kachery-p2p 0.8"]
)
def test_a_link_with_a_legacy_manifest_reads_by_its_chunks(
    lineage: Lineage, make_lab: MakeLab, data: bytes, manifest: bytes
) -> None:
    mount = make_lab("carol", readahead="0").mount(lineage.alice.serve())
    path = mount.at(f"sha1://{sha1_of(data)}/rec.dat?manifest={sha1_of(manifest)}")
    assert os.getxattr(path, "user.kacheryfs.trust") == b"linked"
    assert os.getxattr(path, "user.kacheryfs.manifest").decode() == sha1_of(manifest)
    assert read_range(path, len(data) - 5, len(data)) == data[-5:]
    present_bytes = int(os.getxattr(path, "user.kacheryfs.status").split(b"/")[0])
    assert 0 < present_bytes < len(data)
    assert path.read_bytes() == data
    assert (mount / f"sha1:/{sha1_of(data)}?manifest={sha1_of(manifest)}").read_bytes() == data


@pytest.mark.parametrize("form", ["sha1://{H}?label=rec.json", "sha1://{H}?rec.json", "kachery:zone:sha1:{H}:rec.json"])
def test_links_of_every_spelling_lead_to_a_path_that_reads(lineage: Lineage, form: str) -> None:
    path = lineage.mount.lab.run("path", form.format(H=sha1_of(SMALL)))
    assert Path(path).read_bytes() == SMALL


def test_a_legacy_manifest_of_another_file_is_refused(lineage: Lineage, make_lab: MakeLab) -> None:
    path = (make_lab("carol").mount(lineage.alice.serve())).at(
        f"sha1://{sha1_of(LARGE)}/rec.dat?manifest={sha1_of(MANIFEST_06)}"
    )
    with pytest.raises(OSError, match="Input/output error"):
        path.read_bytes()
