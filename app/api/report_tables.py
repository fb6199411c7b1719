"""The tables of the reports, in Chinese or English, as values; what a workbook holds. Pure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import xlsxwriter

from app.api.answers import cell, number, xlsx_cell
from app.store.energy import EnterpriseTotal
from app.store.region_totals import RegionTotal

Fields = Mapping[str, Any]
MADE_AT = datetime(2000, 1, 1)  # noqa: DTZ001  # a workbook's properties have no zone
TIERS = {"green": "绿", "yellow": "黄", "orange": "橙", "red": "红"}
ROLES = {
    "purchase": ("购入", "purchased"),
    "sale": ("外供", "sold"),
    "own_renewable": ("自产可再生", "own renewable"),
    "recovered": ("回收利用", "recovered"),
    "feedstock": ("原料用能", "feedstock"),
}
BY_HAND = ("由用能单位填写", "to be filled in by the unit")
BASES = {"equivalent": ("当量值", "equivalent value"), "equal": ("等价值", "equal value"), "co2": ("碳排放", "CO2")}


@dataclass(frozen=True, slots=True)
class Table:
    """One sheet: its key, what it is called, its columns with their units, and its rows."""

    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def out(self) -> dict[str, Any]:
        return {"key": self.key, "title": self.title, "columns": list(self.columns), "rows": self.rows}


class Tongue:
    """Chooses between the two ways to say it."""

    def __init__(self, *, chinese: bool) -> None:
        self._at = 0 if chinese else 1

    def say(self, zh: str, en: str) -> str:
        return (zh, en)[self._at]

    def of(self, pair: tuple[str, str]) -> str:
        return pair[self._at]

    def columns(self, *pairs: tuple[str, str]) -> list[str]:
        return [pair[self._at] for pair in pairs]

    def name(self, row: Fields) -> str:
        return str(row["name_zh" if self._at == 0 else "name_en"])

    def tier(self, tier: str | None) -> str | None:
        return tier if tier is None or self._at else TIERS[tier]


FIGURES = (
    ("综合能耗 (tce)", "energy, gross (tce)"),
    ("考核口径 (tce)", "energy, net (tce)"),
    ("二氧化碳 (t)", "CO2 (t)"),
    ("状态", "status"),
    ("数据覆盖率", "coverage"),
)


def _figures(total: RegionTotal | EnterpriseTotal) -> list[Any]:
    return [number(total.tce), number(total.tce_net), number(total.tco2), total.status.value, round(total.coverage, 4)]


def monthly(
    t: Tongue,
    regions: Sequence[tuple[Fields, RegionTotal, RegionTotal]],
    units: Sequence[Fields],
    in_month: Mapping[str, EnterpriseTotal],
    in_year: Mapping[str, EnterpriseTotal],
) -> list[Table]:
    """The city's month: its regions, its enterprises by size, those over budget, and those without data."""
    return [*_of_regions(t, regions), *_of_units(t, units, in_month, in_year)]


def _of_regions(t: Tongue, regions: Sequence[tuple[Fields, RegionTotal, RegionTotal]]) -> list[Table]:
    """The month and the year so far, region by region."""
    head = t.columns(
        ("行政区划代码", "region"), ("名称", "name"), ("单位数", "enterprises"), ("有数据单位数", "with data"), *FIGURES
    )

    def row(region: Fields, total: RegionTotal) -> list[Any]:
        return [region["code"], t.name(region), total.enterprises, total.measured, *_figures(total)]

    of_month = [row(region, month) for region, month, _ in regions]
    so_far = [row(region, year) for region, _, year in regions]
    return [
        Table("regions", t.say("分县当月", "Regions, the month"), head, of_month),
        Table("regions-year", t.say("分县累计", "Regions, the year"), head, so_far),
    ]


