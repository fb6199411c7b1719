"""What the process keeps is never wrong for its mark, and never makes the same thing twice at once."""

from __future__ import annotations

import asyncio

import pytest

from app.api.board import AGES_S, KEPT_MAX, OLDEST_MARKED_S, OLDEST_S, Board
from tests.wait import soon


class Maker:
    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> int:
        self.made += 1
        await asyncio.sleep(0)
        return self.made


async def test_a_value_is_made_once_for_a_mark_and_anew_for_another() -> None:
    board, make = Board(), Maker()
    assert await asyncio.gather(*(board.marked("a", 1, make) for _ in range(5))) == [1] * 5
    assert await board.marked("a", 2, make) == 2
    assert await board.marked("b", 2, make) == 3
    assert await board.marked("a", 2, make) == 2


async def test_what_was_right_a_moment_ago_is_shown_while_the_new_one_is_made() -> None:
    now_s = 0.0
    board, make = Board(2.0, lambda: now_s), Maker()
    assert await board.marked("a", 1, make) == 1
    now_s = 50.0
    assert await board.marked("a", 1, make) == 1, "as long as its mark stands still"
    now_s = 51.5
    assert [await board.marked("a", 2, make) for _ in range(3)] == [1, 1, 1]
    await soon(lambda: not board.renewing, "the value is made anew")
    assert [await board.marked("a", 2, make) for _ in range(2)] == [2, 2]


async def test_what_ages_is_made_anew_behind_the_answer_though_its_mark_stands_still() -> None:
    now_s = 0.0
    board, make = Board(2.0, lambda: now_s), Maker()
    await board.marked("a", 1, make)
    now_s = AGES_S
    assert await board.marked("a", 1, make) == 1
    await soon(lambda: not board.renewing, "the value is made anew")
    assert await board.marked("a", 1, make) == 2
    now_s = AGES_S + OLDEST_MARKED_S
    assert await asyncio.gather(*(board.marked("a", 1, make) for _ in range(5))) == [3] * 5, "too old to be shown"


async def test_what_was_last_right_too_long_ago_is_waited_for() -> None:
    now_s = 0.0
    board, make = Board(2.0, lambda: now_s), Maker()
    await board.marked("a", 1, make)
    now_s = 2.0
    assert await board.marked("a", 2, make) == 2


async def test_a_mark_that_never_rests_does_not_keep_the_database_at_it_all_the_time() -> None:
    now_s = 0.0
    board, make = Board(2.0, lambda: now_s), Maker()
    shown = []
    for tenth in range(41):
        now_s = tenth / 10
        shown.append(await board.marked("a", tenth, make))
        await soon(lambda: not board.renewing, "nothing is under way")
    assert make.made == 5
    assert shown == sorted(shown)


async def test_what_has_no_mark_is_renewed_behind_the_answer() -> None:
    now_s = 0.0
    board, make = Board(2.0, lambda: now_s), Maker()
    assert [await board.recent("a", make) for _ in range(3)] == [1, 1, 1]
    now_s = 3.0
    assert await board.recent("a", make) == 1
    await soon(lambda: not board.renewing, "the value is made anew")
    assert await board.recent("a", make) == 2
    now_s = 3.0 + OLDEST_S
    assert await board.recent("a", make) == 3, "too old to be shown"


async def test_a_crowd_that_finds_nothing_fresh_enough_has_it_made_once() -> None:
    now_s = 0.0
    board, make = Board(2.0, lambda: now_s), Maker()
    assert await asyncio.gather(*(board.recent("a", make) for _ in range(5))) == [1] * 5
    now_s = OLDEST_S
    assert await asyncio.gather(*(board.recent("a", make) for _ in range(5))) == [2] * 5


async def test_what_cannot_be_made_leaves_nothing_behind() -> None:
    async def failing() -> int:
        raise OSError("away")

    board, make = Board(2.0), Maker()
    for ask in (board.recent("a", failing), board.marked("a", 1, failing)):
        with pytest.raises(OSError, match="away"):
            await ask
    assert await board.recent("a", make) == 1
    assert await board.marked("b", 1, make) == 2


async def test_without_leave_nothing_old_is_shown() -> None:
    board, make = Board(), Maker()
    assert [await board.recent("a", make) for _ in range(3)] == [1, 2, 3]


async def test_what_cannot_be_made_is_told_to_whoever_asks_next() -> None:
    now_s = 0.0
    board, make = Board(1.0, lambda: now_s), Maker()
    await board.recent("a", make)
    now_s = 2.0

    async def failing() -> int:
        raise OSError("away")

    assert await board.recent("a", failing) == 1
    await soon(lambda: not board.renewing, "the attempt has failed")
    assert await board.recent("a", make) == 2


async def test_the_memory_is_bounded() -> None:
    board, make = Board(), Maker()
    for key in range(KEPT_MAX + 10):
        await board.marked(key, 1, make)
    assert await board.marked(KEPT_MAX + 9, 1, make) == KEPT_MAX + 10
    assert await board.marked(0, 1, make) == KEPT_MAX + 11
