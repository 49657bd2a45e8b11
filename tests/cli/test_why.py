"""What ``why`` tells people of what the mount answers."""

from __future__ import annotations

from typing import Any

from looks import SHA1, URL, file, peer, wait

from kacheryfs.cli.why import _STATES, MAX_WAITS, tell
from kacheryfs.fetch.describing import BlockState

OTHER = "http://lab3.example:27180"


def answer(**changed: Any) -> dict[str, Any]:
    return {
        "mountpoint": "/home/ann/kachery",
        "sha1": SHA1,
        "failure": None,
        "failed_s": None,
        "is_offline": False,
        "read_timeout_s": 300.0,
        "peers": [peer(), peer(OTHER)],
        "files": [{**file(), "providers": [f"{URL}: answers", f"{OTHER}: does not have it"]}],
        "lookups": [],
        "n_waits": 0,
        "waits": [],
        **changed,
    }


def run(**changed: Any) -> dict[str, Any]:
    return {
        "url": URL,
        "asked_s": 14.1,
        "received_bytes": 120_000,
        "n_bytes": 1_048_576,
        "rate_bytes_per_s": 8_200.0,
        "hold_s": 0.0,
        "overdue_in_s": 2.5,
        **changed,
    }


def block(state: str = "running", *runs: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"block": 1, "state": state, "n_waiters": 1, "runs": list(runs), "tried": {}, **changed}


def told(**changed: Any) -> str:
    return "\n".join(tell(answer(**changed)))


def test_a_read_that_waits_has_its_block_who_was_asked_how_fast_that_is_and_when_it_gives_up() -> None:
    words = told(n_waits=1, waits=[{**wait(), "blocks": [block("running", run())]}])
    assert "WAITS 14 s for rec.dat 2b6f2b6f… bytes [262,144, 393,216); gives up in 286 s" in words
    assert "block 1 is being fetched" in words
    assert f"{URL} asked 14 s ago, 120 kB of 1.05 MB came, lately 8.20 kB/s; others are asked too in 2.5 s" in words


def test_a_peer_that_holds_its_answer_back_while_it_fetches_the_block_is_said_to() -> None:
    words = told(n_waits=1, waits=[{**wait(), "blocks": [block("running", run(hold_s=2.0))]}])
    assert "it fetches this itself, and may answer within 2.0 s" in words


def test_what_a_peer_said_that_failed_is_told_without_its_name_twice() -> None:
    tried = {OTHER: f"{OTHER}: no answer within 5 s", URL: "overdue"}
    words = told(n_waits=1, waits=[{**wait(), "blocks": [block("running", run(overdue_in_s=-1.0), tried=tried)]}])
    assert f"{OTHER} said: no answer within 5 s" in words
    assert "overdue, others are asked too" in words
    assert f"{URL} said" not in words


def test_a_block_that_several_wait_for_is_told_once() -> None:
    waits = [{**wait(), "blocks": [block("running", run())]}] * 3
    words = told(n_waits=3, waits=waits)
    assert words.count("WAITS") == 3
    assert words.count("block 1 ") == 1


def test_a_name_that_is_looked_up_tells_who_has_not_answered() -> None:
    lookup = {"waiting_s": 3.0, "gives_up_in_s": 3.0, "said": {URL: None, OTHER: f"{OTHER}: does not have it"}}
    words = told(files=[], lookups=[lookup])
    assert "IS LOOKED FOR since 3.0 s; gives up in 3.0 s" in words
    assert f"{URL} has not answered" in words
    assert f"{OTHER} said: does not have it" in words
    assert "no read waits" not in words


def test_of_a_whole_mount_in_which_nothing_waits_it_says_just_that() -> None:
    assert told(sha1=None, files=[]).startswith("no read waits\n")


def test_where_nobody_can_be_asked_it_says_so() -> None:
    words = told(n_waits=1, waits=[{**wait(), "blocks": [block("stalled")]}])
    assert "nobody can be asked now" in words


def test_every_state_of_a_block_has_its_words() -> None:
    assert _STATES.keys() == {state.value for state in BlockState} - {"present"}


def test_of_a_file_that_nobody_waits_for_it_tells_what_is_known() -> None:
    words = told()
    assert "no read waits for it" in words
    assert "25.0 % of 1.00 GB present, linked, 1 reader, 4 blocks under way" in words
    assert "does not have it" in words


def test_the_last_failure_of_a_file_that_is_not_open_is_told() -> None:
    words = told(files=[], failure="sha1 2b6f2b6f: no peer has it", failed_s=12.0)
    assert "is not open here" in words
    assert "failed 12 s ago: sha1 2b6f2b6f: no peer has it" in words


def test_offline_and_without_peers_it_says_what_to_do() -> None:
    assert "OFFLINE: no peer is asked" in told(is_offline=True)
    assert "kacheryfs peer add URL" in told(peers=[])


def test_hundreds_of_waits_are_counted_not_listed() -> None:
    words = told(n_waits=500, waits=[{**wait(), "blocks": []}] * 100)
    assert words.count("WAITS") == MAX_WAITS
    assert f"{500 - MAX_WAITS} more waiting reads" in words
