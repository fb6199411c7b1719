"""What of a meter's readings can be believed, and how much was drawn when.

A reading is accepted or held. The scan goes forward in time and remembers one thing only: the last accepted reading.
So a history may be cut at any accepted reading, and both parts judged as if they were whole.

What lies between accepted readings is spread over edges of time. All sums are whole numbers of 1e-9 of the meter's raw
unit: buckets add up exactly, however time is cut, and a window gives the same figures as the whole history.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from energy.reading import Floats, Int16s, Int64s, Kind, MeterRules, Quality, Series

HOUR_US = 3_600_000_000
NANO = 1e9
LAST_TENTH, FIRST_TENTH = 0.9, 0.1
"""Where a register must have been, and be, as shares of its range, for a fall to be a rollover."""
HOLDS_FOR = 2
"""A rate stands for at most so many expected intervals; a longer stretch between registers is an estimate."""
SAFE_NANO = 2**62
"""Sums below this fit into int64; what may be larger is counted in Python's own integers."""

Bools = npt.NDArray[np.bool_]
Int8s = npt.NDArray[np.int8]
Whole = npt.NDArray[np.int64] | npt.NDArray[np.object_]


class HoldReason(StrEnum):
    """Why a reading is kept out of the figures until a person says what it was."""

    REGISTER_FELL = "register-fell"
    RATE_ABOVE_LIMIT = "rate-above-limit"
    QUALITY_BAD = "quality-bad"
    NEGATIVE = "negative"
    ABOVE_ROLLOVER = "above-rollover"


REASONS = tuple(HoldReason)
_CODE = {reason: code for code, reason in enumerate(REASONS, start=1)}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The last accepted reading before a series: all that is carried from one part of a history to the next.

    `held_after_us` is the time of the first held reading after it that still lies before the series; None: none does.
    """

    at_us: int
    value: float
    quality: int = 0
    held_after_us: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A held reading; `index` is its place in the series."""

    index: int
    at_us: int
    value: float
    reason: HoldReason


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """The verdict on each of n readings.

    `reason_code` is 0 for an accepted reading, else 1 + the place of the reason in REASONS. `rolled_over` marks
    accepted registers that began again at zero since the one before. `last` is `before` of the part that follows.
    """

    series: Series
    accepted: Bools
    rolled_over: Bools
    reason_code: Int8s
    last: Accepted | None

    def held(self) -> list[Held]:
        """The held readings in order of time."""
        places = np.flatnonzero(self.reason_code).tolist()
        return [
            Held(i, int(self.series.at_us[i]), float(self.series.value[i]), REASONS[self.reason_code[i] - 1])
            for i in places
        ]


def assess(series: Series, rules: MeterRules, *, before: Accepted | None = None) -> Assessment:
    """Accept or hold each reading, knowing those before it only through the last accepted one.

    Held is what the gateway calls bad, what is negative, and what flowed faster than `max_rate_per_h`. The rate of a
    register is the mean since the last accepted reading; that of an interval its amount over the expected interval,
    whatever comes next, so that each is judged by itself; a rate is its own. A register is held too when it is not
    below `rolls_over_at`, or below the last accepted one without being a rollover. Raises ValueError when `before` is
    not before the series.
    """
    if before is not None and len(series) and before.at_us >= series.at_us[0]:
        raise ValueError("the reading before a series must be earlier than its first")
    if rules.kind is Kind.REGISTER:
        reason_code, rolled_over = _scan(series, rules, before)
    else:
        reason_code, rolled_over = _each(series, rules), np.zeros(len(series), np.bool_)
    accepted = reason_code == 0
    return Assessment(series, accepted, rolled_over, reason_code, _last(series, accepted, before))


def _last(series: Series, accepted: Bools, before: Accepted | None) -> Accepted | None:
    places = np.flatnonzero(accepted)
    if len(places):
        i = int(places[-1])
        held_after_us = int(series.at_us[i + 1]) if i + 1 < len(series) else None
        return Accepted(int(series.at_us[i]), float(series.value[i]), int(series.quality[i]), held_after_us)
    if before is None or before.held_after_us is not None or not len(series):
        return before
    return replace(before, held_after_us=int(series.at_us[0]))


