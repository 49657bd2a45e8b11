"""Reading links inside this very process, from a peer in another."""

from __future__ import annotations

import asyncio
import pickle
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio
from embedded_labs import Labs, random_bytes
from running_peers import TIMEOUT_S

from kacheryfs.app import embedded_waits
from kacheryfs.app.embedded import Fetcher, RemoteFile, get_fetcher
from kacheryfs.core.link import FileLink, parse_link
from kacheryfs.core.model import Sha1
from kacheryfs.core.request import FileRequest
from kacheryfs.core.tree import Tree
from kacheryfs.errors import (
    CancelledError,
    ChangedError,
    ConfigError,
    InputError,
    KacheryError,
    NotFoundError,
    ProofError,
    StoreError,
    TimedOutError,
    UnreachableError,
)

DATA = random_bytes(5_000_000)
LARGE = random_bytes(40_000_000, seed=2)


def open_file(fetcher: Fetcher, link: str) -> RemoteFile:
    found = fetcher.open_link(link)
    assert isinstance(found, RemoteFile)
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def request_of(link: str) -> FileRequest:
    parsed = parse_link(link)
    assert isinstance(parsed, FileLink)
    return FileRequest(parsed.sha1, parsed.manifest)


@pytest.fixture
def link(labs: Labs) -> str:
    link = labs.share("x.dat", DATA)
    labs.serve()
    return link


def test_any_part_of_a_file_is_read(labs: Labs, link: str) -> None:
    chance = random.Random(3)
    with open_file(labs.fetcher(), link) as file:
        assert file.size_bytes == len(DATA)
        assert str(file.trust) == "linked"
        for _ in range(50):
            start, n_bytes = chance.randrange(len(DATA)), chance.choice([0, 1, 511, 70_000, 600_000])
            assert file.pread(start, n_bytes) == DATA[start : start + n_bytes]
        assert file.pread(0, len(DATA)) == DATA


def test_a_read_ends_where_the_file_ends(labs: Labs, link: str) -> None:
    with open_file(labs.fetcher(), link) as file:
        assert file.pread(len(DATA) - 10, 100) == DATA[-10:]
        assert file.pread(len(DATA), 100) == b""
        assert file.pread(len(DATA) + 1, 100) == b""
        assert file.pread(10**15, 0) == b""


def test_a_read_into_a_buffer_tells_how_much_it_filled(labs: Labs, link: str) -> None:
    buffer = bytearray(100)
    with open_file(labs.fetcher(), link) as file:
        assert file.pread_into(len(DATA) - 10, memoryview(buffer)) == 10
        assert buffer[:10] == DATA[-10:]
        assert file.pread_into(7, memoryview(buffer).cast("H")) == 100
        assert buffer == DATA[7:107]
        assert file.pread_into(0, memoryview(b"")) == 0


def test_a_negative_place_is_refused(labs: Labs, link: str) -> None:
    with open_file(labs.fetcher(), link) as file:
        with pytest.raises(InputError, match="negative"):
            file.pread(-1, 10)
        with pytest.raises(InputError, match="negative"):
            file.pread(1, -10)


def test_a_file_object_seeks_and_reads(labs: Labs, link: str) -> None:
    with open_file(labs.fetcher(), link) as remote, remote.as_file() as file:
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        assert file.seek(-100, 2) == len(DATA) - 100
        assert file.read() == DATA[-100:]
        assert file.seek(1_000_000) == 1_000_000
        assert file.seek(5, 1) == 1_000_005
        assert file.read(100_000) == DATA[1_000_005:1_100_005]
        assert file.tell() == 1_100_005


def test_a_large_read_is_whole(labs: Labs) -> None:
    link = labs.share("large.dat", LARGE)
    labs.serve()
    with open_file(labs.fetcher(), link) as file:
        assert file.pread(1, len(LARGE)) == LARGE[1:]  # cold, in pieces
        assert file.pread(1, len(LARGE)) == LARGE[1:]


