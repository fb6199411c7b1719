"""The words of the mails, in Chinese and in English. Facts come in as values; nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

ZH, EN, BOTH = "zh-CN", "en", "both"
LANGUAGES: Mapping[str, tuple[str, ...]] = {ZH: (ZH,), EN: (EN,), BOTH: (ZH, EN)}

Facts = Mapping[str, Any]

LEVELS: Mapping[str, Mapping[str, str]] = {
    ZH: {"green": "绿色", "yellow": "黄色", "orange": "橙色", "red": "红色"},
    EN: {"green": "green", "yellow": "yellow", "orange": "orange", "red": "red"},
}
KINDS: Mapping[str, Mapping[str, str]] = {
    ZH: {
        "trend": "用能趋势",
        "actual": "实际用能",
        "period": "月度季度用能",
        "data": "数据上传",
        "benchmark": "能效对标",
        "meter": "计量器具检定",
        "integrity": "数据核验",
    },
    EN: {
        "trend": "year-end trend",
        "actual": "energy used",
        "period": "months and quarters",
        "data": "incoming data",
        "benchmark": "benchmark",
        "meter": "meter calibration",
        "integrity": "integrity of figures",
    },
}
REASONS: Mapping[str, Mapping[str, str]] = {
    ZH: {
        "raised": "预警",
        "lowered": "预警降级",
        "resolved": "预警解除",
        "withdrawn": "预警撤销（数据或预算已修订）",
        "reminder": "预警提醒（确认已到期）",
        "still_active": "预警仍未解除（静默已到期）",
        "escalated": "预警升级通报（企业未确认）",
        "next_contact": "预警（首选联系人无法送达）",
    },
    EN: {
        "raised": "alert",
        "lowered": "alert lowered",
        "resolved": "alert resolved",
        "withdrawn": "alert withdrawn: data or budget revised",
        "reminder": "reminder, the acknowledgement has run out",
        "still_active": "still active, the silence has run out",
        "escalated": "escalated, nobody has acknowledged",
        "next_contact": "alert, the first contact could not be reached",
    },
}
ROLES: Mapping[str, Mapping[str, str]] = {
    ZH: {
        "energy_manager": "能源管理负责人",
        "deputy": "副负责人",
        "legal_representative": "法定代表人",
        "county": "县级主管部门",
        "city": "市级主管部门",
        "province": "省级主管部门",
    },
    EN: {
        "energy_manager": "energy manager",
        "deputy": "deputy",
        "legal_representative": "legal representative",
        "county": "county supervisor",
        "city": "city supervisor",
        "province": "province",
    },
}
LABELS: Mapping[str, Mapping[str, str]] = {
    ZH: {
        "enterprise": "企业",
        "level": "级别",
        "kind": "类型",
        "budget": "年度预算",
        "spent": "累计用能",
        "planned": "计划进度",
        "unmeasured": "年内未计量天数（预计中按常年补入）",
        "projected": "年末预计（80% 区间）",
        "p_over": "超预算概率",
        "crossing": "预计超预算日期",
        "before": "与上次通知相比",
        "contributors": "主要用能构成",
        "data": "数据截至",
        "cover": "近30日实测覆盖率 / 估算比例",
        "next": "后续安排",
        "months": "最近完整月份（实际 / 计划）",
        "last_at": "最近一次数据",
        "late": "已迟到",
        "worst_meter": "迟到最久的计量点",
        "suspect": "可疑数据比例",
        "meter": "计量器具",
        "calibrated_until": "检定有效期至",
        "line": "生产线",
        "ratio": "单耗 / 基准水平",
        "gap": "与基准差距",
        "differences": "复算不一致项",
        "link": "查看详情",
    },
    EN: {
        "enterprise": "Enterprise",
        "level": "Level",
        "kind": "About",
        "budget": "Budget of the year",
        "spent": "Used so far",
        "planned": "Plan to date",
        "unmeasured": "Days of the year not measured (assumed in the projection)",
        "projected": "Projected year end (80 % interval)",
        "p_over": "Probability of an overrun",
        "crossing": "Budget expected to be passed on",
        "before": "Since the last mail",
        "contributors": "Largest contributors",
        "data": "Data as of",
        "cover": "Measured / estimated share of the last 30 days",
        "next": "What happens next",
        "months": "Last whole months (used / planned)",
        "last_at": "Last data",
        "late": "Late by",
        "worst_meter": "Latest meter",
        "suspect": "Readings held",
        "meter": "Meter",
        "calibrated_until": "Calibrated until",
        "line": "Production line",
        "ratio": "Unit energy / benchmark",
        "gap": "Gap to the benchmark",
        "differences": "Figures that differ when recomputed",
        "link": "Details",
    },
}
DIGESTS: Mapping[str, Mapping[str, str]] = {
    ZH: {"grouped": "用能预警汇总", "daily": "用能预警日报", "weekly": "用能预警周报", "immediate": "用能预警汇总"},
    EN: {"grouped": "alerts of this run", "daily": "daily alerts", "weekly": "weekly alerts", "immediate": "alerts"},
}
AUTOMATIC: Mapping[str, str] = {
    ZH: "本邮件由系统自动发送，请勿回复；确认、说明与静默请登录平台办理。",
    EN: "This mail was sent automatically; acknowledge, comment and silence on the portal.",
}


def amount(value: float | str | None, unit: str) -> str:
    """An amount with thousands separators, one decimal; a dash for what is not known."""
    return "–" if value is None else f"{float(value):,.1f} {unit}"


def percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def overrun(facts: Facts) -> float | None:
    """The projected end above the budget, as a share of the budget; negative below it."""
    projected, budget = facts.get("projected"), facts.get("budget")
    return None if projected is None or not budget else float(projected) / float(budget) - 1


def subject(language: str, facts: Facts) -> str:
    """The subject of one alert's mail."""
    level = LEVELS[language][facts["level"]]
    reason, name = REASONS[language][facts["reason"]], facts["name"]
    what = _subject_zh(facts) if language == ZH else _subject_en(facts)
    if facts["level"] == "green":
        head = f"[{reason}]"
    elif facts["reason"] == "withdrawn":
        was = LEVELS[language][facts["was"]]
        zh, en = f"[{level}] {was}{reason}，{level}预警仍有效:", f"[{level}] {was} alert withdrawn, {level} stands:"
        head = zh if language == ZH else en
    else:
        head = f"[{level}{reason}]" if language == ZH else f"[{level}] {reason}:"
    return f"{head} {name} {what}"


