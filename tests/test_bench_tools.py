"""The bench's own arithmetic: its line, its count of rounds, its table, its terabyte. No clock is read here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from benchmarks import synthetic_recording
from benchmarks.counters import Counters
from benchmarks.line import Line, Rounds
from benchmarks.processes import BenchError
from benchmarks.proxy import MAX_HEAD_BYTES, READ_BYTES, falsify, read_bytes
from benchmarks.readers import Reading
from benchmarks.rows_others import MAGNET, to_verdicts
from benchmarks.rows_recording import Picture, to_row
from benchmarks.rows_swarm import BUSY_S, LINE_BYTES_PER_S, TROUBLE_AT, to_troubled
from benchmarks.setting import FULL, QUICK, Scale
from benchmarks.synthetic import SIZE_BYTES, Terabyte
from benchmarks.table import Row, Series, at_least, at_most, interleave, number, render
from benchmarks.web import Download

from kacheryfs.core.manifest import GroupedProof, Root
from kacheryfs.core.model import BLOCK_BYTES, ByteRange

RATE = 100e6


def test_a_packet_arrives_after_its_own_length_and_the_delay() -> None:
    assert Line(0.01, RATE).send(5.0, 1_000_000) == pytest.approx(5.0 + 0.01 + 0.01)


def test_what_is_sent_together_arrives_one_after_the_other() -> None:
    line = Line(0.01, RATE)
    arrivals = [line.send(5.0, 1_000_000) for _ in range(3)]
    assert arrivals == pytest.approx([5.02, 5.03, 5.04])


def test_an_idle_line_saves_nothing_up() -> None:
    line = Line(0.0, RATE)
    line.send(0.0, 1)
    assert line.send(100.0, 50_000_000) == pytest.approx(100.5)


def test_a_second_carries_no_more_than_the_cap() -> None:
    line = Line(0.0, RATE)
    arrivals = [line.send(i / 1000, 400_000) for i in range(1000)]  # offered: four times the cap
    assert sum(400_000 for arrival in arrivals if arrival <= 1.0) <= RATE


def test_without_a_cap_only_the_delay_counts() -> None:
    line = Line(0.01, None)
    assert line.send(1.0, 10**9) == pytest.approx(1.01)
    assert line.backlog_s(1.0) == 0


def test_the_backlog_is_what_was_sent_and_has_not_gone() -> None:
    line = Line(0.01, RATE)
    line.send(0.0, 5_000_000)
    assert line.backlog_s(0.02) == pytest.approx(0.03)
    assert line.backlog_s(1.0) == 0


def test_a_line_that_slows_delays_what_is_sent_from_then_on() -> None:
    line = Line(0.0, RATE)
    assert line.send(0.0, 1_000_000) == pytest.approx(0.01)
    line.set_rate(RATE / 100)
    assert line.send(1.0, 1_000_000) == pytest.approx(2.0)


def test_a_slow_lines_bytes_come_a_little_at_a_time() -> None:
    assert read_bytes(Line(0.0, None)) == read_bytes(Line(0.0, RATE)) == READ_BYTES
    assert read_bytes(Line(0.0, 250e3)) == 7500
    assert read_bytes(Line(0.0, 1.0)) == 1460


def test_a_lie_changes_one_byte_and_no_head() -> None:
    head, body = bytes(MAX_HEAD_BYTES), bytes(MAX_HEAD_BYTES + 1)
    assert falsify(head) == head
    assert falsify(body) == body[:-1] + b"\1"


def test_a_handshake_and_a_request_are_two_rounds() -> None:
    rounds = Rounds()
    rounds.connect(1)
    rounds.ask(1)
    rounds.answer(1)
    assert rounds.answered == 2


def test_requests_under_way_together_are_one_round() -> None:
    rounds = Rounds()
    for connection in (1, 2, 3):
        rounds.ask(connection)
    for connection in (1, 2, 3):
        rounds.answer(connection)
    assert rounds.answered == 1


def test_a_request_after_an_answer_is_a_new_round_also_on_another_connection() -> None:
    rounds = Rounds()
    rounds.ask(1)
    rounds.answer(1)
    rounds.ask(2)
    rounds.answer(2)
    rounds.ask(1)
    assert rounds.answered == 2
    rounds.answer(1)
    assert rounds.answered == 3


def test_the_counters_are_seen_through_a_second_mapping_and_start_anew(tmp_path: Path) -> None:
    written, read = Counters(tmp_path / "counters"), Counters(tmp_path / "counters")
    written.add("up_bytes", 3)
    read.reset()
    written.add("up_bytes", 10)
    written.add("down_bytes", 5)
    written.set("rounds", 4)
    counts = read.since_reset()
    assert (counts.up_bytes, counts.wire_bytes, counts.rounds) == (10, 15, 4)
    assert written.get("epoch") == 1


def test_the_terabyte_is_proven_by_its_manifest() -> None:
    terabyte = Terabyte()
    root = Root.decode(terabyte.root.encode(), terabyte.root.digest)
    proof = GroupedProof(root)
    for block in (0, terabyte.readable_offset() // BLOCK_BYTES):
        group = proof.missing_group(block)
        assert group is not None
        proof.add_group(group, terabyte.groups[root.groups[group]])
        proof.verify(block, terabyte.read(ByteRange(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)))
    assert (root.size_bytes, len(root.groups)) == (SIZE_BYTES, 1863)


def test_an_unaligned_read_of_the_terabyte_is_a_cut_of_its_blocks() -> None:
    terabyte = Terabyte()
    span = ByteRange(BLOCK_BYTES - 10, BLOCK_BYTES + 20)
    assert terabyte.read(span) == terabyte.block(0)[-10:] + terabyte.block(1)[:20]


def test_contenders_take_turns_in_each_run() -> None:
    order: list[str] = []

    def contender(name: str) -> float:
        order.append(name)
        return float(len(order))

    values = interleave(2, {"a": lambda run: contender("a"), "b": lambda run: contender("b")})
    assert order == ["a", "b", "a", "b"]
    assert values == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_the_table_puts_ratios_first_and_marks_what_falls_short() -> None:
    verdicts = (at_least("against rclone", 3.5, 3.0), at_most("memory", 250.0, 200.0, "MB"))
    row = Row("cold", "Cold read", verdicts, (Series("mount", (300.0, 500.0, 400.0), "MB/s"),), ("A note.",))
    text = render([row], ["- Machine: this one."])
    assert "| against rclone | 3.50 × | ≥ 3.00 × | yes |" in text
    assert "| memory | 250 MB | ≤ 200 MB | **no** |" in text
    assert "| mount | 400 MB/s | 300 to 500 | 3 |" in text
    assert text.index("Machine") < text.index("against rclone") < text.index("## Cold read") < text.index("A note.")


def test_a_limit_itself_is_reached() -> None:
    assert at_least("a", 0.9, 0.9).is_reached
    assert at_most("a", 1.5, 1.5).is_reached


@pytest.mark.parametrize(("value", "text"), [(0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234")])
def test_numbers_have_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_written_recording_is_read_by_spikeinterface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikeinterface.extractors import read_spikeglx

    for meta in (synthetic_recording.REAL_META, tmp_path / "absent.meta"):
        monkeypatch.setattr(synthetic_recording, "REAL_META", meta)
        path = synthetic_recording.write_recording(tmp_path / meta.stem, duration_s=2)
        recording = read_spikeglx(path.parent, stream_id="imec0.ap")
        assert recording.get_num_channels() == 384
        assert recording.get_num_samples() == 2 * recording.get_sampling_frequency() == 60_000
        traces = recording.get_traces(start_frame=29_999, end_frame=30_001)
        assert (traces.min(), traces.max()) == (-32, 31)
        assert path.stat().st_size == 2 * 30_000 * 385 * 2


def test_a_recordings_row_holds_the_wires_bytes_against_the_limit() -> None:
    pictures = [Picture(2.0, 1.0, 29_000_000, 23_040_000, 7), Picture(3.0, 1.5, 33_000_000, 23_040_000, 7)]
    row = to_row(
        {"embedded": pictures[:1], "mount": pictures}, 600, 13_860_000_000, Download(13_860_000_000, 150.0), 26.0
    )
    assert [(verdict.value, verdict.is_reached) for verdict in row.verdicts] == [(29.0, True), (31.0, False)]
    assert "no less than 139 s" in row.notes[1]
    assert "75.0 × as long as the picture (embedded), 60.0 × as long as the picture (mount)" in row.notes[1]


def test_a_troubled_reading_is_cut_at_the_trouble() -> None:
    seconds = (0.5,) * 4 + (3.0,) + (0.5,) * 20
    ends = tuple(sum(seconds[: i + 1]) for i in range(len(seconds)))
    reading = Reading(seconds, 25_000_000, ends=ends)
    troubled = to_troubled(reading, trouble_at=2.0, sent_bytes=30_000_000)
    assert troubled.longest_stall_s == 3.0
    assert troubled.rate_after == pytest.approx(15 * 1.0 / 10.0)  # one part after 3 s, fourteen in the next 7
    assert troubled.bytes_ratio == pytest.approx(1.2)


def test_the_end_of_a_file_is_the_end_of_what_is_watched() -> None:
    reading = Reading((1.0,) * 4, 4_000_000, ends=(1.0, 2.0, 3.0, 4.0))
    assert to_troubled(reading, trouble_at=2.0, sent_bytes=0).rate_after == pytest.approx(1.0)


def test_a_file_read_whole_before_the_trouble_is_no_measurement() -> None:
    with pytest.raises(BenchError, match="before a provider failed"):
        to_troubled(Reading((1.0,) * 4, 4_000_000, ends=(1.0, 2.0, 3.0, 4.0)), trouble_at=4.0, sent_bytes=0)


@pytest.mark.parametrize("scale", [QUICK, FULL])
def test_a_provider_fails_while_the_file_is_read(scale: Scale) -> None:
    """What came down when the busiest of three lines was found, at their full rate, is less than the file."""
    size_bytes = min(scale.sizes["sequential"], scale.sizes["proxied"])
    assert TROUBLE_AT * size_bytes + BUSY_S * 3 * LINE_BYTES_PER_S < size_bytes / 2


def test_ours_is_held_against_the_best_of_the_others() -> None:
    ours = {"first byte": 50.0, "cold sequential": 90.0, "64 KiB at random": 30.0}
    medians: dict[tuple[str, str], float] = {}
    for measure, value in ours.items():
        medians[measure, "kacheryfs mount"] = value
        for other in ("rclone off", "btfs", "libtorrent"):
            medians[measure, other] = 2 * value if other == "btfs" else 1.5 * value
    medians["first byte", MAGNET] = 100.0
    assert [verdict.value for verdict in to_verdicts(medians)] == pytest.approx([1.5, 0.5, 1.5, 2.0])
