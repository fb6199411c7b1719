"""A letter as the bytes of a mail (RFC 5322): text, HTML and an inline chart. Pure: no clock, no connection.

What is said was frozen when the notice was written, so a letter that is sent again says the same under the same
Message-ID. Every fact of the HTML and of the chart is in the text part too; nothing is loaded from anywhere.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from alerts import words
from alerts.chart import Curve, png
from alerts.words import LANGUAGES, ZH, Facts

MOST_BYTES = 200_000
HEADERS_BYTES = 4_000
"""What headers, boundaries and the longer sentence about an attachment take at most."""
BASE64 = 78 / 57
"""Bytes of base64 a byte, its line ends with it (RFC 2045: 57 bytes a line of 76 characters)."""
COLOURS: Mapping[str, str] = {"green": "#2e8b57", "yellow": "#d4a900", "orange": "#e67e22", "red": "#c0392b"}
TEMPLATES = Path(__file__).parent / "templates"
COLUMNS = ("level", "enterprise", "name", "kind", "period", "subject", "reason", "unit", "budget", "spent")
COLUMNS_LAST = ("projected", "p_over", "over")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet would run, full-width signs too: the same as in the tables of the API."""


class LetterUnusable(Exception):
    """The letter cannot be made of its template and facts. Attribute: why."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail to one recipient. `payload` is a notice's facts, or for a digest its `items` with `delivery` and `day`.

    `bare`: without chart and attachment, for a server that found the mail too large.
    """

    message_id: str
    references: str | None
    email: str
    name: str
    language: str
    payload: Mapping[str, Any]
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Sender:
    """Who writes: address and name of the From header."""

    email: str
    name: str


