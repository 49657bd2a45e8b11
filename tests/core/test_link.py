from __future__ import annotations

import pytest
from core_strategies import labels, manifests, names, sha1s
from hypothesis import example, given
from hypothesis import strategies as st

from kacheryfs.core.link import (
    MAX_LINK_CHARS,
    FileLink,
    TreeLink,
    mount_path,
    parse_link,
    split_digest_label,
    split_manifest,
)
from kacheryfs.core.model import Blake3, ManifestDigest, Sha1
from kacheryfs.core.names import why_not_a_name
from kacheryfs.errors import LinkError

H = "0123456789abcdef0123456789abcdef01234567"
M = "fedcba98" * 8
LEGACY = "89abcdef" * 5
SHA1, MANIFEST = Sha1.from_hex(H), Blake3.from_hex(M)

file_links = st.builds(FileLink, sha1s, labels, st.one_of(st.none(), manifests))
tree_links = st.builds(TreeLink, sha1s, labels, st.lists(names, max_size=4).map(tuple))
links = st.one_of(file_links, tree_links)


@given(links)
def test_a_link_that_was_written_reads_as_itself(link: FileLink | TreeLink) -> None:
    text = str(link)
    assert parse_link(text) == link
    assert text.isascii()
    assert not any(char.isspace() for char in text)


@given(links)
def test_the_path_below_the_mountpoint_reads_as_the_link(link: FileLink | TreeLink) -> None:
    path = mount_path(link)
    if path == f"sha1/{link.sha1}":
        assert link == FileLink(link.sha1)
    elif isinstance(link, FileLink):
        assert parse_link(path) == link
    else:
        head, *inside = path.removeprefix("sha1dir:/").split("/")
        assert (head, tuple(inside)) == (str(TreeLink(link.sha1, link.label)).removeprefix("sha1dir://"), link.path)


@given(file_links)
def test_a_name_of_the_mount_splits_into_label_and_manifest(link: FileLink) -> None:
    name = str(link).rpartition("/")[2]
    assert split_manifest(name) == (link.label or link.sha1.hex, link.manifest)