def _of_units(
    t: Tongue,
    units: Sequence[Fields],
    in_month: Mapping[str, EnterpriseTotal],
    in_year: Mapping[str, EnterpriseTotal],
) -> list[Table]:
    """The enterprises by size, those over budget by probability, and those without data."""
    who = (("统一社会信用代码", "id"), ("单位名称", "name"), ("行政区划代码", "region"), ("行业", "industry"))
    stands = (("预警等级", "colour"), ("超预算概率", "probability of overrun"))

    def named(one: Fields) -> list[Any]:
        return [one["id"], one["name"], one["region"], one["industry"]]

    def standing(one: Fields) -> list[Any]:
        return [t.tier(one["tier"]), one["overrun_probability"]]

    by_size = sorted(units, key=lambda one: (-(in_year[one["id"]].tce or Decimal(0)), one["id"]))
    over = sorted(
        (one for one in units if one["tier"] in ("red", "orange", "yellow")),
        key=lambda one: (-one["overrun_probability"], one["id"]),
    )
    silent = [one for one in units if in_month[one["id"]].status.value == "missing"]
    ranked = [
        [*named(one), *_figures(in_month[one["id"]]), number(in_year[one["id"]].tce), *standing(one)] for one in by_size
    ]
    return [
        Table(
            "enterprises",
            t.say("重点用能单位", "Enterprises"),
            t.columns(*who, *FIGURES, ("本年累计 (tce)", "year so far (tce)"), *stands),
            ranked,
        ),
        Table(
            "over-budget",
            t.say("超预算预警", "Over budget"),
            t.columns(*who, *stands),
            [[*named(one), *standing(one)] for one in over],
        ),
        Table("no-data", t.say("无数据单位", "Without data"), t.columns(*who), [named(one) for one in silent]),
    ]


def utilisation(
    t: Tongue,
    year: int,
    unit: Fields,
    balance: Sequence[Fields],
    months: tuple[Mapping[int, Fields], Mapping[int, Fields]],
    lines: Sequence[Fields],
    positions: Sequence[Fields],
    meters: Sequence[Fields],
) -> list[Table]:
    """The report on the use of energy (能源利用状况报告) of one year, filled in as far as the ledger knows.

    Its tables are those of the form; what no meter tells is left to the unit and says so.
    """
    hand = t.of(BY_HAND)
    return [
        _basics(t, year, unit, balance, hand),
        _structure(t, balance),
        _physical(t, balance, hand),
        _products(t, lines),
        _changes(t, year, months, hand),
        _targets(t, positions),
        _form(t, "7", ("表7 节能目标责任自评价", "7 Own assessment"), ("自评", "own judgement"), hand),
        _meters(t, meters),
        _standards(t, lines),
        _form(t, "10", ("表10 节能技改项目", "10 Projects"), ("节能量 (tce)", "saves (tce)"), hand),
        _form(t, "11", ("表11 项目变更", "11 Changed projects"), ("变更", "change"), hand),
    ]


def _form(t: Tongue, key: str, title: tuple[str, str], column: tuple[str, str], hand: str) -> Table:
    """A table of the form of which no meter knows anything."""
    return Table(key, t.of(title), t.columns(("项目", "item"), column), [[hand, None]])


def _total(balance: Sequence[Fields], name: str, *, net: bool) -> Decimal | None:
    """Purchases less what was sold and recovered; own renewables and feedstock only gross."""
    signs = {"purchase": 1, "sale": -1, "recovered": -1, "own_renewable": 0 if net else 1, "feedstock": 0 if net else 1}
    parts = [(signs[row["role"]], row[name]) for row in balance]
    if not parts or any(value is None and sign for sign, value in parts):
        return None
    return sum((sign * value for sign, value in parts if sign), Decimal(0))