def _each(series: Series, rules: MeterRules) -> Int8s:
    """The verdicts on intervals or rates, each by itself."""
    found = np.zeros(len(series), np.int8)
    if rules.max_rate_per_h is not None:
        hours = rules.expected_us / HOUR_US if rules.kind is Kind.INTERVAL else 1.0
        found[series.value > rules.max_rate_per_h * hours] = _CODE[HoldReason.RATE_ABOVE_LIMIT]
    found[series.value < 0] = _CODE[HoldReason.NEGATIVE]
    found[series.quality >= Quality.BAD] = _CODE[HoldReason.QUALITY_BAD]
    return found


def _scan(series: Series, rules: MeterRules, before: Accepted | None) -> tuple[Int8s, Bools]:
    """The verdicts on registers: whole runs of rising ones at once, one by one only where something is odd."""
    reason_code, rolled_over = np.zeros(len(series), np.int8), np.zeros(len(series), np.bool_)
    odd = np.flatnonzero(~_rises(series, rules, before))
    if not len(odd):
        return reason_code, rolled_over
    times, values, qualities = series.at_us.tolist(), series.value.tolist(), series.quality.tolist()
    last = None if before is None else (before.at_us, before.value)
    at = int(odd[0])
    while at < len(values):  # here the reading just before `at`, or `before`, is accepted
        last = (times[at - 1], values[at - 1]) if at else last
        while at < len(values):
            reason, rolled = _judge(last, times[at], values[at], qualities[at], rules)
            at += 1
            if reason is None:
                rolled_over[at - 1] = rolled
                break
            reason_code[at - 1] = _CODE[reason]
        following = int(np.searchsorted(odd, at))
        at = int(odd[following]) if following < len(odd) else len(values)
    return reason_code, rolled_over


def _rises(series: Series, rules: MeterRules, before: Accepted | None) -> Bools:
    """Which registers are accepted, and are no rollover, if the reading just before them is the last accepted one."""
    at_us, value = series.at_us, series.value
    fine: Bools = (series.quality < Quality.BAD) & (value >= 0)
    if rules.rolls_over_at is not None:
        fine &= value < rules.rolls_over_at
    fine[1:] &= value[1:] >= value[:-1]
    if rules.max_rate_per_h is not None:
        fine[1:] &= ~((value[1:] - value[:-1]) * HOUR_US > rules.max_rate_per_h * (at_us[1:] - at_us[:-1]))
    if before is not None and len(series):
        last = before.at_us, before.value
        reason, rolled = _judge(last, int(at_us[0]), float(value[0]), int(series.quality[0]), rules)
        fine[0] = reason is None and not rolled
    return fine


def _judge(
    last: tuple[int, float] | None, at_us: int, value: float, quality: int, rules: MeterRules
) -> tuple[HoldReason | None, bool]:
    """Why this register is held, if it is; and whether it rolled over. `last`: time and value accepted last."""
    range_ = rules.rolls_over_at
    if quality >= Quality.BAD:
        return HoldReason.QUALITY_BAD, False
    if value < 0:
        return HoldReason.NEGATIVE, False
    if range_ is not None and value >= range_:
        return HoldReason.ABOVE_ROLLOVER, False
    if last is None:
        return None, False
    drawn, rolled = value - last[1], False
    if drawn < 0:
        # A device that forgot its count, or was exchanged, starts again near zero too, but from anywhere.
        if range_ is None or last[1] < LAST_TENTH * range_ or value >= FIRST_TENTH * range_:
            return HoldReason.REGISTER_FELL, False
        drawn, rolled = drawn + range_, True
    if rules.max_rate_per_h is not None and drawn * HOUR_US > rules.max_rate_per_h * (at_us - last[0]):
        return HoldReason.RATE_ABOVE_LIMIT, False
    return None, rolled


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """What m buckets between m + 1 ascending edges hold.

    `quantity_nano` counts 1e-9 of the raw unit. `measured_us` and `estimated_us` say how much of the bucket's time the
    quantity covers, and how surely; the rest of its time is missing.
    """

    edges_us: Int64s
    quantity_nano: Whole
    measured_us: Int64s
    estimated_us: Int64s


