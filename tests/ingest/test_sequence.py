"""Which numbers are missing, for any order of arrival, and what is no gap at all."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sequence import GAPS_MAX, JUMP_MAX, Gap, follow, in_step

LONGEST = 150
"""Numbers 1 to 150 have at most 75 gaps: none is ever given up."""


def missing(gaps: list[Gap]) -> list[int]:
    return [seq for first, last in gaps for seq in range(first, last + 1)]


@given(
    st.lists(st.integers(1, LONGEST), min_size=1, max_size=LONGEST * 2),
    st.lists(st.integers(0, LONGEST * 2), max_size=5),
)
def test_the_gaps_are_the_numbers_below_the_highest_that_did_not_come(arrived: list[int], cuts: list[int]) -> None:
    last_seq: int | None = 0
    gaps: list[Gap] = []
    for start, end in pairwise([0, *sorted(cuts), len(arrived)]):
        last_seq, gaps, *_ = follow(last_seq, gaps, arrived[start:end])
    last_seq, gaps, *_ = follow(last_seq, gaps, arrived[max(cuts, default=0) :])
    assert last_seq == max(arrived)
    assert missing(gaps) == sorted(set(range(1, max(arrived))) - set(arrived))
    assert gaps == sorted(gaps)


@given(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 20)))
def test_numbers_that_lie_keep_few_gaps_below_the_last_number(seen: list[int]) -> None:
    last_seq, gaps, *_ = follow(None, [], seen)
    assert len(gaps) <= GAPS_MAX
    assert all(first <= last < (last_seq or 0) and last - first < JUMP_MAX for first, last in gaps)
    if not seen or seen[-1] > 1:  # a 0 or 1 after a thousand is a new count, also one that filled a gap a moment ago
        assert follow(last_seq, gaps, seen[-1:])[:2] == (last_seq, gaps)


def test_a_first_number_that_comes_twice_leaves_nothing_unasked() -> None:
    last_seq, gaps, *_ = follow(None, [], [0, 1000, 1, 1, 1001])
    assert (last_seq, gaps) == (1001, [(2, 1000)])


@given(st.none() | st.integers(0, 9), st.lists(st.integers(0, 9)))
def test_in_step_means_that_following_changes_no_gap(last_seq: int | None, seen: list[int]) -> None:
    if in_step(last_seq, seen):
        assert follow(last_seq, [], seen) == (seen[-1] if seen else last_seq, [], 0, [])


@pytest.mark.parametrize(
    ("last_seq", "seq", "expected"),
    [
        pytest.param(None, 4711, (4711, []), id="the first number ever"),
        pytest.param(5000, 1, (1, []), id="a new gateway counts from 1"),
        pytest.param(5000, 0, (0, []), id="or from 0"),
        pytest.param(999, 1, (999, [(7, 9)]), id="a repetition of a young count"),
        pytest.param(5000, 400, (5000, [(7, 9)]), id="a late repetition"),
        pytest.param(5000, 5000 + JUMP_MAX, (5000 + JUMP_MAX, [(7, 9), (5001, 4999 + JUMP_MAX)]), id="a wide gap"),
        pytest.param(5000, 5001 + JUMP_MAX, (5001 + JUMP_MAX, []), id="a jump too far to be a gap"),
        pytest.param(2**62, 5000, (5000, []), id="back from a lie"),
    ],
)
def test_one_number_after_the_last(last_seq: int | None, seq: int, expected: tuple[int, list[Gap]]) -> None:
    gaps = [] if last_seq is None else [(7, 9)]
    assert follow(last_seq, gaps, [seq])[:2] == expected


def test_of_too_many_gaps_the_oldest_are_given_up() -> None:
    every_other = list(range(1, 2 * GAPS_MAX + 8, 2))
    last_seq, gaps, dropped, _ = follow(1, [], every_other)
    assert (last_seq, len(gaps), dropped) == (every_other[-1], GAPS_MAX, 3)
    assert gaps[0] == (8, 8)


def test_where_a_count_began_anew_is_told() -> None:
    seen = [6, 1_000_000, 1_000_002, 1, 2, 4]
    followed = follow(5, [(2, 3)], seen)
    assert followed.anew == [(6, 1_000_000), (1_000_002, 1)]
    assert (followed.last_seq, followed.gaps) == (4, [(3, 3)])
    assert follow(None, [], [7]).anew == []
