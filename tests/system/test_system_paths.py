"""What the mount shows, through the kernel: every form of a path, of files and of trees, and every kind of name."""

from __future__ import annotations

import errno
import os
import random
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from system_content import LARGE, ODD_NAMES, SMALL, contents, sha1_of, write, write_folder
from system_labs import Lab, MakeLab, Mount, read_range, wait_until

pytestmark = pytest.mark.kernel

H = sha1_of(LARGE)
S = sha1_of(SMALL)


@dataclass(frozen=True)
class Shared:
    """One lab's folder and a file of it, and another lab's mount."""

    alice: Lab
    mount: Mount
    folder: Path
    tree_link: str
    file_link: str

    @property
    def manifest(self) -> str:
        return self.file_link.rpartition("=")[2]

    @property
    def tree(self) -> str:
        return self.tree_link.removeprefix("sha1dir://")[:40]


@pytest.fixture(scope="module")
def shared(make_lasting_lab: MakeLab) -> Shared:
    alice, bob = make_lasting_lab("alice"), make_lasting_lab("bob")
    folder = write_folder(alice.folder / "a folder, 100% mine")
    tree_link = alice.share(folder)
    file_link = alice.share(folder / "large.dat")
    return Shared(alice, bob.mount(alice.serve()), folder, tree_link, file_link)


def errno_of(call: Callable[[], object]) -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is what is asked
        call()
    return errno.errorcode[caught.value.errno or 0]


def test_the_root_lists_readme_collections_sha1_and_sha1dir_and_nothing_else(shared: Shared) -> None:
    assert sorted(os.listdir(shared.mount.path)) == ["README", "collections", "sha1", "sha1dir"]
    assert b"sha1/H" in (shared.mount / "README").read_bytes()


@pytest.mark.parametrize("name", ["sha1:", "sha1dir:"])
def test_the_folders_of_links_can_be_opened_but_are_not_listed(shared: Shared, name: str) -> None:
    assert (shared.mount / name).is_dir()
    assert os.listdir(shared.mount / name) == []


@pytest.mark.parametrize(
    "form",
    [
        "sha1/{H}",
        "sha1/{H}.dat",
        "sha1/{H}.a label.with dots, 100%?",
        "sha1/{H}.dat?manifest={M}",
        "sha1:/{H}/large.dat",
        "sha1:/{H}/large.dat?manifest={M}",
        "sha1:/{H}?manifest={M}",
        "sha1:/{H}/a b%20c?.dat?manifest={M}",
        "sha1:/{H}/{M}?manifest={X}?manifest={M}",
        "sha1://{H}/large.dat?manifest={M}",
        "sha1://{H}?manifest={M}",
        "sha1dir/{T}/large.dat",
        "sha1dir/{T}.label/sub folder/deeper/inner.dat",
        "sha1dir:/{T}.a label/large.dat",
        "sha1dir://{T}.a%20label/sub%20folder/deeper/inner.dat",
        "sha1dir://{T}/sub folder/deeper/inner.dat",
    ],
)
def test_a_file_stands_under_every_form_of_its_path(shared: Shared, form: str) -> None:
    name = form.format(H=H, M=shared.manifest, T=shared.tree, X="0" * 64)
    path = f"{shared.mount.path}/{name}"
    with open(path, "rb") as file:
        assert file.read() == LARGE
    status = os.stat(path)
    assert stat.S_ISREG(status.st_mode)
    assert (stat.S_IMODE(status.st_mode), status.st_size) == (0o444, len(LARGE))


@pytest.mark.parametrize("form", ["sha1dir/{T}", "sha1dir/{T}.label", "sha1dir:/{T}.a%20b", "sha1dir://{T}"])
def test_a_tree_stands_under_every_form_of_its_path(shared: Shared, form: str) -> None:
    path = Path(f"{shared.mount.path}/{form.format(T=shared.tree)}")
    assert set(os.listdir(path)) == set(os.listdir(shared.folder))
    assert stat.S_IMODE(path.stat().st_mode) == 0o555