def _subject_zh(facts: Facts) -> str:
    match facts["kind"]:
        case "trend":
            over = overrun(facts)
            direction = "超" if over is None or over >= 0 else "低于"
            return (
                f"{facts['period']} 年用能预计{direction}预算 {percent(abs(over or 0), 1)}"
                f"(概率 {percent(facts['p_over'])})"
            )
        case "actual":
            return f"{facts['period']} 年已用预算的 {percent(_used(facts), 1)}"
        case "period":
            return f"{facts['period']} 年月度、季度用能与计划比较"
        case "data" if facts["level"] == "green":
            return "数据已恢复上传"
        case "data":
            return f"数据已迟到 {_late(ZH, facts)}"
        case "meter":
            return f"计量器具 {facts['subject']} 检定有效期至 {facts['calibrated_until']}"
        case "benchmark":
            return f"生产线 {facts['subject']} {facts['month']} 单耗为基准水平的 {percent(facts['ratio'], 1)}"
        case _:
            return f"夜间复算发现 {facts['differences']} 项不一致"


def _subject_en(facts: Facts) -> str:
    match facts["kind"]:
        case "trend":
            over = overrun(facts)
            direction = "above" if over is None or over >= 0 else "below"
            share = percent(abs(over or 0), 1)
            return f"{facts['period']} projected {share} {direction} budget (probability {percent(facts['p_over'])})"
        case "actual":
            return f"{percent(_used(facts), 1)} of the {facts['period']} budget used"
        case "period":
            return f"months and quarters of {facts['period']} against the plan"
        case "data" if facts["level"] == "green":
            return "data is coming in again"
        case "data":
            return f"data late by {_late(EN, facts)}"
        case "meter":
            return f"calibration of meter {facts['subject']} lapses on {facts['calibrated_until']}"
        case "benchmark":
            return f"line {facts['subject']} used {percent(facts['ratio'], 1)} of its benchmark in {facts['month']}"
        case _:
            return f"{facts['differences']} figures differ when recomputed"


def _used(facts: Facts) -> float | None:
    return None if not facts.get("budget") else float(facts["spent"]) / float(facts["budget"])


def _late(language: str, facts: Facts) -> str:
    hours = float(facts.get("late_s") or 0) / 3600
    if hours < 48:
        return f"{hours:.0f} 小时" if language == ZH else f"{hours:.0f} hours"
    return f"{hours / 24:.0f} 天" if language == ZH else f"{hours / 24:.0f} days"


def lines(language: str, facts: Facts) -> list[tuple[str, str]]:
    """(label, value) of everything the mail says, in the order of reading."""
    words = LABELS[language]
    level = LEVELS[language][facts["level"]]
    was = facts.get("was")
    if was and was != facts["level"]:
        level = f"{LEVELS[language][was]} → {level}"
    found = [
        (words["enterprise"], f"{facts['name']} ({facts['enterprise']}, {facts['region_name'][language]})"),
        (words["kind"], KINDS[language][facts["kind"]]),
        (words["level"], level),
        *(_budget(language, facts) if facts["kind"] in ("trend", "actual", "period") else _other(language, facts)),
    ]
    if facts.get("next"):
        found.append((words["next"], _next(language, facts["next"])))
    if facts.get("link"):
        found.append((words["link"], facts["link"]))
    return found