def test_what_is_in_the_store_needs_no_peer(labs: Labs, link: str) -> None:
    with open_file(labs.fetcher(), link) as file:
        file.pread(0, len(DATA))
    labs.fetchers[0].close()
    labs.servers[0].kill()
    with open_file(labs.fetcher(), link) as file:
        assert file.pread(0, len(DATA)) == DATA


def test_a_link_into_a_tree_is_followed(labs: Labs) -> None:
    labs.share("folder/inner/x.dat", DATA)
    link = labs.theirs.get("share", labs.folder / "folder")
    labs.serve()
    fetcher = labs.fetcher()
    tree = fetcher.open_link(link)
    assert isinstance(tree, Tree)
    assert set(tree.dirs) == {"inner"}
    assert isinstance(fetcher.open_link(f"{link}/inner"), Tree)
    with open_file(fetcher, f"{link}/inner/x.dat") as file:
        assert file.pread(0, 100) == DATA[:100]
    with pytest.raises(NotFoundError, match=r"inner/y\.dat: not in the folder"):
        fetcher.open_link(f"{link}/inner/y.dat")


def test_a_small_file_is_read_whole(labs: Labs, link: str) -> None:
    assert labs.fetcher().read_small(request_of(link), len(DATA)) == DATA


def test_a_file_that_is_too_large_for_a_small_one_is_refused(labs: Labs, link: str) -> None:
    with pytest.raises(InputError, match=f"has {len(DATA)} bytes, at most 1000 are read here"):
        labs.fetcher().read_small(request_of(link), 1000)


def test_a_small_file_under_a_foreign_digest_is_refused(labs: Labs, link: str) -> None:
    manifest = request_of(link).manifest
    with pytest.raises(KacheryError):
        labs.fetcher().read_small(FileRequest(Sha1.of(b"another"), manifest), len(DATA))


def test_an_original_of_this_machine_is_read_in_place(labs: Labs) -> None:
    path = labs.folder / "mine.dat"
    path.write_bytes(DATA)
    link = labs.ours.get("share", path)
    with open_file(labs.fetcher(), link) as file:
        assert file.pread(10, len(DATA)) == DATA[10:]
        assert file.pread(len(DATA), 1) == b""
    assert labs.present_bytes() == 0


def test_an_original_that_was_changed_is_refused(labs: Labs) -> None:
    path = labs.folder / "mine.dat"
    path.write_bytes(DATA)
    link = labs.ours.get("share", path)
    with open_file(labs.fetcher(), link) as file:
        path.write_bytes(DATA[:-1] + b"x")
        with pytest.raises(ChangedError, match="was changed or moved since it was hashed"):
            file.pread(0, 10)
        with pytest.raises(ChangedError):
            file.pread(len(DATA), 10)


def test_nobody_has_it(labs: Labs) -> None:
    labs.serve()
    with pytest.raises(NotFoundError, match="no peer has it"):
        labs.fetcher().open_link(f"sha1://{Sha1.of(b'unknown')}")


def test_nobody_is_asked(labs: Labs) -> None:
    with pytest.raises(NotFoundError, match="no peer is configured: kacheryfs peer add URL"):
        labs.fetcher().open_link(f"sha1://{Sha1.of(b'unknown')}")


def test_a_peer_that_is_gone_is_not_a_file_that_is_missing(labs: Labs, link: str) -> None:
    labs.servers[0].kill()
    with pytest.raises(UnreachableError, match=labs.servers[0].url):
        labs.fetcher().open_link(link)


def test_a_peer_that_falls_silent_is_named_after_the_read_timeout(labs: Labs, link: str) -> None:
    with open_file(labs.fetcher(read_timeout="1 s"), link) as file:
        assert file.pread(0, 10) == DATA[:10]
        labs.servers[0].stop()
        with pytest.raises(TimedOutError, match=f"no peer could serve it within 1 s .*{labs.servers[0].url}") as raised:
            file.pread(4_000_000, 10)
    assert raised.value.__suppress_context__, "a caller's traceback begins with our cancelled scope"


