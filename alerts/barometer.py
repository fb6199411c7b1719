"""The county's warning (晴雨表): a colour, what it means and why. Pure.

A bare number says nothing: the national 晴雨表 has 一级 for the worst, others count the other way. So the colour comes
first, and the region's own name for it beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alerts.rule import AlertSettings, Level

MEANINGS: Mapping[Level, tuple[str, str]] = {
    Level.GREEN: ("on track for the incentive target", "进展总体顺利，预计达到激励目标"),
    Level.YELLOW: ("the base target will be met, the incentive target not", "预计达到基本目标，达不到激励目标"),
    Level.ORANGE: ("the base target will be missed", "形势比较严峻，预计达不到基本目标"),
    Level.RED: ("the base target will be missed by far", "形势十分严峻，预计明显突破基本目标"),
}


WORTH_A_WORD = 0.01
"""What is assumed for days without data is named from this share of the projection on."""


@dataclass(frozen=True, slots=True)
class RegionOutlook:
    """A region's key units together, in the unit of the target.

    `base` and `incentive`: the target of the year and the better one that is rewarded. `cover`: measured share of the
    last 30 days over its units, 0..1; `units`: how many have a budget and are in the projection; `assumed`: how much of
    the projection stands for days that are over and were not measured.
    """

    base: float
    incentive: float
    projected: float
    spent: float
    planned: float
    units: int
    cover: float
    assumed: float = 0.0


@dataclass(frozen=True, slots=True)
class Barometer:
    """The colour, the region's name for it, what it means and why, in English and Chinese."""

    level: Level
    number: str
    meaning: str
    meaning_zh: str
    reason: str
    reason_zh: str


def warn(settings: AlertSettings, outlook: RegionOutlook, unit: str) -> Barometer:
    """What the region is shown."""
    level = _level(settings, outlook)
    meaning, meaning_zh = MEANINGS[level]
    against = outlook.incentive if level is Level.GREEN else outlook.base
    gap = outlook.projected - against
    share = abs(gap) / against
    word, word_zh = ("base", "基本目标") if against == outlook.base else ("incentive", "激励目标")
    side, side_zh = ("above", "高于") if gap > 0 else ("below", "低于")
    reason = (
        f"{outlook.units} units are projected to end at {outlook.projected:,.0f} {unit}, {share:.1%} {side} the {word} "
        f"target of {against:,.0f} {unit}; used so far {outlook.spent:,.0f}, planned {outlook.planned:,.0f}"
    )
    reason_zh = (
        f"{outlook.units} 家用能单位预计全年 {outlook.projected:,.0f} {unit}，{side_zh}{word_zh} {against:,.0f} {unit} "
        f"{share:.1%}；累计 {outlook.spent:,.0f}，计划进度 {outlook.planned:,.0f}"
    )
    if outlook.cover < settings.cover_min:
        reason += f"; only {outlook.cover:.0%} of the last 30 days was measured"
        reason_zh += f"；近30日实测覆盖率仅 {outlook.cover:.0%}"
    if outlook.assumed > WORTH_A_WORD * outlook.projected:
        reason += f"; {outlook.assumed:,.0f} {unit} of it are assumed for days that were not measured"
        reason_zh += f"；其中 {outlook.assumed:,.0f} {unit} 为未计量天数的估计值"
    return Barometer(level, settings.barometer_names()[level], meaning, meaning_zh, reason, reason_zh)


def _level(settings: AlertSettings, outlook: RegionOutlook) -> Level:
    if outlook.projected > outlook.base * settings.barometer_red:
        return Level.RED
    if outlook.projected > outlook.base * settings.barometer_orange:
        return Level.ORANGE
    return Level.YELLOW if outlook.projected > outlook.incentive else Level.GREEN