@dataclass(frozen=True, slots=True, eq=False)
class _Stretches:
    """Amounts, each even over [begin, end); they do not overlap, and ascend."""

    begin_us: Int64s
    end_us: Int64s
    amount: Whole
    estimated: Bools


def spread(
    series: Series,
    assessment: Assessment,
    rules: MeterRules,
    edges_us: Int64s,
    *,
    before: Accepted | None = None,
) -> Spread:
    """Spread what the accepted readings say over the buckets between ascending edges.

    Between two registers the difference is even. It is an estimate when the readings are more than two expected
    intervals apart, when a held one lies between, or when the gateway marked either as estimated or suspect. An
    interval's amount is even from its time to the next reading, held or not, but over one expected interval at most;
    a rate is held likewise over two. Each of these is an estimate when its own quality says so.
    """
    make = _between_registers if rules.kind is Kind.REGISTER else _from_each
    stretches = make(series, assessment, rules, before)
    quantity = _fitted(np.diff(_passed(stretches, edges_us)))
    measured_us = np.diff(_time_passed(stretches, edges_us, ~stretches.estimated))
    estimated_us = np.diff(_time_passed(stretches, edges_us, stretches.estimated))
    return Spread(edges_us, quantity, measured_us, estimated_us)


def _between_registers(
    series: Series, assessment: Assessment, rules: MeterRules, before: Accepted | None
) -> _Stretches:
    places = np.flatnonzero(assessment.accepted)
    at_us, value, quality = series.at_us[places], series.value[places], series.quality[places]
    rolled, gap = assessment.rolled_over[places], np.diff(places) > 1
    if before is not None and len(places):
        at_us, value, quality = _with_before(before, at_us, value, quality)
        rolled = np.r_[False, rolled]
        gap = np.r_[bool(places[0] > 0) or before.held_after_us is not None, gap]
    doubtful = quality > Quality.GOOD
    estimated = (np.diff(at_us) > HOLDS_FOR * rules.expected_us) | gap | doubtful[1:] | doubtful[:-1]
    return _Stretches(at_us[:-1], at_us[1:], _drawn(value, rolled[1:], rules), estimated)


def _with_before(before: Accepted, at_us: Int64s, value: Floats, quality: Int16s) -> tuple[Int64s, Floats, Int16s]:
    return (
        np.concatenate([np.array([before.at_us], np.int64), at_us]),
        np.concatenate([np.array([before.value], np.float64), value]),
        np.concatenate([np.array([before.quality], np.int16), quality]),
    )


def _drawn(value: Floats, rolled: Bools, rules: MeterRules) -> Whole:
    """What neighbouring registers differ by, a rollover undone."""
    range_nano = round(rules.rolls_over_at * NANO) if rules.rolls_over_at is not None and rolled.any() else 0
    drawn = np.diff(_whole(np.rint(value * NANO), range_nano))
    if range_nano:
        drawn[rolled] += range_nano
    return _fitted(drawn)


def _from_each(series: Series, assessment: Assessment, rules: MeterRules, before: Accepted | None) -> _Stretches:
    at_us, value, quality, counts = series.at_us, series.value, series.quality, assessment.accepted
    if before is not None:
        if before.held_after_us is not None:
            at_us, value, quality = _with_before(Accepted(before.held_after_us, 0.0), at_us, value, quality)
            counts = np.r_[False, counts]
        at_us, value, quality = _with_before(before, at_us, value, quality)
        counts = np.r_[True, counts]
    longest_us = reach_us(rules)
    end_us = at_us + longest_us
    end_us[:-1] = np.minimum(end_us[:-1], at_us[1:])
    begin_us, end_us, value = at_us[counts], end_us[counts], value[counts]
    # value × hours × 1e9, with the powers of ten taken out of 3.6e9 µs an hour first
    nano = value * (end_us - begin_us) / 3.6 if rules.kind is Kind.RATE else value * NANO
    return _Stretches(begin_us, end_us, _fitted(_whole(np.rint(nano))), quality[counts] > Quality.GOOD)