def test_a_peer_that_is_lost_while_it_is_read_is_named(labs: Labs, link: str) -> None:
    with open_file(labs.fetcher(read_timeout="1 s"), link) as file:
        assert file.pread(0, 10) == DATA[:10]
        labs.servers[0].kill()
        with pytest.raises(TimedOutError, match=labs.servers[0].url):
            file.pread(4_000_000, 10)


@pytest.mark.expects_warnings
def test_a_read_that_waits_for_long_says_for_what(
    labs: Labs, link: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_waits, "TELL_AFTER_S", 0.0)
    with open_file(labs.fetcher(read_timeout="4 s"), link) as file:
        file.pread(0, 10)
        labs.servers[0].kill()
        with pytest.raises(TimedOutError):
            file.pread(4_000_000, 10)
    (told,) = [record.getMessage() for record in caplog.records if record.name == embedded_waits.__name__]
    assert f"still waited for, up to 4 s ({labs.servers[0].url}: connection refused)" in told
    assert "Ctrl-C" in told


def test_a_read_goes_on_when_its_peer_is_back(labs: Labs, link: str) -> None:
    with open_file(labs.fetcher(read_timeout="60 s"), link) as file, ThreadPoolExecutor(1) as pool:
        labs.servers[0].stop()
        reading = pool.submit(file.pread, 4_000_000, 10)
        labs.servers[0].go_on()
        assert reading.result() == DATA[4_000_000:4_000_010]


def test_a_peer_that_is_added_later_is_asked(labs: Labs) -> None:
    link = labs.share("x.dat", DATA)
    server = labs.serve(is_kept=False)
    fetcher = labs.fetcher()
    with pytest.raises(NotFoundError):
        fetcher.open_link(link)
    labs.ours.get("peer", "add", server.url)
    with open_file(fetcher, link) as file:
        assert file.pread(0, 10) == DATA[:10]


def test_a_peer_that_is_added_helps_a_read_that_waits(labs: Labs, link: str) -> None:
    with open_file(labs.fetcher(read_timeout="60 s"), link) as file, ThreadPoolExecutor(1) as pool:
        labs.servers[0].kill()
        reading = pool.submit(file.pread, 4_000_000, 10)
        labs.serve()
        assert reading.result() == DATA[4_000_000:4_000_010]


def test_a_peer_that_is_removed_is_not_asked_any_more(labs: Labs, link: str) -> None:
    fetcher = labs.fetcher()
    open_file(fetcher, link).close()
    labs.ours.get("peer", "remove", labs.servers[0].url)
    with pytest.raises(NotFoundError, match="no peer is configured"):
        fetcher.open_link(f"sha1://{Sha1.of(b'unknown')}")


def test_a_spoilt_list_of_peers_is_said(labs: Labs, link: str) -> None:
    fetcher = labs.fetcher()
    open_file(fetcher, link).close()
    (labs.ours.folder / "data" / "peers").write_text("no url\n")
    with pytest.raises(ConfigError, match="peers, line 1"):
        fetcher.open_link(link)


def test_many_threads_read_at_once(labs: Labs, link: str) -> None:
    fetcher = labs.fetcher()
    chance = random.Random(4)
    starts = [chance.randrange(len(DATA)) for _ in range(300)]
    with open_file(fetcher, link) as file, ThreadPoolExecutor(16) as pool:
        for start, data in zip(starts, pool.map(lambda start: file.pread(start, 100_000), starts), strict=True):
            assert data == DATA[start : start + 100_000]


def test_many_threads_start_one_engine(labs: Labs, link: str) -> None:
    fetcher, before = labs.fetcher(), set(threading.enumerate())  # other tests' engines may run still
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda _: open_file(fetcher, link), range(8)))
    started = [thread for thread in threading.enumerate() if thread not in before]
    assert [thread.name for thread in started].count("kacheryfs engine") == 1
    assert all(file.pread(0, 10) == DATA[:10] for file in files)


