"""`mirror --to`: what outgrows one machine stands on a web server or in a bucket, and reads from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from system_content import LARGE, SMALL, bytes_of, sha1_of, write
from system_labs import Lab, MakeLab, read_range
from system_web import S3_KEYS, nginx, s3_server

from kacheryfs.fsspec_files.targets import PART_BYTES

pytestmark = pytest.mark.kernel

HUGE = bytes_of(31, 40_000_001)
"""Of several parts, in a bucket."""


@dataclass(frozen=True)
class Shared:
    """What alice has."""

    file: str
    folder: str
    peer: str


@pytest.fixture(scope="module")
def shared(make_lasting_lab: MakeLab) -> Shared:
    alice = make_lasting_lab("alice")
    file = alice.share(write(alice.folder / "rec.dat", HUGE))
    write(alice.folder / "run" / "sub" / "b c.dat", LARGE)
    write(alice.folder / "run" / "a.txt", SMALL)
    return Shared(file, alice.share(alice.folder / "run"), alice.serve().url)


def test_a_mirrored_folder_reads_from_nginx(shared: Shared, make_lab: MakeLab, tmp_path: Path) -> None:
    target = tmp_path / "www"
    bob = make_lab("bob")
    assert bob.run("mirror", shared.file, shared.folder, "--to", target, "--peer", shared.peer) == str(target)
    with nginx(target, tmp_path) as url:
        check_reads(make_lab("carol"), shared, url)


def test_mirroring_again_writes_what_is_new(shared: Shared, make_lab: MakeLab, tmp_path: Path) -> None:
    bob = make_lab("bob")
    first = bob.json("mirror", shared.folder, "--to", tmp_path / "www", "--peer", shared.peer)
    assert (first["files"], first["written"], first["already_there"]) == (3, 3, 0)
    again = bob.json("mirror", shared.folder, shared.file, "--to", tmp_path / "www", "--peer", shared.peer)
    assert (again["files"], again["written"], again["already_there"]) == (4, 1, 3)
    assert (again["url"], again["incomplete"]) == (None, [])


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("s3")
    with s3_server(folder) as endpoint:
        yield endpoint


def test_a_mirrored_bucket_reads_from_its_own_endpoint(shared: Shared, make_lab: MakeLab, s3: str) -> None:
    bob = make_lab("bob")
    bob.settings.update(S3_KEYS, FSSPEC_S3_ENDPOINT_URL=s3)
    make_bucket(s3, "lab")
    where = ["--to", "s3://lab/our data", "--peer", shared.peer]
    url = bob.run("mirror", shared.file, shared.folder, *where)
    assert url == f"{s3}/lab/our%20data"
    assert bob.json("mirror", shared.file, shared.folder, *where)["written"] == 0
    check_reads(make_lab("carol"), shared, url)


def test_a_bucket_that_isnt_there_is_one_line(shared: Shared, make_lab: MakeLab, s3: str) -> None:
    bob = make_lab("bob")
    bob.settings.update(S3_KEYS, FSSPEC_S3_ENDPOINT_URL=s3)
    done = bob.try_run("mirror", shared.file, "--to", "s3://nowhere/x", "--peer", shared.peer)
    assert done.returncode == 6
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("kacheryfs: s3://nowhere/x can't be written: ")


BROKEN_OFF = """
import sys
from kacheryfs.fsspec_files.targets import PART_BYTES, FsspecTarget
target = FsspecTarget("s3://broken/data")
upload = target.start("sha1/x", 4 * PART_BYTES)
upload.write(bytes(3 * PART_BYTES))
upload.close()
del upload
again = target.start("sha1/y", 4 * PART_BYTES)
again.write(bytes(2 * PART_BYTES))
again.restart()
again.write(b"y" * (2 * PART_BYTES))
again.commit()
again.close()
print(target.find_size("sha1/x"), target.find_size("sha1/y"))
"""


def test_an_upload_that_breaks_off_leaves_nothing_to_pay_for(s3: str) -> None:
    make_bucket(s3, "broken")
    environment = {**os.environ, **S3_KEYS, "FSSPEC_S3_ENDPOINT_URL": s3}
    argv = [sys.executable, "-c", BROKEN_OFF]
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.split() == [b"None", str(2 * PART_BYTES).encode()]
    assert "Uploads" not in s3_client(s3).list_multipart_uploads(Bucket="broken")


def s3_client(endpoint: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "lab", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=endpoint, **keys)


def make_bucket(endpoint: str, name: str) -> None:
    client = s3_client(endpoint)
    client.create_bucket(Bucket=name, ACL="public-read")
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
    client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [everybody]}))


def check_reads(reader: Lab, shared: Shared, url: str) -> None:
    """Read everything from ``url`` alone, by names and by ranges."""
    mount = reader.mount(url)
    assert read_range(mount.at(shared.file), 20_000_000, 20_000_100) == HUGE[20_000_000:20_000_100]
    assert os.getxattr(mount.at(shared.file), "user.kacheryfs.trust") == b"linked"
    assert mount.at(shared.file).read_bytes() == HUGE
    assert sorted(os.listdir(mount.at(shared.folder))) == ["a.txt", "sub"]
    assert mount.at(shared.folder, "sub", "b c.dat").read_bytes() == LARGE
    assert mount.at(shared.folder, "a.txt").read_bytes() == SMALL


def test_what_nobody_has_is_named_and_the_rest_is_written(shared: Shared, make_lab: MakeLab, tmp_path: Path) -> None:
    nobodys = f"sha1://{sha1_of(b'nobody has this')}/lost.dat"
    done = make_lab("bob").try_run(
        "mirror", nobodys, shared.folder, "--to", tmp_path / "www", "--peer", shared.peer, "--json"
    )
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert found["written"] == 3
    (lost,) = found["incomplete"]
    assert lost["name"] == "lost.dat"
    assert "does not have it" in lost["reason"]


def test_a_bare_name_is_told_its_link(shared: Shared, make_lab: MakeLab, tmp_path: Path) -> None:
    bare = shared.file.partition("?")[0]
    found = make_lab("bob").json("mirror", bare, "--to", tmp_path / "www", "--peer", shared.peer)
    assert found["links"] == [shared.file]


def test_a_collection_brings_all_that_it_names(make_lab: MakeLab, tmp_path: Path) -> None:
    alice = make_lab("alice")
    folder = alice.folder / "trial"
    write(folder / "a.txt", SMALL)
    recording = alice.share(folder)
    collection = {"recordings": [{"recordingId": "a", "recordingPath": recording, "description": "sha1:// is a word"}]}
    link = alice.share(write(alice.folder / "labbox.json", json.dumps(collection).encode()))
    found = make_lab("bob").json("mirror", link, "--to", tmp_path / "www", "--peer", alice.serve().url)
    assert found["files"] == 3
    names = {path.name for path in (tmp_path / "www" / "sha1").rglob("*") if path.is_file()}
    assert {sha1_of(SMALL), link.removeprefix("sha1://")[:40], recording.removeprefix("sha1dir://")[:40]} == names
