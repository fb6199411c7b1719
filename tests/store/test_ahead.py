"""The next answer is being made while the one before is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from app.store.outlooks import ahead


class Work:
    """Jobs that note when they begin and end; a number named in `fails` raises."""

    def __init__(self, fails: int | None = None) -> None:
        self.seen: list[str] = []
        self.gates = [asyncio.Event() for _ in range(4)]
        self.fails = fails

    async def job(self, number: int) -> int:
        self.seen.append(f"begin {number}")
        try:
            await self.gates[number].wait()
        finally:
            self.seen.append(f"end {number}")
        if number == self.fails:
            raise LookupError(number)
        return number

    def jobs(self) -> Iterator[Coroutine[Any, Any, int]]:
        return (self.job(number) for number in range(len(self.gates)))

    def open_all(self) -> None:
        for gate in self.gates:
            gate.set()


async def test_answers_come_in_order_and_one_is_made_ahead() -> None:
    work = Work()
    work.gates[0].set()
    async with aclosing(ahead(work.jobs())) as answers:
        assert await anext(answers) == 0
        assert work.seen == ["begin 0", "end 0", "begin 1"], "the second is under way while the first is looked at"
        work.open_all()
        assert [answer async for answer in answers] == [1, 2, 3]


async def test_what_is_left_early_leaves_no_job_behind() -> None:
    work = Work()
    work.gates[0].set()
    async with aclosing(ahead(work.jobs())) as answers:
        assert await anext(answers) == 0
    assert work.seen[-1] == "end 1"
    assert len(asyncio.all_tasks()) == 1


async def test_a_job_that_fails_is_told_and_ends_the_following_one() -> None:
    work = Work(fails=1)
    work.open_all()
    work.gates[2].clear()
    with pytest.raises(LookupError):
        async with aclosing(ahead(work.jobs())) as answers:
            assert [answer async for answer in answers] == []
    assert "begin 3" not in work.seen
    assert len(asyncio.all_tasks()) == 1


async def test_no_job_is_no_answer() -> None:
    nothing: list[Coroutine[Any, Any, int]] = []
    assert [answer async for answer in ahead(nothing)] == []