def test_a_sequential_reader_is_read_ahead_of(labs: Labs) -> None:
    link = labs.share("large.dat", LARGE)
    labs.serve()
    with open_file(labs.fetcher(), link) as file:
        for start in range(0, 4_000_000, 100_000):
            file.pread(start, 100_000)
        # The engine goes on with what it was told to fetch; what was read is a tenth of the file.
        wait_until(lambda: labs.present_bytes() > 6_000_000)


def test_a_closed_file_is_refused(labs: Labs, link: str) -> None:
    file = open_file(labs.fetcher(), link)
    file.close()
    file.close()
    with pytest.raises(InputError, match="the file was closed"):
        file.pread(0, 1)


def test_a_closed_fetcher_starts_again(labs: Labs, link: str) -> None:
    fetcher = labs.fetcher()
    with open_file(fetcher, link) as file:
        file.pread(0, 10)
        fetcher.close()
        fetcher.close()
        assert file.pread(3_000_000, 10) == DATA[3_000_000:3_000_010]


def test_closing_ends_what_waits(labs: Labs, link: str) -> None:
    fetcher = labs.fetcher(read_timeout="60 s")
    with open_file(fetcher, link) as file, ThreadPoolExecutor(4) as pool:
        labs.servers[0].stop()
        readings = [pool.submit(file.pread, start, 10) for start in (3_000_000, 4_000_000)]
        while not all(reading.running() for reading in readings):
            pass
        fetcher.close()
        for reading in readings:
            # One that had not begun yet starts the engine anew, and finds nobody.
            assert isinstance(reading.exception(), (CancelledError, UnreachableError))


def test_a_store_that_cant_be_used_is_said_at_the_first_use_and_tried_again(labs: Labs, link: str) -> None:
    wrong = labs.folder / "wrong"
    wrong.write_bytes(b"not a folder")
    fetcher = labs.fetcher(store_dir=str(wrong))
    with pytest.raises(StoreError, match="can't be made"):
        fetcher.open_link(link)
    wrong.unlink()
    with open_file(fetcher, link) as file:
        assert file.pread(0, 10) == DATA[:10]


def test_wrong_settings_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACHERYFS_READ_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="KACHERYFS_READ_TIMEOUT"):
        get_fetcher()


def test_one_fetcher_is_enough_for_a_process(labs: Labs) -> None:
    settings = labs.settings(read_timeout="123 s")
    assert get_fetcher(settings) is get_fetcher(labs.settings(read_timeout="123 s"))
    assert get_fetcher(settings) is not get_fetcher(labs.settings(read_timeout="124 s"))
    assert pickle.loads(pickle.dumps(get_fetcher(settings))) is get_fetcher(settings)


def test_a_file_is_pickled_by_its_name(labs: Labs, link: str) -> None:
    fetcher = get_fetcher(labs.settings())
    try:
        with open_file(fetcher, link) as file, pickle.loads(pickle.dumps(file)) as again:
            assert again.pread(0, 10) == DATA[:10]
    finally:
        fetcher.close()


def test_a_running_asyncio_loop_does_not_mind(labs: Labs, link: str) -> None:
    async def cell() -> bytes:
        with open_file(labs.fetcher(), link) as file:
            return file.pread(0, 10)

    assert asyncio.run(cell()) == DATA[:10]


async def test_a_trio_program_does_not_mind(labs: Labs, link: str) -> None:
    with open_file(labs.fetcher(), link) as file:
        assert file.pread(0, 10) == DATA[:10]
        assert await trio.to_thread.run_sync(file.pread, 3_000_000, 10) == DATA[3_000_000:3_000_010]


def test_a_claim_that_is_proven_false_is_a_kachery_error(labs: Labs, link: str) -> None:
    other = labs.share("y.dat", random_bytes(5_000_000, seed=9))
    lie = f"{link.split('?')[0]}?manifest={other.split('manifest=')[1]}"
    with pytest.raises(ProofError):
        open_file(labs.fetcher(), lie)
