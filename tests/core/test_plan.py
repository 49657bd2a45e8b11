"""A run is what is wanted from its first block on, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kacheryfs.core.plan import grow_run

BLOCKS = st.sets(st.integers(0, 200)).map(sorted)


@given(BLOCKS, st.integers(0, 200), st.integers(1, 20))
def test_a_run_begins_where_it_is_told_and_ends_before_the_first_unwanted(
    blocks: list[int], start: int, max_blocks: int
) -> None:
    wanted = set(blocks)
    run = grow_run(start, wanted.__contains__, max_blocks)
    assert run.start == start
    assert 1 <= len(run) <= max_blocks
    assert set(list(run)[1:]) <= wanted
    assert len(run) == max_blocks or run.stop not in wanted