def _budget(language: str, facts: Facts) -> list[tuple[str, str]]:
    words, unit = LABELS[language], facts["unit"]
    low, high = amount(facts["low80"], unit), amount(facts["high80"], unit)
    found = [
        (words["budget"], amount(facts["budget"], unit)),
        (words["spent"], f"{amount(facts['spent'], unit)} ({percent(_used(facts), 1)})"),
        (words["planned"], amount(facts["planned"], unit)),
        (words["projected"], f"{amount(facts['projected'], unit)} ({low} – {high})"),
        (words["p_over"], percent(facts["p_over"])),
    ]
    if facts.get("unmeasured_days", 0) >= 1:
        found.append((words["unmeasured"], _unmeasured(language, facts)))
    if facts.get("crossing"):
        found.append((words["crossing"], facts["crossing"]))
    if facts.get("before"):
        found.append((words["before"], _before(language, facts)))
    if facts["kind"] == "period" and facts.get("months"):
        found.append((words["months"], _months(facts["months"], unit)))
    if facts.get("contributors"):
        found.append((words["contributors"], _contributors(language, facts["contributors"], unit)))
    found.append((words["data"], _moment(facts["as_of"])))
    found.append((words["cover"], f"{percent(facts['cover30'], 1)} / {percent(facts['estimated30'], 1)}"))
    return found


def _unmeasured(language: str, facts: Facts) -> str:
    days = f"{facts['unmeasured_days']:.0f}"
    said = f"{days} 天" if language == ZH else f"{days} day{'' if days == '1' else 's'}"
    return f"{said} ({amount(facts['assumed'], facts['unit'])})"


def _before(language: str, facts: Facts) -> str:
    """What changed since the last mail: the probability and the projection then."""
    before = facts["before"]
    chance = "超预算概率" if language == ZH else "probability"
    said = f"{chance} {percent(before['p_over'])} → {percent(facts['p_over'])}"
    then, now = before["projected"], facts["projected"]
    if then is None or now is None:
        return said
    word = "年末预计" if language == ZH else "projection"
    return f"{said}; {word} {float(now) - float(then):+,.1f} {facts['unit']} ({before['day']})"


def _months(months: Sequence[Sequence[Any]], unit: str) -> str:
    return "; ".join(f"{month}: {amount(used, unit)} / {amount(planned, unit)}" for month, used, planned in months[-3:])


def _contributors(language: str, found: Sequence[Facts], unit: str) -> str:
    return "; ".join(f"{one['what'][language]} {amount(one['tce'], unit)} ({percent(one['share'])})" for one in found)


def _other(language: str, facts: Facts) -> list[tuple[str, str]]:
    words = LABELS[language]
    match facts["kind"]:
        case "data":
            last = facts.get("last_at")
            return [
                (words["last_at"], "–" if last is None else _moment(last)),
                (words["late"], _late(language, facts)),
                (words["worst_meter"], facts.get("worst_meter") or "–"),
                (words["suspect"], percent(facts["suspect30"], 1)),
            ]
        case "meter":
            return [(words["meter"], facts["subject"]), (words["calibrated_until"], facts["calibrated_until"])]
        case "benchmark":
            return [
                (words["line"], f"{facts['subject']}, {facts['month']}"),
                (words["ratio"], percent(facts["ratio"], 1)),
                (words["gap"], amount(facts.get("gap_tce"), "tce")),
            ]
        case _:
            return [(words["differences"], str(facts["differences"]))]


def _next(language: str, following: Facts) -> str:
    """Who is told next, and how many working days are left to acknowledge before that."""
    joint = "、" if language == ZH else ", "
    who = joint.join(ROLES[language][role] for role in following["roles"])
    days = following["days"]
    if language == ZH:
        return f"请在 {days} 个工作日内登录平台确认并说明原因；逾期将通报：{who}。"
    within = f"{days} working day{'' if days == 1 else 's'}"
    return f"Please acknowledge on the portal within {within}; after that these are told: {who}."


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %z}"


def digest_subject(language: str, delivery: str, counts: Mapping[str, int], day: str) -> str:
    """The subject of a digest: how many of each colour."""
    each = [
        f"{LEVELS[language][level]} {counts[level]}"
        for level in ("red", "orange", "yellow", "green")
        if counts.get(level)
    ]
    return f"[{DIGESTS[language][delivery]}] {day}: {', '.join(each)}"


def digest_line(language: str, facts: Facts) -> tuple[str, str, str]:
    """(level, enterprise, what) of one entry of a digest."""
    what = _subject_zh(facts) if language == ZH else _subject_en(facts)
    reason = REASONS[language][facts["reason"]]
    return LEVELS[language][facts["level"]], facts["name"], f"{KINDS[language][facts['kind']]}: {what} · {reason}"