@pytest.mark.parametrize(
    ("text", "link"),
    [
        (f"sha1://{H}", FileLink(SHA1)),
        (f"sha1://{H}/", FileLink(SHA1)),
        (f"sha1://{H}/rec.dat", FileLink(SHA1, "rec.dat")),
        (f"  sha1://{H}/rec.dat\n", FileLink(SHA1, "rec.dat")),
        (f"sha1:/{H}/rec.dat", FileLink(SHA1, "rec.dat")),
        (f"sha1://{H}/rec.dat?manifest={M}", FileLink(SHA1, "rec.dat", MANIFEST)),
        (f"sha1://{H}?manifest={M}", FileLink(SHA1, "", MANIFEST)),
        (f"sha1://{H}/rec.dat?manifest={LEGACY}", FileLink(SHA1, "rec.dat", Sha1.from_hex(LEGACY))),
        (f"sha1://{H}/my%20rec.dat", FileLink(SHA1, "my rec.dat")),
        (f"sha1://{H}/my rec.dat?manifest={M}", FileLink(SHA1, "my rec.dat", MANIFEST)),
        (f"sha1://{H}/what?.dat?manifest={M}", FileLink(SHA1, "what?.dat", MANIFEST)),
        (f"sha1://{H}/what?.dat", FileLink(SHA1, "what?.dat")),
        (f"sha1://{H}/%C3%A9", FileLink(SHA1, "é")),
        (f"sha1://{H}/é", FileLink(SHA1, "é")),
        (f"sha1://{H}/\udcc3%A9", FileLink(SHA1, "é")),
        (f"sha1://{H}/%FF", FileLink(SHA1, "\udcff")),
        (f"sha1://{H}/100%", FileLink(SHA1, "100%")),
        (f"sha1://{H}.label", FileLink(SHA1, "label")),
        (f"sha1://{H}?label=rec.dat", FileLink(SHA1, "rec.dat")),
        (f"sha1://{H}?label=a%26b.dat", FileLink(SHA1, "a&b.dat")),
        (f"sha1://{H}?rec.json", FileLink(SHA1, "rec.json")),
        (f"sha1://{H}?{H}.json", FileLink(SHA1, f"{H}.json")),
        (f"sha1://{H}?label=rec.dat&manifest={M}", FileLink(SHA1, "rec.dat", MANIFEST)),
        (f"sha1://{H}?manifest={M}&label=rec.dat", FileLink(SHA1, "rec.dat", MANIFEST)),
        (f"sha1://{H}/a.dat?manifest={M}&label=rec.dat", FileLink(SHA1, "a.dat", MANIFEST)),
        (f"sha1://{H}/folder/rec.dat", FileLink(SHA1, "rec.dat")),
        (f"kachery:default:sha1:{H}:rec.dat", FileLink(SHA1, "rec.dat")),
        (f"kachery:default:sha1:{H}:a:b", FileLink(SHA1, "a:b")),
        (f"kachery:default:sha1:{H}", FileLink(SHA1)),
        (f"sha1dir://{H}", TreeLink(SHA1)),
        (f"sha1dir://{H}.label", TreeLink(SHA1, "label")),
        (f"sha1dir://{H}.a.b c/sub//file?.bin/", TreeLink(SHA1, "a.b c", ("sub", "file?.bin"))),
        (f"sha1dir://{H}.label/a%2520b", TreeLink(SHA1, "label", ("a%20b",))),
        (f"sha1dir://{H}/x?manifest={M}", TreeLink(SHA1, "", ("x",))),
    ],
)
def test_every_spelling_of_the_lineage_is_read(text: str, link: FileLink | TreeLink) -> None:
    assert parse_link(text) == link


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a link"),
        ("rec.dat", "is not a link"),
        ("http://example.org/a", "is not a link"),
        (H, "bare SHA-1: write sha1://"),
        (f"sha1:{H}", "is not a link"),
        (f"sha1/{H}", "is not a link"),
        (f"SHA1://{H}", "is not a link"),
        ("sha1://", "40 lowercase hex"),
        ("sha1://abc/rec.dat", "40 lowercase hex"),
        (f"sha1://{H.upper()}", "40 lowercase hex"),
        (f"sha1://{H}0/rec.dat", "40 lowercase hex"),
        (f"sha1://x/{H}", "40 lowercase hex"),
        (f"sha1://{H}.", "name is missing"),
        (f"sha1://{H}/rec.dat?manifest=", "manifest is not 64"),
        (f"sha1://{H}/rec.dat?manifest={M[:-1]}", "manifest is not 64"),
        (f"sha1://{H}/rec.dat?manifest={M.upper()}", "manifest is not 64"),
        (f"sha1://{H}/rec.dat?manifest={M}x", "manifest is not 64"),
        (f"sha1://{H}?manifest={M}&manifest={LEGACY}", "two manifests"),
        (f"sha1://{H}/rec.dat?manfest={M}", "'?manfest=' is not known"),
        (f"sha1://{H}?chunkOf={H}~0~20000000", "chunk of another file"),
        (f"feed://{M}/default", "a feed is a log"),
        ("kachery:zone:ipfs:abc", "expected kachery:"),
        ("kachery:zone", "expected kachery:"),
        (f"sha1dir://{H}/../etc", "is not a name"),
        (f"sha1dir://{H}/%2e%2e/etc", "is not a name"),
        (f"sha1dir://{H}/a%2Fb", "'/' or NUL"),
        (f"sha1dir://{H}/a%00b", "'/' or NUL"),
        (f"sha1dir://{H}.a%2Fb", "'/' or NUL"),
        (f"sha1://{H}/..", "is not a name"),
        (f"sha1://{H}?label=../../.bashrc", "'/' or NUL"),
        (f"sha1://{H}/{'a' * 256}", "255 bytes"),
        (f"sha1://{H}/\ud800", "bytes can stand for"),
        (f"sha1://{H}/{'a' * MAX_LINK_CHARS}", "over the limit"),
    ],
)
def test_what_is_no_link_is_refused_in_one_line_that_says_why(text: str, reason: str) -> None:
    with pytest.raises(LinkError) as caught:
        parse_link(text)
    message = str(caught.value)
    assert reason in message
    assert message.isprintable()
    assert len(message) < 500


