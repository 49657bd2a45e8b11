"""A plain nginx that serves the static layout from a folder is a peer: the real nginx, as Debian packs it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from system_content import LARGE, SMALL, bytes_of, sha1_of, write
from system_labs import Lab, MakeLab, read_range
from system_web import nginx

pytestmark = pytest.mark.kernel

BARE = bytes_of(21, 2_000_000)
"""A file of which no manifest is anywhere."""


@dataclass(frozen=True)
class Web:
    """An nginx, and the link of a file that it has with its manifest."""

    url: str
    link: str
    folder: Path

    def requests(self) -> str:
        return (self.folder / "access.log").read_text()


def fan_out(digest: str) -> str:
    return f"{digest[0:2]}/{digest[2:4]}/{digest[4:6]}/{digest}"


def write_static_layout(alice: Lab, carol: Lab, root: Path) -> str:
    """Put files and manifest parts where any web server serves them; returns the link of the large one.

    A store's own folder is laid out so: what carol fetched is copied.
    """
    link = alice.share(write(alice.folder / "rec.dat", LARGE))
    carol.run("get", link, carol.folder / "rec.dat", "--peer", alice.serve().url)
    for name in ("manifest", "sha1"):
        shutil.copytree(carol.store / name, root / name)
    assert (root / "sha1" / fan_out(sha1_of(LARGE))).read_bytes() == LARGE
    for data in (SMALL, BARE, b""):
        write(root / "sha1" / sha1_of(data), data)  # the flat form
    return link


@pytest.fixture(scope="module")
def web(make_lasting_lab: MakeLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("nginx")
    link = write_static_layout(make_lasting_lab("alice"), make_lasting_lab("carol"), folder / "www")
    with nginx(folder / "www", folder) as url:
        yield Web(url, link, folder)


def test_a_link_with_its_manifest_reads_by_ranges_from_nginx(web: Web, make_lab: MakeLab) -> None:
    mount = make_lab("bob").mount(web.url)
    assert read_range(mount.at(web.link), 3_000_000, 3_000_100) == LARGE[3_000_000:3_000_100]
    (peer,) = mount.status()["peers"]
    assert peer["bytes_received"] < len(LARGE) // 2
    assert " 206 " in web.requests()
    assert mount.at(web.link).read_bytes() == LARGE
    assert os.getxattr(mount.at(web.link), "user.kacheryfs.trust") == b"linked"


def test_small_files_read_from_nginx_by_their_sha1_alone(web: Web, make_lab: MakeLab) -> None:
    mount = make_lab("bob").mount(web.url)
    for data in (SMALL, BARE, b""):
        assert (mount / f"sha1/{sha1_of(data)}").read_bytes() == data


def test_what_nginx_lacks_is_not_there(web: Web, make_lab: MakeLab) -> None:
    with pytest.raises(FileNotFoundError):
        os.stat(make_lab("bob").mount(web.url) / "sha1" / sha1_of(b"nobody has this"))


def test_a_big_file_without_a_manifest_anywhere_is_an_error_that_says_why(web: Web, make_lab: MakeLab) -> None:
    mount = make_lab("bob", whole_file_limit="1 MiB").mount(web.url)
    path = mount / f"sha1/{sha1_of(BARE)}"
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        path.read_bytes()
    assert caught.value.errno == errno.EIO
    assert "2000000 bytes are more than whole_file_limit, and nobody names a manifest" in mount.log()
    assert (mount / f"sha1/{sha1_of(SMALL)}").read_bytes() == SMALL
    assert mount.at(web.link).read_bytes() == LARGE


def test_a_wrong_file_on_nginx_is_never_read(web: Web, make_lab: MakeLab) -> None:
    data, wrong = bytes_of(22, 100_000), bytes_of(23, 100_000)
    write(web.folder / "www" / "sha1" / sha1_of(data), wrong)
    mount = make_lab("bob").mount(web.url, flags=["--read-timeout", "1"])
    with pytest.raises(OSError, match="Input/output error"):
        (mount / f"sha1/{sha1_of(data)}").read_bytes()


def test_a_tree_on_nginx_reads_with_its_names(web: Web, make_lab: MakeLab) -> None:
    alice = make_lab("alice")
    folder = alice.folder / "tree"
    write(folder / "sub" / "b c.dat", LARGE)
    write(folder / "a.txt", SMALL)
    link = alice.share(folder)
    server = alice.serve()
    tree = link.removeprefix("sha1dir://")[:40]
    copy = make_lab("carol")
    copy.run("get", f"sha1://{tree}", copy.folder / "tree.json", "--peer", server.url)
    write(web.folder / "www" / "sha1" / fan_out(tree), (copy.folder / "tree.json").read_bytes())
    server.stop()
    mount = make_lab("bob").mount(web.url)
    assert sorted(os.listdir(mount.at(link))) == ["a.txt", "sub"]
    assert mount.at(link, "sub", "b c.dat").read_bytes() == LARGE
    assert mount.at(link, "a.txt").read_bytes() == SMALL
