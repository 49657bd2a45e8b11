"""What we say to peers who want a secret: kept for one URL, said to nobody else, shown to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from fakes import FakeFile, FakePeer
from peer_servers import FakeSource, Script, head, listening

from kacheryfs.core.secret import Secret
from kacheryfs.errors import ConfigError, PeerLacksError, PeerUnreachableError
from kacheryfs.peers.client import HttpPeer
from kacheryfs.peers.heads import PeerForbidsError
from kacheryfs.peers.kept_secrets import KeptSecrets
from kacheryfs.serve import open_listeners, serve, url_of
from kacheryfs.serve.access import KnownSecret

SECRET, OTHER = Secret("the-secret-of-lab-1"), Secret("the-secret-of-lab-2")
FILE = FakeFile.of(b"data")


def test_a_secret_is_kept_for_one_peer_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    KeptSecrets(tmp_path).keep("http://Lab1:80/", SECRET)
    kept = KeptSecrets(tmp_path)
    kept.keep("http://lab2:8080", OTHER)
    assert kept.find("http://lab1") == SECRET
    assert kept.find("http://lab2:8080") == OTHER
    for other in ("https://lab1", "http://lab1:81", "http://lab1/below", "http://lab1.example"):
        assert kept.find(other) is None
    assert (tmp_path / "peer-secrets").stat().st_mode & 0o777 == 0o600


def test_a_secret_is_replaced_and_forgotten(tmp_path: Path) -> None:
    kept = KeptSecrets(tmp_path)
    kept.forget("http://lab1")
    assert list(tmp_path.iterdir()) == []
    kept.keep("http://lab1", SECRET)
    kept.keep("http://lab1", OTHER)
    assert kept.find("http://lab1") == OTHER
    kept.forget("http://LAB1/")
    assert kept.find("http://lab1") is None
    assert "secret" not in (tmp_path / "peer-secrets").read_text()


@pytest.mark.parametrize("line", ["http://lab1", "a b c", "http://lab1 short"])
def test_a_spoilt_line_is_told_without_what_it_says(tmp_path: Path, line: str) -> None:
    (tmp_path / "peer-secrets").write_text(line + "\n")
    with pytest.raises(ConfigError, match="not a URL and a secret") as caught:
        KeptSecrets(tmp_path).find("http://lab1")
    assert "short" not in str(caught.value)


async def test_a_peer_that_wants_a_secret_says_so_until_it_is_told_one(tmp_path: Path) -> None:
    listeners, kept = await open_listeners("127.0.0.1", 0), KeptSecrets(tmp_path)
    url = url_of(listeners[0])
    async with trio.open_nursery() as nursery:
        source, access = FakeSource(FakePeer([FILE])), KnownSecret([SECRET])
        await nursery.start(lambda task_status: serve(source, listeners, access=access, task_status=task_status))
        peer = HttpPeer(url, find_secret=lambda: kept.find(url))
        for wrong in (None, OTHER):
            if wrong is not None:
                kept.keep(url, wrong)
            with pytest.raises(PeerForbidsError, match="--secret-file FILE") as caught:
                await peer.have([FILE.sha1])
            assert ("to the secret that is kept for it" in str(caught.value)) == (wrong is not None)
            assert OTHER.token not in str(caught.value)
        kept.keep(url, SECRET)
        assert await peer.have([FILE.sha1]) == [True]
        assert await peer.describe(FILE.sha1) == FILE.info
        await peer.aclose()
        nursery.cancel_scope.cancel()


async def test_a_list_of_secrets_that_is_spoilt_keeps_the_peer_from_being_asked(
    tmp_path: Path,
) -> None:
    (tmp_path / "peer-secrets").write_text("nonsense\n")
    async with listening(Script([]).handle) as url:
        peer = HttpPeer(url, find_secret=lambda: KeptSecrets(tmp_path).find(url))
        with pytest.raises(PeerUnreachableError, match="not a URL and a secret"):
            await peer.connect()
        await peer.aclose()


async def test_a_secret_is_said_to_its_own_peer_and_does_not_follow_a_redirect() -> None:
    script = Script([], peer=head("302 Found", "Location: http://127.0.0.1:9/", "Content-Length: 0"))
    asked: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        asked.append(await stream.receive_some(65536))
        await stream.send_all(script.peer if isinstance(script.peer, bytes) else b"")

    async with listening(handle) as url:
        peer = HttpPeer(url, find_secret=lambda: SECRET)
        await peer.connect()
        await peer.aclose()
    assert len(asked) == 1
    assert b"Authorization: Bearer the-secret-of-lab-1\r\n" in asked[0]


FORBIDDEN = head("403 Forbidden", "Content-Length: 5") + b"<xml>"


async def test_a_bucket_that_answers_403_for_what_it_lacks_is_asked_at_the_other_place() -> None:
    found = head("200 OK", f"Content-Length: {len(FILE.data)}")
    no_body = head("403 Forbidden", "Content-Length: 5")
    async with listening(Script([no_body, found, no_body, no_body], peer=FORBIDDEN).handle) as url:
        peer = HttpPeer(url)
        assert (await peer.describe(FILE.sha1)).size_bytes == len(FILE.data)
        assert peer.is_static
        with pytest.raises(PeerLacksError):
            await peer.describe(FILE.sha1)
        await peer.aclose()