def _basics(t: Tongue, year: int, unit: Fields, balance: Sequence[Fields], hand: str) -> Table:
    def total(name: str, *, net: bool = False) -> Decimal | None:
        return number(_total(balance, name, net=net))

    rows = [
        [t.say("报告年度", "year"), year],
        [t.say("单位名称", "name"), unit["name"]],
        [t.say("统一社会信用代码", "id"), unit["id"]],
        [t.say("所属地区", "region"), unit["region"]],
        [t.say("行业代码 (GB/T 4754)", "industry (GB/T 4754)"), unit["industry"]],
        [t.say("能源管理负责人", "energy manager"), ", ".join(one["name"] for one in unit["contacts"]) or hand],
        [t.say("综合能源消费量 当量值 (tce)", "energy, equivalent value (tce)"), total("tce_equivalent")],
        [t.say("综合能源消费量 等价值 (tce)", "energy, equal value (tce)"), total("tce_equal")],
        [t.say("扣除原料和可再生 当量值 (tce)", "net, equivalent value (tce)"), total("tce_equivalent", net=True)],
        [t.say("二氧化碳排放 (t)", "CO2 (t)"), total("tco2")],
        [t.say("工业总产值 (万元)", "gross output (10,000 CNY)"), hand],
        [t.say("工业增加值 (万元)", "value added (10,000 CNY)"), hand],
        [t.say("能源消费成本 (万元)", "cost of energy (10,000 CNY)"), hand],
    ]
    return Table("1", t.say("表1 基本情况", "1 Basics"), t.columns(("项目", "item"), ("内容", "value")), rows)


def _structure(t: Tongue, balance: Sequence[Fields]) -> Table:
    columns = (
        ("能源代码", "code"),
        ("能源名称", "carrier"),
        ("计量单位", "unit"),
        ("来源去向", "role"),
        ("实物量", "quantity"),
        ("折标量 当量值 (tce)", "equivalent (tce)"),
        ("折标量 等价值 (tce)", "equal (tce)"),
        ("折标系数 当量值 (kgce/单位)", "factor, equivalent (kgce per unit)"),
    )
    rows = [
        [
            row["stat_code"] or row["carrier"],
            t.name(row),
            row["unit"],
            t.of(ROLES[row["role"]]),
            number(row["quantity"]),
            number(row["tce_equivalent"]),
            number(row["tce_equal"]),
            _factor(row),
        ]
        for row in balance
    ]
    return Table("2", t.say("表2 能源消费结构", "2 Structure of consumption"), t.columns(*columns), rows)


def _factor(row: Fields) -> Decimal | None:
    """What the year's quantity was multiplied with, on average."""
    if not row["quantity"] or row["tce_equivalent"] is None:
        return None
    return number(Decimal(round(row["tce_equivalent"] * 1000 / row["quantity"], 6)))


def _physical(t: Tongue, balance: Sequence[Fields], hand: str) -> Table:
    """Opening + purchase + own = consumption + supply + losses + closing, with stocks left open."""
    columns = (
        ("能源名称", "carrier"),
        ("单位", "unit"),
        ("期初库存", "opening stock"),
        ("购入", "purchased"),
        ("自产", "own"),
        ("回收", "recovered"),
        ("外供", "supplied"),
        ("原料", "feedstock"),
        ("期末库存", "closing stock"),
        ("消费 (未计库存变化)", "consumed (without change of stock)"),
    )
    rows = []
    for carrier in dict.fromkeys(row["carrier"] for row in balance):
        mine = {row["role"]: row for row in balance if row["carrier"] == carrier}
        any_row = next(iter(mine.values()))
        amount = {role: mine[role]["quantity"] if role in mine else Decimal(0) for role in ROLES}
        consumed = sum((amount[r] for r in ("purchase", "own_renewable", "recovered", "feedstock")), Decimal(0))
        shown = [number(amount[role]) for role in ("purchase", "own_renewable", "recovered", "sale", "feedstock")]
        rows.append([t.name(any_row), any_row["unit"], hand, *shown, hand, number(consumed - amount["sale"])])
    return Table("3", t.say("表3 能源实物平衡", "3 Physical balance"), t.columns(*columns), rows)


def _products(t: Tongue, lines: Sequence[Fields]) -> Table:
    columns = (
        ("生产线", "line"),
        ("产品", "product"),
        ("年产量", "output"),
        ("产量单位", "unit of output"),
        ("单位产品能耗", "energy per unit"),
        ("单位", "unit"),
        ("标杆水平", "benchmark"),
        ("基准水平", "baseline"),
        ("版本", "edition"),
    )
    named = ("output", "line_unit", "unit_energy", "unit", "benchmark", "baseline", "edition")
    product = t.say("product_zh", "product_en")
    rows = [[line["name"], line[product], *(line[name] for name in named)] for line in lines]
    return Table("4", t.say("表4 单位产品能耗", "4 Energy per product"), t.columns(*columns), rows)