def _passed(stretches: _Stretches, edges_us: Int64s) -> Whole:
    """What has been drawn by each edge since the first stretch began."""
    amount, length_us = stretches.amount, stretches.end_us - stretches.begin_us
    within, gone_us, some = _where(stretches, edges_us)
    share = np.rint(amount[within].astype(np.float64) * (gone_us / length_us[within]))
    part = np.where(gone_us == length_us[within], amount[within], _whole(share))
    earlier = np.concatenate([np.zeros(1, amount.dtype), np.cumsum(amount)])
    passed = np.zeros(len(edges_us), np.result_type(earlier.dtype, part.dtype))
    passed[some] = earlier[within] + part
    return passed


def _time_passed(stretches: _Stretches, edges_us: Int64s, counts: Bools) -> Int64s:
    """How many microseconds of the counted stretches have passed by each edge."""
    length_us = np.where(counts, stretches.end_us - stretches.begin_us, 0)
    within, gone_us, some = _where(stretches, edges_us)
    earlier = np.concatenate([np.zeros(1, np.int64), np.cumsum(length_us)])
    passed = np.zeros(len(edges_us), np.int64)
    passed[some] = earlier[within] + np.where(counts[within], gone_us, 0)
    return passed


def _where(stretches: _Stretches, edges_us: Int64s) -> tuple[Int64s, Int64s, Bools]:
    """For edges with a stretch that began by then: its place and how much of it is gone; and which edges those are."""
    begun = np.searchsorted(stretches.begin_us, edges_us, side="right") - 1
    some = begun >= 0
    within = begun[some]
    gone_us = np.minimum(edges_us[some], stretches.end_us[within]) - stretches.begin_us[within]
    return within, gone_us, some


def _whole(numbers: Floats, further: int = 0) -> Whole:
    """Whole-valued floats as integers; wide ones when one of them plus `further` could leave int64."""
    if float(np.abs(numbers).max(initial=0)) + further < SAFE_NANO:
        return numbers.astype(np.int64)
    return np.array([int(number) for number in numbers.tolist()], np.object_)


def _fitted(numbers: Whole) -> Whole:
    """The same integers: int64 when even their sum fits, wide ones when not."""
    fits = float(np.abs(numbers.astype(np.float64)).sum()) < SAFE_NANO
    return numbers.astype(np.int64) if fits else numbers.astype(np.object_)


def reach_us(rules: MeterRules) -> int:
    """How far after its own time a reading can cover by itself, in microseconds; 0 for a register."""
    if rules.kind is Kind.REGISTER:
        return 0
    return rules.expected_us * (HOLDS_FOR if rules.kind is Kind.RATE else 1)


def touched_us(
    rules: MeterRules, first_us: int, last_us: int, *, previous_us: int | None, next_us: int | None
) -> tuple[int, int]:
    """The half-open range in which figures can change when readings from first to last were added or changed.

    For a register, previous and next are its accepted neighbours; next the first later reading that was accepted
    before and still is. For the others they are the neighbours, if known: they only make the range shorter.
    """
    if rules.kind is Kind.REGISTER:
        return (first_us if previous_us is None else previous_us), (last_us + 1 if next_us is None else next_us)
    reach = reach_us(rules)
    # A reading cuts the one before it short, so an amount that was even over a longer time moves as a whole.
    start_us = first_us - reach if previous_us is None else previous_us
    if previous_us is not None and previous_us + reach <= first_us:
        start_us = first_us
    return start_us, (last_us + reach if next_us is None else min(last_us + reach, next_us))