def render(letter: Letter, sender: Sender, at: datetime, templates: Path = TEMPLATES) -> bytes:
    """The mail's bytes, at most 200 kB. Raises LetterUnusable for a template or facts that cannot be used."""
    try:
        message = _digest(letter, templates) if "items" in letter.payload else _alert(letter, templates)
    except (TemplateError, KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise LetterUnusable(f"{type(error).__name__}: {error}") from error
    return _with_headers(message, letter, sender, at)


def fallback(letter: Letter, sender: Sender, at: datetime) -> bytes:
    """The same facts without any template, for when a template fails: better bare than not at all."""
    message = EmailMessage(policy=SMTP)
    named = [f"{key}: {value}" for key, value in letter.payload.items() if isinstance(value, str | int | float)]
    level = letter.payload.get("level", "")
    message["Subject"] = one_line(f"[tcewatch] {level} {letter.payload.get('name', '')}")
    message.set_content("\n".join(named) + "\n", cte="base64")
    return _with_headers(message, letter, sender, at)


def _with_headers(message: EmailMessage, letter: Letter, sender: Sender, at: datetime) -> bytes:
    message["From"] = Address(sender.name, addr_spec=sender.email)
    message["To"] = Address(one_line(letter.name), addr_spec=mailbox(letter.email))
    message["Date"] = format_datetime(at)
    message["Message-ID"] = letter.message_id
    if letter.references is not None:
        message["References"] = letter.references
        message["In-Reply-To"] = letter.references
    message["Auto-Submitted"] = "auto-generated"
    message["Content-Language"] = ", ".join(LANGUAGES[letter.language])
    return message.as_bytes()


def one_line(text: str) -> str:
    """A name as a header can carry it: a line break in it must not begin another header."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def mailbox(email: str) -> str:
    """An address as every server takes it, its domain by the ASCII name. Raises LetterUnusable for what is none."""
    try:
        name, _, domain = email.rpartition("@")
        return Address(addr_spec=f"{name}@{domain.encode('idna').decode()}").addr_spec
    except (ValueError, IndexError, TypeError, MessageError) as error:
        raise LetterUnusable(f"{email!r} is no mail address: {error}") from error


def _alert(letter: Letter, templates: Path) -> EmailMessage:
    facts = letter.payload
    picture = None if letter.bare or not facts.get("chart") else png(_curve(facts))
    parts = [_alert_part(language, facts) for language in LANGUAGES[letter.language]]
    cid = f"chart.{letter.message_id.strip('<>')}"
    context = {"parts": parts, "colour": COLOURS[facts["level"]], "chart": cid if picture else None}
    return _two_ways(letter, templates, "alert", context, (picture, cid) if picture else None)


def _alert_part(language: str, facts: Facts) -> Mapping[str, Any]:
    return {
        "language": language,
        "subject": one_line(words.subject(language, facts)),
        "lines": [(label, one_line(value)) for label, value in words.lines(language, facts)],
        "link": facts.get("link"),
        "chart": _chart_in_words(language, facts) if facts.get("chart") else None,
        "automatic": words.AUTOMATIC[language],
    }


def _chart_in_words(language: str, facts: Facts) -> str:
    """What the chart shows, for who does not see it: the sum to the end of each month beside the plan's."""
    chart = facts["chart"]
    months = (
        f"{number:02d}: {'–' if number <= chart.get('since', 0) else f'{used:,.0f}'} / {plan:,.0f}"
        for number, (used, plan) in enumerate(zip(chart["used"], chart["plan"], strict=False), start=1)
    )
    head = "累计用能 / 计划" if language == ZH else "Used / planned, summed up"
    return f"{head} ({facts['unit']}): {'; '.join(months)}"


def _curve(facts: Facts) -> Curve:
    chart = facts["chart"]
    return Curve(
        used=tuple(map(float, chart["used"])),
        at=float(chart["at"]),
        plan=tuple(map(float, chart["plan"])),
        budget=float(facts["budget"]),
        low=facts["low80"],
        middle=facts["projected"],
        high=facts["high80"],
        unit=facts["unit"],
        since=float(chart.get("since", 0)),
    )


def _digest(letter: Letter, templates: Path) -> EmailMessage:
    items = sorted(letter.payload["items"], key=_rank)
    message = _listed(letter, templates, items, None)
    if letter.bare or len(items) <= int(letter.payload["top"]):
        return message
    left = MOST_BYTES - HEADERS_BYTES - len(message.as_bytes())
    attached = _csv(items, int(left / BASE64))
    message = _listed(letter, templates, items, attached)
    message.add_attachment(attached.body, maintype="application", subtype="gzip", filename="alerts.csv.gz")
    return message


def _listed(letter: Letter, templates: Path, items: Sequence[Facts], attached: _Attached | None) -> EmailMessage:
    top = items[: int(letter.payload["top"])]
    parts = [_digest_part(language, letter, items, top, attached) for language in LANGUAGES[letter.language]]
    return _two_ways(letter, templates, "digest", {"parts": parts, "colour": COLOURS[items[0]["level"]]}, None)


def _rank(facts: Facts) -> tuple[int, float, str]:
    """Worst first, then by how much is projected above the budget."""
    return -list(COLOURS).index(facts["level"]), -_over(facts), str(facts["name"])


def _over(facts: Facts) -> float:
    projected, budget = facts.get("projected"), facts.get("budget")
    return 0.0 if projected is None or budget is None else float(projected) - float(budget)


@dataclass(frozen=True, slots=True)
class _Attached:
    body: bytes
    count: int


def _csv(items: Sequence[Facts], most_bytes: int) -> _Attached:
    """As many entries as fit, worst first; the mail says how many there are."""
    count = len(items)
    while True:
        body = gzip.compress(_csv_text(items[:count]).encode("utf-8-sig"), mtime=0)
        if len(body) <= most_bytes or count == 0:
            return _Attached(body, count)
        count = max(0, count * most_bytes // len(body) - 1)


def _csv_text(items: Sequence[Facts]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, *COLUMNS_LAST])
    for facts in items:
        over = round(_over(facts), 3)
        named = [_cell(facts.get(name)) for name in COLUMNS]
        writer.writerow([*named, facts.get("projected"), facts.get("p_over"), over])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def _digest_part(
    language: str, letter: Letter, items: Sequence[Facts], top: Sequence[Facts], attached: _Attached | None
) -> Mapping[str, Any]:
    payload = letter.payload
    counts = Counter(facts["level"] for facts in items)
    return {
        "language": language,
        "subject": words.digest_subject(language, payload["delivery"], counts, payload["day"]),
        "lines": [tuple(map(one_line, words.digest_line(language, facts))) for facts in top],
        "rest": _rest(language, len(items), len(top), attached),
        "link": payload.get("link"),
        "automatic": words.AUTOMATIC[language],
    }


def _rest(language: str, count: int, shown: int, attached: _Attached | None) -> str | None:
    if count == shown:
        return None
    inside = attached.count if attached else 0
    if language == ZH:
        return f"共 {count} 条，正文列出 {shown} 条，附件含 {inside} 条，其余请登录平台查看。"
    return f"{count} in all, {shown} listed here, {inside} in the attachment; the others are on the portal."


def _two_ways(
    letter: Letter, templates: Path, name: str, context: Mapping[str, Any], picture: tuple[bytes, str] | None
) -> EmailMessage:
    """multipart/alternative: the text, and the HTML with its picture."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = one_line(context["parts"][0]["subject"])
    text = _environment(templates, html=False).get_template(f"{name}.txt.j2").render(context)
    html = _environment(templates, html=True).get_template(f"{name}.html.j2").render(context)
    message.set_content(text, cte="base64")
    message.add_alternative(html, subtype="html", cte="base64")
    if picture is not None:
        related = message.get_payload()[1]  # type: ignore[index]  # a list, since the alternative was added
        assert isinstance(related, EmailMessage), "made so by add_alternative"
        related.add_related(picture[0], maintype="image", subtype="png", cid=f"<{picture[1]}>", disposition="inline")
    return message


@lru_cache(maxsize=8)
def _environment(templates: Path, *, html: bool) -> Environment:
    return SandboxedEnvironment(
        loader=FileSystemLoader(templates),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