def _changes(t: Tongue, year: int, months: tuple[Mapping[int, Fields], Mapping[int, Fields]], hand: str) -> Table:
    columns = (
        ("月份", "month"),
        ("本年 (tce)", "this year (tce)"),
        ("上年 (tce)", "last year (tce)"),
        ("变化 (tce)", "change (tce)"),
        ("影响因素说明", "what changed it"),
    )
    rows = []
    for month in range(1, 13):
        now, then = ((part.get(month) or {}).get("tce_equivalent_net") for part in months)
        change = None if now is None or then is None else number(now - then)
        rows.append([f"{year}-{month:02}", number(now), number(then), change, hand])
    return Table("5", t.say("表5 影响能耗变化因素", "5 What changed"), t.columns(*columns), rows)


def _targets(t: Tongue, positions: Sequence[Fields]) -> Table:
    columns = (
        ("口径", "basis"),
        ("年度预算", "budget"),
        ("已用", "used"),
        ("扣除", "excluded"),
        ("预计全年 (中值)", "expected (median)"),
        ("超预算概率", "probability of overrun"),
        ("等级", "colour"),
    )
    rows = [
        [
            t.of(BASES[one["basis"]]),
            number(one["amount"]),
            number(one["spent"]),
            number(one["excluded"]),
            one["p50"],
            one["overrun_probability"],
            t.tier(one["tier"]),
        ]
        for one in positions
    ]
    return Table("6", t.say("表6 节能目标完成情况", "6 Targets"), t.columns(*columns), rows)


def _meters(t: Tongue, meters: Sequence[Fields]) -> Table:
    columns = (
        ("编号", "code"),
        ("名称", "name"),
        ("能源", "carrier"),
        ("级别", "level"),
        ("准确度等级", "accuracy class"),
        ("检定有效期至", "calibrated until"),
        ("在用", "in use"),
    )
    rows = [
        [
            one["code"],
            one["name"],
            t.name(one),
            one["level"],
            one["accuracy_class"],
            None if one["calibrated_until"] is None else one["calibrated_until"].isoformat(),
            t.say("是", "yes") if one["active"] else t.say("否", "no"),
        ]
        for one in meters
    ]
    return Table("8", t.say("表8 计量器具与设备", "8 Meters and equipment"), t.columns(*columns), rows)


def _standards(t: Tongue, lines: Sequence[Fields]) -> Table:
    level = ("达到等级 (1–3，0 为超限)", "level kept (1-3; 0: above the limit)")
    columns = (("生产线", "line"), ("标准", "standard"), level)
    rows = [[line["name"], line["standard"], line["limit_level"]] for line in lines]
    return Table("9", t.say("表9 标准执行情况", "9 Standards kept"), t.columns(*columns), rows)


def workbook(tables: Sequence[Table], head: Sequence[tuple[str, str]]) -> bytes:
    """All tables as one XLSX file: a first sheet that says what they are made of, then a sheet a table."""
    out = io.BytesIO()
    settings = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, settings) as book:
        book.set_properties({"created": MADE_AT})
        bold = book.add_format({"bold": True, "bottom": 1, "text_wrap": True})
        _sheet(book, "0", [], head, bold)
        for table in tables:
            _sheet(book, table.title, table.columns, table.rows, bold)
    return out.getvalue()


def _sheet(book: Any, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], bold: Any) -> None:
    sheet = book.add_worksheet(title[:31])
    lines = [*([columns] if columns else []), *rows]
    for at, line in enumerate(lines):
        sheet.write_row(at, 0, [xlsx_cell(cell(value)) for value in line], bold if columns and at == 0 else None)
    for at in range(max(map(len, lines), default=0)):
        widest = max(_width(str(line[at])) for line in lines if at < len(line))
        sheet.set_column(at, at, min(max(10, widest + 2), 50))
    if columns:
        sheet.freeze_panes(1, 0)


def _width(words: str) -> int:
    """How wide a text stands: a Chinese sign takes the place of two letters."""
    return sum(1 if letter.isascii() else 2 for letter in words)