def test_mountpoint_slash_link_is_a_path(shared: Shared) -> None:
    assert shared.file_link.startswith(f"sha1://{H}/large.dat?manifest=")
    assert shared.tree_link == f"sha1dir://{shared.tree}.a%20folder%2C%20100%25%20mine"
    assert read_range(shared.mount.at(shared.file_link), 100, 1000) == LARGE[100:1000]
    assert shared.mount.at(shared.tree_link, "small.txt").read_bytes() == SMALL


def test_the_printed_path_of_a_link_has_no_double_slash_and_reads(shared: Shared) -> None:
    for link in (shared.file_link, f"{shared.tree_link}/large.dat"):
        path = shared.mount.lab.run("path", link)
        assert path.startswith(f"{shared.mount.path}/sha1")
        assert "//" not in path
        assert Path(path).read_bytes() == LARGE
    assert path.endswith("large.dat")
    assert f"?manifest={shared.manifest}" in shared.mount.lab.run("path", shared.file_link)


def test_names_and_empty_things_survive_the_trip(shared: Shared) -> None:
    copy = contents(shared.mount / "sha1dir" / shared.tree)
    assert copy == contents(shared.folder)
    assert {os.path.join("odd", name) for name in ODD_NAMES} < set(copy)
    assert copy["./empty folder"] is None
    assert copy["./empty.dat"] == b""


def test_links_to_files_with_odd_names_work_as_typed_and_as_printed(shared: Shared) -> None:
    names = [name for name in ODD_NAMES if "\n" not in name]
    folder = shared.folder.parent / "alone"
    paths = [write(folder / name, b"alone: " + os.fsencode(name)) for name in names]
    links = shared.alice.run("share", *paths).split("\n")
    assert all(link.isascii() for link in links)
    for link, name in zip(links, names, strict=True):
        assert shared.mount.at(link).read_bytes() == b"alone: " + os.fsencode(name)
    for link in links[-3:]:
        assert Path(shared.mount.lab.run("path", link)).read_bytes() == shared.mount.at(link).read_bytes()


def test_an_odd_name_in_a_tree_is_reached_encoded_and_raw(shared: Shared) -> None:
    top = f"{shared.mount.path}/sha1dir://{shared.tree}"
    for inside in ("odd folders/a%252Fb%3Fc%20d/file", "odd folders/a%2Fb?c d/file"):
        assert Path(f"{top}/{inside}").read_bytes() == b"in an odd folder"
    assert Path(f"{top}/odd/invalid-%FF%FE.dat").read_bytes() == Path(f"{top}/odd/{ODD_NAMES[8]}").read_bytes()


def test_an_empty_file_is_read_without_asking_anybody(shared: Shared) -> None:
    path = shared.mount / "sha1" / f"{sha1_of(b'')}.txt"
    assert path.read_bytes() == b""
    assert path.stat().st_size == 0


def test_sha1_lists_what_this_machine_knows_and_opens_what_peers_have(
    shared: Shared, make_lab: MakeLab, tmp_path: Path
) -> None:
    bob = make_lab("bob")
    mount = bob.mount(shared.alice.serve())
    assert os.listdir(mount / "sha1") == []
    assert (mount / "sha1" / S).read_bytes() == SMALL
    assert read_range(mount / "sha1" / H, 0, 10) == LARGE[:10]
    bob.share(write(tmp_path / "own", b"bob's own file"))
    own_tree = bob.share(write(tmp_path / "folder" / "file", b"bob's other").parent).removeprefix("sha1dir://")[:40]
    listed = set(os.listdir(mount / "sha1"))
    assert {S, H, sha1_of(b"bob's own file"), sha1_of(b"bob's other")} <= listed
    assert os.listdir(mount / "sha1dir") == [own_tree]
    assert (mount / "sha1" / sha1_of(b"bob's own file")).read_bytes() == b"bob's own file"


@pytest.mark.parametrize("name", ["", "README", f"sha1/{H}", "sha1dir"])
def test_times_are_fixed_and_the_blocks_of_a_file_cover_its_size(shared: Shared, name: str) -> None:
    status = os.stat(shared.mount / name)
    assert status.st_mtime_ns == status.st_ctime_ns == status.st_atime_ns > 0
    assert os.stat(shared.mount / name).st_mtime_ns == status.st_mtime_ns
    if stat.S_ISREG(status.st_mode):
        assert status.st_blocks * 512 >= status.st_size


