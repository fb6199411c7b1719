"""What of a meter's readings can be believed, and how much was drawn when.

A reading is accepted or held. The scan goes forward in time and remembers one thing only: the last accepted reading.
It looks ahead for one purpose: a lone register above its course is a spike when the next two are back on it. So a
history may be cut at any accepted reading that no later one can turn into a spike, and both parts judged as if whole.

What lies between accepted readings is spread over edges of time. All sums are whole numbers of 1e-9 of the meter's raw
unit: buckets add up exactly, however time is cut, and a window gives the same figures as the whole history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from energy.reading import Floats, Int16s, Int64s, Kind, MeterRules, Quality, Series
from energy.record import NO_RECORD, Decision, MeterRecord, Saying

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
    """Why a reading is kept out of the figures: until a person says what it was, or because one did."""

    REGISTER_FELL = "register-fell"
    RATE_ABOVE_LIMIT = "rate-above-limit"
    QUALITY_BAD = "quality-bad"
    NEGATIVE = "negative"
    ABOVE_ROLLOVER = "above-rollover"
    SPIKE = "spike"
    """Above the register's course, to which the next two readings returned."""
    DISCARDED = "discarded"
    """A person said that it was nothing."""
    AT_EXCHANGE = "at-exchange"
    """The record of an exchange says what the registers showed at that instant."""
    EXCHANGE_CONTRADICTED = "exchange-contradicted"
    """The old register's final value on the record is below what it showed before."""


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

    `series` are the readings judged: where an exchange is on record, what the old and the new register showed stands
    among them, two neighbouring microseconds; readings at just those instants are `set_aside`. `begins_nano`: from
    where, in 1e-9 units, what an accepted reading drew is counted, where it is not the one before.
    """

    series: Series
    accepted: Bools
    rolled_over: Bools
    reason_code: Int8s
    last: Accepted | None
    begins_nano: Mapping[int, int] = field(default_factory=dict)
    set_aside: tuple[Held, ...] = ()

    def held(self) -> list[Held]:
        """The held readings in order of time."""
        places = np.flatnonzero(self.reason_code).tolist()
        judged = [
            Held(i, int(self.series.at_us[i]), float(self.series.value[i]), REASONS[self.reason_code[i] - 1])
            for i in places
        ]
        return sorted([*judged, *self.set_aside], key=lambda one: one.at_us) if self.set_aside else judged

    def certain(self, rules: MeterRules) -> Bools:
        """Which accepted readings stay accepted whatever follows the series: no spike can be made of them any more."""
        if rules.kind is not Kind.REGISTER:
            return self.accepted
        discarded = self.reason_code == _CODE[HoldReason.DISCARDED]
        places = np.flatnonzero(_sound(self.series, rules) & ~discarded)
        following = np.searchsorted(places, np.arange(len(self.series)), side="right")
        settled = following + 1 < len(places)
        one = following + 1 == len(places)
        settled[one] = self.accepted[places[following[one]]]
        return self.accepted & settled


def assess(
    series: Series, rules: MeterRules, *, before: Accepted | None = None, record: MeterRecord = NO_RECORD
) -> Assessment:
    """Accept or hold each reading, knowing those before it only through the last accepted one.

    Held is what the gateway calls bad, what is negative, and what flowed faster than `max_rate_per_h`. The rate of a
    register is the mean since the last accepted reading; that of an interval its amount over the expected interval,
    whatever comes next, so that each is judged by itself; a rate is its own. A register is held too when it is not
    below `rolls_over_at`, or below the last accepted one without being a rollover, or when it is a lone one above the
    course to which the next two return. What is on record about a reading comes before all of this. Raises ValueError
    when `before` is not before the series.
    """
    if before is not None and len(series) and before.at_us >= series.at_us[0]:
        raise ValueError("the reading before a series must be earlier than its first")
    if rules.kind is not Kind.REGISTER:
        reason_code = _each(series, rules, record)
        accepted = reason_code == 0
        none = np.zeros(len(series), np.bool_)
        return Assessment(series, accepted, none, reason_code, _last(series, accepted, before))
    if not record.judges:
        reason_code, rolled_over = _scan(series, rules, before)
        accepted = reason_code == 0
        return Assessment(series, accepted, rolled_over, reason_code, _last(series, accepted, before))
    return _assess_on_record(series, rules, before, record)


@dataclass(slots=True)
class _OnRecord:
    """What the record says of the readings of a scan, by their places; and what the scan notes of it."""

    decided: dict[int, Decision] = field(default_factory=dict)
    old_final: frozenset[int] = frozenset()
    new_initial: frozenset[int] = frozenset()
    begins_nano: dict[int, int] = field(default_factory=dict)

    @property
    def places(self) -> Int64s:
        return np.array(sorted({*self.decided, *self.old_final, *self.new_initial}), np.int64)


def _assess_on_record(series: Series, rules: MeterRules, before: Accepted | None, record: MeterRecord) -> Assessment:
    whole, set_aside = _with_exchanges(series, record, before)
    times = whole.at_us
    finals = [one.at_us - 1 for one in record.exchanges]
    starts = [one.at_us for one in record.exchanges]
    decisions = {one.at_us: one for one in record.decisions}
    decided = np.flatnonzero(np.isin(times, list(decisions))).tolist()
    known = _OnRecord(
        {place: decisions[int(times[place])] for place in decided},
        frozenset(np.flatnonzero(np.isin(times, finals)).tolist()),
        frozenset(np.flatnonzero(np.isin(times, starts)).tolist()),
    )
    reason_code, rolled_over = _scan(whole, rules, before, known)
    accepted = reason_code == 0
    begins = {place: nano for place, nano in known.begins_nano.items() if accepted[place]}
    return Assessment(
        whole, accepted, rolled_over, reason_code, _last(whole, accepted, before), begins, tuple(set_aside)
    )


def _with_exchanges(series: Series, record: MeterRecord, before: Accepted | None) -> tuple[Series, list[Held]]:
    """The readings with what old and new registers showed among them; readings at these very instants set aside.

    An exchange that lies behind the last accepted reading is part of what that reading already says.
    """
    pairs = [
        point
        for one in record.exchanges_after(None if before is None else before.at_us + 1)
        for point in ((one.at_us - 1, one.old_final), (one.at_us, one.new_initial))
    ]
    if not pairs:
        return series, []
    times = np.array([at_us for at_us, _ in pairs], np.int64)
    aside = np.flatnonzero(np.isin(series.at_us, times))
    held = [Held(i, int(series.at_us[i]), float(series.value[i]), HoldReason.AT_EXCHANGE) for i in aside.tolist()]
    at_us = np.concatenate([np.delete(series.at_us, aside), times])
    value = np.concatenate([np.delete(series.value, aside), np.array([value for _, value in pairs], np.float64)])
    quality = np.concatenate([np.delete(series.quality, aside), np.zeros(len(pairs), np.int16)])
    order = np.argsort(at_us, kind="stable")
    return Series(at_us[order], value[order], quality[order]), held


def _last(series: Series, accepted: Bools, before: Accepted | None) -> Accepted | None:
    places = np.flatnonzero(accepted)
    if len(places):
        i = int(places[-1])
        held_after_us = int(series.at_us[i + 1]) if i + 1 < len(series) else None
        return Accepted(int(series.at_us[i]), float(series.value[i]), int(series.quality[i]), held_after_us)
    if before is None or before.held_after_us is not None or not len(series):
        return before
    return replace(before, held_after_us=int(series.at_us[0]))


def _each(series: Series, rules: MeterRules, record: MeterRecord) -> Int8s:
    """The verdicts on intervals or rates, each by itself."""
    found = np.zeros(len(series), np.int8)
    if rules.max_rate_per_h is not None:
        hours = rules.expected_us / HOUR_US if rules.kind is Kind.INTERVAL else 1.0
        found[series.value > rules.max_rate_per_h * hours] = _CODE[HoldReason.RATE_ABOVE_LIMIT]
    negative = series.value < 0
    found[negative] = _CODE[HoldReason.NEGATIVE]
    found[series.quality >= Quality.BAD] = _CODE[HoldReason.QUALITY_BAD]
    for decision in record.decisions:
        place = series.at_us == decision.at_us
        if decision.says is Saying.REAL:
            found[place & ~negative] = 0
        elif decision.says is Saying.DISCARD:
            found[place] = _CODE[HoldReason.DISCARDED]
    return found


_Point = tuple[int, float]
"""Time and value of an accepted register."""


def _scan(
    series: Series, rules: MeterRules, before: Accepted | None, known: _OnRecord | None = None
) -> tuple[Int8s, Bools]:
    """The verdicts on registers: whole runs of rising ones at once, one by one only where something is odd."""
    scan = _Scan(series, rules, before, known or _OnRecord())
    return scan.reason_code, scan.rolled_over


class _Scan:
    """One way through a series. Between odd places every reading is accepted and is no rollover."""

    def __init__(self, series: Series, rules: MeterRules, before: Accepted | None, known: _OnRecord) -> None:
        self.reason_code, self.rolled_over = np.zeros(len(series), np.int8), np.zeros(len(series), np.bool_)
        odd = np.flatnonzero(~_rises(series, rules, before))
        if known.decided or known.new_initial:
            odd = np.union1d(odd, known.places)
        if not len(odd):
            return
        self._rules, self._known, self._odd = rules, known, odd
        self._times, self._values = series.at_us.tolist(), series.value.tolist()
        self._qualities = series.quality.tolist()
        self._before = None if before is None else (before.at_us, before.value)
        self._sound_places = np.flatnonzero(_sound(series, rules))
        # Of accepted readings at odd places, the one accepted before; of others it is the reading just before.
        self._earlier: dict[int, int | None] = {}
        self._run()

    def _run(self) -> None:
        at, end = int(self._odd[0]), len(self._values)
        while at < end:  # here the reading just before `at`, or `before`, is accepted
            last = at - 1 if at else None
            at = self._until_accepted(at, last)
            following = int(np.searchsorted(self._odd, at))
            at = int(self._odd[following]) if following < len(self._odd) else end

    def _until_accepted(self, at: int, last: int | None) -> int:
        """Judge from `at` on until a reading is accepted; the place after it. `last`: the one accepted last."""
        lone = True  # whether the reading at hand is the first that means something after the last accepted one
        while at < len(self._values):
            reason = self._verdict(at, last)
            if reason is HoldReason.REGISTER_FELL and lone and self._was_spike(last, at):
                assert last is not None, "a spike is a reading"
                self.reason_code[last], self.rolled_over[last] = _CODE[HoldReason.SPIKE], False
                last = self._accepted_before(last)
                continue
            at += 1
            if reason is None:
                self._earlier[at - 1] = last
                return at
            self.reason_code[at - 1] = _CODE[reason]
            lone &= reason in _MEANS_NOTHING
        return at

    def _verdict(self, at: int, last: int | None) -> HoldReason | None:
        """Why the reading is held, if it is; notes how what it drew is counted."""
        known, point = self._known, self._point(last)
        known.begins_nano.pop(at, None)
        if at in known.new_initial:
            known.begins_nano[at] = _nano(self._values[at])
            return None
        decision = known.decided.get(at)
        if decision is not None and decision.says is Saying.DISCARD:
            return HoldReason.DISCARDED
        if decision is not None:
            return self._decided(at, point, decision)
        limited = replace(self._rules, max_rate_per_h=None) if at in known.old_final else self._rules
        reason, rolled = _judge(point, self._times[at], self._values[at], self._qualities[at], limited)
        self.rolled_over[at] = rolled and reason is None
        return HoldReason.EXCHANGE_CONTRADICTED if reason is not None and at in known.old_final else reason

    def _decided(self, at: int, point: _Point | None, decision: Decision) -> HoldReason | None:
        """What a person called real, a rollover, a reset or a new register's; where that cannot be, it stays held."""
        value, range_ = self._values[at], self._rules.rolls_over_at
        if value < 0:
            return HoldReason.NEGATIVE
        if range_ is not None and value >= range_:
            return HoldReason.ABOVE_ROLLOVER
        if point is None:
            return None
        if decision.says in (Saying.REAL, Saying.EXCHANGE):
            return None if value >= point[1] else HoldReason.REGISTER_FELL
        begins = _nano(decision.amount)
        if decision.says is Saying.ROLLOVER:
            begins = _nano(point[1]) - begins
        if begins > _nano(value):
            return HoldReason.REGISTER_FELL
        self._known.begins_nano[at] = begins
        return None

    def _was_spike(self, last: int | None, at: int) -> bool:
        """Whether the last accepted reading was a lone one above the course that the next two are on."""
        known = self._known
        if last is None or last in known.decided or last in known.new_initial or last in known.old_final:
            return False
        course = self._point(self._accepted_before(last))
        then = self._next_sound(at)
        if course is None or then is None or at in known.decided or then in known.decided:
            return False
        back, _ = _judge(course, *self._reading(at), self._rules)
        onward, rolled = _judge((self._times[at], self._values[at]), *self._reading(then), self._rules)
        if at in known.old_final:  # what a person read off is on the course, whatever follows
            return back is None
        return back is None and onward is None and not rolled and self._values[then] < self._values[last]

    def _next_sound(self, at: int) -> int | None:
        """The place of the next reading that says something of the course."""
        places = self._sound_places
        following = int(np.searchsorted(places, at, side="right"))
        while following < len(places) and self._discarded(int(places[following])):
            following += 1
        return int(places[following]) if following < len(places) else None

    def _discarded(self, at: int) -> bool:
        decision = self._known.decided.get(at)
        return decision is not None and decision.says is Saying.DISCARD

    def _accepted_before(self, at: int) -> int | None:
        return self._earlier[at] if at in self._earlier else (at - 1 if at else None)

    def _point(self, at: int | None) -> _Point | None:
        return self._before if at is None else (self._times[at], self._values[at])

    def _reading(self, at: int) -> tuple[int, float, int]:
        return self._times[at], self._values[at], self._qualities[at]


