"""What an alert is measured against: thresholds, hold times, steps of escalation and limits, as one frozen value.

None of these numbers is law. No official warning threshold for single enterprises is published, so each is a setting of
the supervisor, kept in versions, and every evaluation says which version it used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from datetime import date
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any


class Level(IntEnum):
    """How bad it is. People are shown colours: numbers run in opposite directions in different provinces."""

    GREEN = 0
    YELLOW = 1
    ORANGE = 2
    RED = 3

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Level:
        """Raises ValueError for a word that is no colour."""
        try:
            return cls[word.upper()]
        except KeyError as error:
            raise ValueError(f"{word!r} is no level; choose from {', '.join(one.word for one in cls)}") from error


RAISED = (Level.YELLOW, Level.ORANGE, Level.RED)


class Kind(StrEnum):
    """What an alert is about."""

    TREND = "trend"
    ACTUAL = "actual"
    PERIOD = "period"
    DATA = "data"
    BENCHMARK = "benchmark"
    METER = "meter"
    INTEGRITY = "integrity"


class Role(StrEnum):
    """Who is told. The first three are contacts of the enterprise, the others of the regions it lies in."""

    MANAGER = "energy_manager"
    DEPUTY = "deputy"
    LEGAL = "legal_representative"
    COUNTY = "county"
    CITY = "city"
    PROVINCE = "province"


class WrongRule(ValueError):
    """Settings that cannot be used. Attributes: setting, why."""

    def __init__(self, setting: str, why: str) -> None:
        self.setting, self.why = setting, why
        super().__init__(f"{setting}: {why}")


def _share(default: float, en: str, zh: str) -> Any:
    return field(default=default, metadata={"unit": "1", "least": 0.0, "most": 1.0, "en": en, "zh": zh})


def _number(default: float, unit: str, least: float, most: float, en: str, zh: str) -> Any:
    return field(default=default, metadata={"unit": unit, "least": least, "most": most, "en": en, "zh": zh})


def _month_day(default: str, en: str, zh: str) -> Any:
    return field(default=default, metadata={"unit": "MM-DD", "en": en, "zh": zh})


def _steps(default: str, en: str, zh: str) -> Any:
    return field(default=default, metadata={"unit": "days:role[+role],…", "en": en, "zh": zh})


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """One version of a supervisor's settings; each field says in its metadata what it means. Raises WrongRule."""

    trend_yellow_on: float = _share(
        0.65, "trend: P(over budget) from which yellow is raised", "趋势预警升为黄色的超预算概率"
    )
    trend_yellow_off: float = _share(0.40, "trend: P below which yellow is cleared", "趋势预警解除黄色的概率")
    trend_orange_on: float = _share(0.85, "trend: P from which orange is raised", "趋势预警升为橙色的概率")
    trend_orange_off: float = _share(0.55, "trend: P below which orange is lowered", "趋势预警解除橙色的概率")
    trend_red_on: float = _share(0.98, "trend: P from which red is raised", "趋势预警升为红色的概率")
    trend_red_off: float = _share(0.80, "trend: P below which red is lowered", "趋势预警解除红色的概率")
    confirm_days: int = _number(
        7, "d", 1, 60, "trend: daily evaluations in a row that raise a level", "趋势预警升级须连续满足的天数"
    )
    clear_days: int = _number(
        7, "d", 1, 60, "trend: daily evaluations in a row that lower a level", "趋势预警降级须连续满足的天数"
    )
    month_close_day: int = _number(
        5,
        "day of month",
        1,
        28,
        "trend: on this day the month before is closed; one evaluation confirms",
        "月结日：当日一次评估即可确认升级",
    )
    yellow_from: str = _month_day(
        "03-01", "trend: no yellow before this day of the year", "每年此日之前不发黄色趋势预警"
    )
    orange_from: str = _month_day(
        "03-31",
        "trend: no orange or red before this day; the Spring Festival moves",
        "每年此日之前不发橙色、红色趋势预警（春节影响）",
    )
    actual_yellow_share: float = _share(
        0.80, "actual: share of the budget used, if ahead of plan", "实际用能达预算此比例且超前于计划时为黄色"
    )
    actual_orange_share: float = _share(0.95, "actual: share of the budget used", "实际用能达预算此比例为橙色")
    actual_orange_left: float = _share(
        0.05, "actual: orange only while more than this share of the year is left", "仅当年内剩余时间多于此比例时为橙色"
    )
    period_over: float = _number(
        1.05,
        "1",
        1.0,
        10.0,
        "period: a month above this multiple of its plan is yellow, two in a row orange",
        "月度用能超过月计划此倍数为黄色，连续两月为橙色",
    )
    period_quarter_red: float = _number(
        1.15,
        "1",
        1.0,
        10.0,
        "period: a quarter above this multiple of its plan is red",
        "季度用能超过季计划此倍数为红色",
    )
    data_grace_h: float = _number(
        6,
        "h",
        0,
        240,
        "data: yellow when the newest reading is later than one interval and this",
        "数据迟到超过一个周期加此时长为黄色",
    )
    data_orange_days: float = _number(
        7, "d", 0.5, 365, "data: days without a reading for orange", "无数据达此天数为橙色"
    )
    data_red_days: float = _number(15, "d", 0.5, 365, "data: days without a reading for red", "无数据达此天数为红色")
    data_suspect_share: float = _share(
        0.05, "data: share of the last 30 days' readings that are held, for orange", "近30日可疑数据比例超过此值为橙色"
    )
    cover_min: float = _share(
        0.90,
        "below this measured share of the last 30 days a trend is held, neither raised nor cleared",
        "近30日实测覆盖率低于此值时保持原级别",
    )
    unmeasured_max: float = _share(
        0.33,
        "trend: held while more than this share of the year's elapsed days was not measured",
        "年内已过天数中未计量比例高于此值时保持趋势预警原级别",
    )
    red_estimated_max: float = _share(
        0.05,
        "no trend red while more than this share of the last 30 days is estimated",
        "近30日估算比例高于此值时不发红色趋势预警",
    )
    benchmark_orange: float = _number(
        1.05,
        "1",
        1.0,
        10.0,
        "benchmark: unit energy over this multiple of 基准 is orange; over 基准 yellow",
        "单耗超过基准水平此倍数为橙色（超过基准为黄色）",
    )
    benchmark_red: float = _number(
        1.15, "1", 1.0, 10.0, "benchmark: unit energy over this multiple of 基准 is red", "单耗超过基准水平此倍数为红色"
    )
    meter_yellow_days: int = _number(
        60, "d", 1, 730, "meter: days before calibration lapses, yellow", "检定到期前此天数为黄色"
    )
    meter_orange_days: int = _number(
        30, "d", 1, 730, "meter: days before calibration lapses, orange", "检定到期前此天数为橙色"
    )
    meter_red_days: int = _number(
        0, "d", -365, 365, "meter: days before calibration lapses, red", "检定到期前此天数为红色（0 为已到期）"
    )
    ack_days: int = _number(30, "d", 1, 365, "an acknowledgement holds this long", "确认的有效天数")
    silence_enterprise_days: int = _number(
        14, "d", 1, 30, "longest silence by the enterprise itself", "企业自行静默最长天数"
    )
    silence_days: int = _number(30, "d", 1, 90, "longest silence by the supervisor", "监管部门静默最长天数")
    escalate_orange: str = _steps(
        "0:energy_manager+deputy,3:legal_representative+county,7:city",
        "orange: working days unacknowledged → who is told",
        "橙色：未确认的工作日数 → 通知对象",
    )
    escalate_red: str = _steps(
        "0:energy_manager+county,2:legal_representative+city,5:province",
        "red: working days unacknowledged → who is told",
        "红色：未确认的工作日数 → 通知对象",
    )
    mails_per_hour: int = _number(
        5,
        "1/h",
        1,
        1000,
        "immediate mails a recipient gets an hour; red passes",
        "每名收件人每小时即时邮件上限（红色不限）",
    )
    mails_per_day: int = _number(
        20, "1/d", 1, 1000, "immediate mails a recipient gets a day", "每名收件人每日即时邮件上限"
    )
    grouped_top: int = _number(
        50,
        "1",
        1,
        500,
        "enterprises listed in a grouped mail; the rest is a CSV",
        "汇总邮件正文列出的企业数，其余见附件",
    )
    barometer_orange: float = _number(
        1.0,
        "1",
        1.0,
        10.0,
        "region: projection over this multiple of the base target is orange",
        "区域预计总量超过基本目标此倍数为橙色",
    )
    barometer_red: float = _number(
        1.05,
        "1",
        1.0,
        10.0,
        "region: projection over this multiple of the base target is red",
        "区域预计总量超过基本目标此倍数为红色",
    )
    barometer_numbers: str = field(
        default="red=一级,orange=二级,yellow=二级,green=三级",
        metadata={
            "unit": "colour=name,…",
            "en": "region: what this region calls each colour; the national 晴雨表 has 一级 for the worst",
            "zh": "本地区各颜色对应的级别名称（国家晴雨表以一级为最差）",
        },
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one, getattr(self, one.name))
        for level in RAISED:
            if self.trend_off(level) > self.trend_on(level):
                raise WrongRule(f"trend_{level.word}_off", "must not be above the threshold that raises the level")
        _ascending(self, "trend_yellow_on", "trend_orange_on", "trend_red_on")
        _ascending(self, "trend_yellow_off", "trend_orange_off", "trend_red_off")
        _ascending(self, "actual_yellow_share", "actual_orange_share")
        _ascending(self, "data_orange_days", "data_red_days")
        _ascending(self, "benchmark_orange", "benchmark_red")
        _ascending(self, "barometer_orange", "barometer_red")
        _ascending(self, "meter_red_days", "meter_orange_days", "meter_yellow_days")
        _ascending(self, "yellow_from", "orange_from")
        for level in (Level.ORANGE, Level.RED):
            self.escalation(level)
        self.barometer_names()

    def trend_on(self, level: Level) -> float:
        return float(getattr(self, f"trend_{level.word}_on"))

    def trend_off(self, level: Level) -> float:
        return float(getattr(self, f"trend_{level.word}_off"))

    def trend_opens(self, level: Level, year: int) -> date:
        """The first day of the year on which the trend may be raised to the level."""
        return _day(self.yellow_from if level is Level.YELLOW else self.orange_from, year)

    def escalation(self, level: Level) -> tuple[tuple[int, tuple[Role, ...]], ...]:
        """(working days unacknowledged, who), ascending; nothing for green and yellow."""
        if level < Level.ORANGE:
            return ()
        name = f"escalate_{level.word}"
        return tuple(sorted(_step(name, part) for part in str(getattr(self, name)).split(",") if part.strip()))

    def barometer_names(self) -> Mapping[Level, str]:
        """What the region calls each colour."""
        named = dict(_pair(part) for part in self.barometer_numbers.split(",") if part.strip())
        if len(named) != len(Level):
            raise WrongRule("barometer_numbers", "names each of green, yellow, orange and red once")
        return MappingProxyType(named)

    def changed(self, changes: Mapping[str, Any]) -> AlertSettings:
        """Another version. Raises WrongRule for an unknown name or a value that cannot be."""
        known = {one.name for one in fields(self)}
        for name in changes:
            if name not in known:
                raise WrongRule(name[:64], "is no setting")
        return replace(self, **changes)

    def values(self) -> dict[str, Any]:
        return asdict(self)