def test_the_mount_is_read_only_nosuid_and_nodev(shared: Shared) -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    options = next(line for line in lines if f" {shared.mount.path} " in line).split()[5].split(",")
    assert {"ro", "nosuid", "nodev"} <= set(options)


def test_names_of_one_content_and_one_proof_share_an_inode(shared: Shared, make_lab: MakeLab) -> None:
    mount = make_lab("ida").mount(shared.alice.serve())
    linked = f"?manifest={shared.manifest}"
    paths = [f"sha1:/{H}/a{linked}", f"sha1:/{H}{linked}", f"sha1dir/{shared.tree}/large.dat", f"sha1/{H}.x{linked}"]
    assert len({os.stat(mount / path).st_ino for path in paths}) == 1
    assert os.stat(mount / f"sha1/{S}").st_ino != os.stat(mount / f"sha1/{H}").st_ino


@pytest.mark.parametrize(
    "write_somehow",
    [
        lambda top: (top / "sha1" / H).write_bytes(b"x"),
        lambda top: os.open(top / "sha1" / H, os.O_RDWR),
        lambda top: os.open(top / "new", os.O_CREAT | os.O_WRONLY),
        lambda top: (top / "sha1" / H).unlink(),
        lambda top: (top / "folder").mkdir(),
        lambda top: (top / "sha1").rmdir(),
        lambda top: (top / "README").rename(top / "LIESMICH"),
        lambda top: os.symlink("README", top / "link"),
        lambda top: os.link(top / "README", top / "hard link"),
        lambda top: os.truncate(top / "sha1" / H, 0),
        lambda top: os.chmod(top / "README", 0o777),
        lambda top: os.utime(top / "README"),
        lambda top: os.setxattr(top / "README", "user.x", b"y"),
        lambda top: os.removexattr(top / "sha1" / H, "user.kacheryfs.link"),
    ],
)
def test_whoever_writes_is_told_that_the_file_system_is_read_only(
    shared: Shared, write_somehow: Callable[[Path], object]
) -> None:
    os.stat(shared.mount / "sha1" / H)
    assert errno_of(lambda: write_somehow(shared.mount.path)) == "EROFS"


@pytest.mark.parametrize(
    "name",
    [
        "sha1/not a digest",
        f"sha1/{H[:39]}",
        f"sha1/{H.upper()}",
        f"sha1/{H}?manifest=12",
        f"sha1:/{H}/x?manifest=",
        "sha1dir/.git",
        ".Trash-0",
        "sha2",
        "sha1:/autorun.inf",
    ],
)
def test_a_name_that_is_no_digest_is_not_there(shared: Shared, name: str) -> None:
    assert errno_of(lambda: os.stat(shared.mount / name)) == "ENOENT"


def test_what_every_peer_answers_to_lack_is_not_there(shared: Shared) -> None:
    nobodys = sha1_of(b"nobody has this")
    for name in (f"sha1/{nobodys}", f"sha1dir/{nobodys}", f"sha1:/{nobodys}/x", f"sha1dir/{shared.tree}/no such name"):
        assert errno_of(lambda name=name: os.stat(shared.mount / name)) == "ENOENT"


def test_a_digest_that_nobody_has_while_a_peer_is_silent_is_no_route_to_host(shared: Shared, make_lab: MakeLab) -> None:
    server = shared.alice.serve()
    mount = make_lab("carol").mount(server, shared.mount.lab.serve())
    server.kill()
    nobodys = sha1_of(b"nobody has this either")
    assert errno_of(lambda: os.stat(mount / "sha1" / nobodys)) == "EHOSTUNREACH"
    assert errno_of(lambda: os.listdir(mount / "sha1dir" / nobodys)) == "EHOSTUNREACH"
    assert errno_of(lambda: os.stat(mount / "sha1" / "no digest")) == "ENOENT"