_MEANS_NOTHING = frozenset(
    {HoldReason.QUALITY_BAD, HoldReason.NEGATIVE, HoldReason.ABOVE_ROLLOVER, HoldReason.DISCARDED}
)
"""Reasons for which a reading says nothing about the course of its register."""


def _nano(value: float) -> int:
    """A raw value in whole 1e-9 units, as `spread` counts it."""
    return int(np.rint(value * NANO))


def _sound(series: Series, rules: MeterRules) -> Bools:
    """Which registers say something of their course, wherever it is."""
    fine: Bools = (series.quality < Quality.BAD) & (series.value >= 0)
    if rules.rolls_over_at is not None:
        fine &= series.value < rules.rolls_over_at
    return fine


def _rises(series: Series, rules: MeterRules, before: Accepted | None) -> Bools:
    """Which registers are accepted, and are no rollover, if the reading just before them is the last accepted one."""
    at_us, value = series.at_us, series.value
    fine = _sound(series, rules)
    fine[1:] &= value[1:] >= value[:-1]
    if rules.max_rate_per_h is not None:
        fine[1:] &= ~((value[1:] - value[:-1]) * HOUR_US > rules.max_rate_per_h * (at_us[1:] - at_us[:-1]))
    if before is not None and len(series):
        last = before.at_us, before.value
        reason, rolled = _judge(last, int(at_us[0]), float(value[0]), int(series.quality[0]), rules)
        fine[0] = reason is None and not rolled
    return fine