def meanings() -> Iterator[tuple[str, Any, str, str, str]]:
    """(name, default, unit, meaning in English, meaning in Chinese) of every setting."""
    for one in fields(AlertSettings):
        yield one.name, one.default, one.metadata["unit"], one.metadata["en"], one.metadata["zh"]


def _check(one: Field[Any], value: Any) -> None:
    wants_text = isinstance(one.default, str)
    if wants_text != isinstance(value, str) or isinstance(value, bool):
        raise WrongRule(one.name, f"should be {'text' if wants_text else 'a number'}, not {value!r}")
    if isinstance(one.default, int) and not isinstance(value, int):
        raise WrongRule(one.name, f"should be a whole number, not {value!r}")
    if wants_text:
        if one.metadata["unit"] == "MM-DD":
            _month_and_day(one.name, value)
        return
    least, most = one.metadata["least"], one.metadata["most"]
    if not least <= value <= most:  # also refuses what is not a number at all
        raise WrongRule(one.name, f"should lie between {least:g} and {most:g}, not {value!r}")


def _ascending(settings: AlertSettings, *names: str) -> None:
    values = [getattr(settings, name) for name in names]
    for lower, name, value in zip(values, names[1:], values[1:], strict=False):
        if value < lower:
            raise WrongRule(name, f"must not be below {names[names.index(name) - 1]}")


def _month_and_day(name: str, text: str) -> None:
    try:
        _day(text, 2023)  # a day that every year has
    except ValueError as error:
        raise WrongRule(name, f"should be MM-DD, not {text!r}") from error


def _day(month_day: str, year: int) -> date:
    return date.fromisoformat(f"{year:04d}-{month_day}")


def _step(name: str, part: str) -> tuple[int, tuple[Role, ...]]:
    days, _, roles = part.partition(":")
    try:
        wait, who = int(days), tuple(Role(role.strip()) for role in roles.split("+"))
    except ValueError as error:
        raise WrongRule(name, f"{part.strip()!r}: {error}; roles are {', '.join(Role)}") from error
    if not 0 <= wait <= 60:
        raise WrongRule(name, f"{part.strip()!r}: working days lie between 0 and 60")
    return wait, who


def _pair(part: str) -> tuple[Level, str]:
    colour, _, name = part.partition("=")
    try:
        level = Level.of(colour.strip())
    except ValueError as error:
        raise WrongRule("barometer_numbers", str(error)) from error
    if not name.strip():
        raise WrongRule("barometer_numbers", f"{colour.strip()} has no name")
    return level, name.strip()


DEFAULTS = AlertSettings()