def test_a_silent_peer_is_given_up_after_the_lookup_timeout(shared: Shared, make_lab: MakeLab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        mount = make_lab("dan", lookup_timeout="1").mount(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        assert errno_of(lambda: os.stat(mount / "sha1" / H)) == "EHOSTUNREACH"


def attribute(path: Path, name: str) -> str:
    return os.getxattr(path, f"user.kacheryfs.{name}").decode()


def test_extended_attributes_tell_status_trust_manifest_and_link(shared: Shared, make_lab: MakeLab) -> None:
    path = make_lab("eve").mount(shared.alice.serve()).at(shared.file_link)
    assert attribute(path, "status") == f"0/{len(LARGE)}"
    read_range(path, 0, 1)
    assert 0 < int(attribute(path, "status").split("/")[0]) < len(LARGE)
    assert attribute(path, "trust") == "linked"
    assert attribute(path, "manifest") == shared.manifest
    assert attribute(path, "link") == shared.file_link
    assert set(os.listxattr(path)) == {f"user.kacheryfs.{name}" for name in ("status", "trust", "manifest", "link")}
    assert errno_of(lambda: os.getxattr(path, "user.other")) == "ENODATA"
    path.read_bytes()
    assert attribute(path, "status") == f"{len(LARGE)}/{len(LARGE)}"


def test_a_links_manifest_holds_only_under_names_that_carry_it(shared: Shared, make_lab: MakeLab) -> None:
    mount = make_lab("eve", whole_file_limit="1 MiB").mount(shared.alice.serve())
    linked, bare = mount.at(shared.file_link), mount / f"sha1/{H}"
    read_range(linked, 0, 1)
    assert (attribute(linked, "trust"), attribute(bare, "trust")) == ("linked", "claimed")
    assert attribute(bare, "manifest") == shared.manifest
    assert attribute(bare, "link") == f"sha1://{H}"
    assert os.stat(linked).st_ino != os.stat(bare).st_ino
    assert bare.read_bytes() == LARGE


def test_a_file_that_was_read_whole_is_proven_under_every_name(shared: Shared, make_lab: MakeLab) -> None:
    mount = make_lab("eve", whole_file_limit="1 MiB").mount(shared.alice.serve())
    mount.at(shared.file_link).read_bytes()
    wait_until(lambda: mount.status()["store"]["n_complete"] == 1, "the proof of the whole file")
    assert attribute(mount / f"sha1/{H}.first_seen_now", "trust") == "proven"
    assert attribute(mount / f"sha1:/{H}/x?manifest={shared.manifest}", "link").endswith(shared.manifest)


def test_a_bare_name_of_a_small_file_reads_and_its_link_needs_no_manifest(shared: Shared) -> None:
    path = shared.mount / f"sha1/{S}"
    assert path.read_bytes() == SMALL
    link = attribute(path, "link")
    assert link.startswith(f"sha1://{S}")
    assert "manifest" not in link


def test_require_manifest_refuses_what_only_peers_vouch_for(shared: Shared, make_lab: MakeLab) -> None:
    mount = make_lab("frank").mount(shared.alice.serve(), flags=["--require-manifest"])
    assert errno_of(lambda: (mount / "sha1" / H).read_bytes()) == "EACCES"
    assert mount.at(shared.file_link).read_bytes() == LARGE
    assert (mount / f"sha1dir/{shared.tree}/small.txt").read_bytes() == SMALL
    assert "--require-manifest" in mount.log()


def test_reads_at_any_offset_give_the_bytes_that_stand_there(shared: Shared, make_lab: MakeLab) -> None:
    mount = make_lab("grace").mount(shared.alice.serve())
    rng = random.Random(7)
    for _ in range(60):
        start = rng.randrange(len(LARGE))
        stop = min(start + rng.choice([1, 100, 4096, 300_000]), len(LARGE))
        assert read_range(mount.at(shared.file_link), start, stop) == LARGE[start:stop]
    assert read_range(mount.at(shared.file_link), len(LARGE) - 5, len(LARGE) + 5) == LARGE[-5:]