def _judge(
    last: _Point | None, at_us: int, value: float, quality: int, rules: MeterRules
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


def spread(assessment: Assessment, rules: MeterRules, edges_us: Int64s, *, before: Accepted | None = None) -> Spread:
    """Spread what the accepted readings say over the buckets between ascending edges.

    Between two registers the difference is even. It is an estimate when the readings are more than two expected
    intervals apart, when a held one lies between, when a person said that the register was reset or rolled over, or
    when the gateway marked either as estimated or suspect. An interval's amount is even from its time to the next
    reading, held or not, but over one expected interval at most; a rate is held likewise over two. Each of these is an
    estimate when its own quality says so.
    """
    make = _between_registers if rules.kind is Kind.REGISTER else _from_each
    stretches = make(assessment, rules, before)
    quantity = _fitted(np.diff(_passed(stretches, edges_us)))
    measured_us = np.diff(_time_passed(stretches, edges_us, ~stretches.estimated))
    estimated_us = np.diff(_time_passed(stretches, edges_us, stretches.estimated))
    return Spread(edges_us, quantity, measured_us, estimated_us)


def _between_registers(assessment: Assessment, rules: MeterRules, before: Accepted | None) -> _Stretches:
    series, places = assessment.series, np.flatnonzero(assessment.accepted)
    at_us, value, quality = series.at_us[places], series.value[places], series.quality[places]
    rolled, gap = assessment.rolled_over[places], np.diff(places) > 1
    begins = assessment.begins_nano
    said = np.isin(places, list(begins)) if begins else np.zeros(len(places), np.bool_)
    if before is not None and len(places):
        at_us, value, quality = _with_before(before, at_us, value, quality)
        rolled, said, places = np.r_[False, rolled], np.r_[False, said], np.r_[-1, places]
        gap = np.r_[bool(places[1] > 0) or before.held_after_us is not None, gap]
    doubtful = quality > Quality.GOOD
    length_us = np.diff(at_us)
    estimated = (length_us > HOLDS_FOR * rules.expected_us) | gap | doubtful[1:] | doubtful[:-1] | said[1:]
    drawn = _drawn(value, rolled[1:], rules)
    if begins:
        drawn = drawn.astype(np.object_)
        for place in np.flatnonzero(said[1:]).tolist():
            drawn[place] = _nano(float(value[place + 1])) - begins[int(places[place + 1])]
        drawn = _fitted(drawn)
        # Between the old register's last value and the new one's first, a microsecond later, nothing was drawn.
        estimated &= length_us > 1
    return _Stretches(at_us[:-1], at_us[1:], drawn, estimated)


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


def _from_each(assessment: Assessment, rules: MeterRules, before: Accepted | None) -> _Stretches:
    series = assessment.series
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