@given(
    st.one_of(
        st.text(max_size=60),
        st.text(max_size=60).map(lambda tail: f"sha1://{H}{tail}"),
        st.text(max_size=60).map(lambda tail: f"sha1dir://{H}.{tail}"),
        st.text("/?&=%.~2Fe0manifestlabel\0\udcff ", max_size=60).map(lambda tail: f"sha1://{H}{tail}"),
    )
)
@example(f"sha1://{H}/?manifest={M}")
@example(f"sha1://{H}?&&=")
def test_any_text_is_a_link_with_safe_names_or_a_link_error(text: str) -> None:
    try:
        link = parse_link(text)
    except LinkError:
        return
    assert parse_link(str(link)) == link
    inside = link.path if isinstance(link, TreeLink) else ()
    assert all(why_not_a_name(name) is None for name in (*inside, *filter(None, [link.label])))


@pytest.mark.parametrize("name", ["..", "a/b", "a\0", "\ud800", "a" * 256])
def test_a_link_with_a_name_that_no_file_can_have_cannot_be_made(name: str) -> None:
    with pytest.raises(LinkError):
        FileLink(SHA1, name)
    with pytest.raises(LinkError):
        TreeLink(SHA1, "", (name,))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rec.dat", ("rec.dat", None)),
        ("my%20rec.dat", ("my rec.dat", None)),
        ("my rec.dat", ("my rec.dat", None)),
        (f"rec.dat?manifest={M}", ("rec.dat", MANIFEST)),
        (f"{H}?manifest={M}", (H, MANIFEST)),
        (f"a%3Fb?manifest={LEGACY}", ("a?b", Sha1.from_hex(LEGACY))),
        (f"a?b?manifest={M}", ("a?b", MANIFEST)),
        (f"x?manifest={LEGACY}?manifest={M}", (f"x?manifest={LEGACY}", MANIFEST)),
        (f"?manifest={M}", ("", MANIFEST)),
        ("%FF", ("\udcff", None)),
    ],
)
def test_a_name_is_cut_at_its_last_manifest(name: str, expected: tuple[str, ManifestDigest | None]) -> None:
    assert split_manifest(name) == expected


@pytest.mark.parametrize("name", ["rec.dat?manifest=", f"rec.dat?manifest={M[1:]}", f"rec.dat?manifest={M}.bak"])
def test_a_damaged_manifest_does_not_pass_for_a_bare_name(name: str) -> None:
    with pytest.raises(LinkError, match="manifest is not 64"):
        split_manifest(name)


def test_a_name_is_a_digest_with_or_without_a_label() -> None:
    assert split_digest_label(H) == (SHA1, "")
    assert split_digest_label(f"{H}.mat") == (SHA1, "mat")
    assert split_digest_label(f"{H}.my rec.tar.gz") == (SHA1, "my rec.tar.gz")
    assert split_digest_label(f"{H}.a%20b") == (SHA1, "a%20b")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "rec.dat", H[1:], H.upper(), f"{H}.", f"{H}0.mat", f"{H}...", f"{H}-mat"]
)
def test_any_other_name_is_no_digest(name: str) -> None:
    assert split_digest_label(name) is None


def test_a_bare_file_stands_where_listings_show_it() -> None:
    assert mount_path(FileLink(SHA1)) == f"sha1/{H}"
    assert mount_path(FileLink(SHA1, "a b")) == f"sha1:/{H}/a%20b"
    assert mount_path(FileLink(SHA1, "", MANIFEST)) == f"sha1:/{H}?manifest={M}"
    assert mount_path(TreeLink(SHA1, "x", ("a b", "c%20"))) == f"sha1dir:/{H}.x/a b/c%20"
