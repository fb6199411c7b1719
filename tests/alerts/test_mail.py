"""The mails: what is in them, in each language, whole and small; and what happens when one cannot be made."""

from __future__ import annotations

import csv
import gzip
import io
import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alerts.chart import HEIGHT, LEFT, RIGHT, TOP, USED, WIDTH
from alerts.mail import FORMULA_STARTS, MOST_BYTES, LetterUnusable, fallback, render
from app.api import answers
from tests.alerts.a_notice import SENDER, facts, letter

AT = datetime(2026, 7, 20, 0, 30, tzinfo=UTC)
USED_RGB = tuple(bytes.fromhex(USED.removeprefix("#")))


def parsed(raw: bytes) -> EmailMessage:
    found = message_from_bytes(raw, policy=default)
    assert isinstance(found, EmailMessage)
    return found


def rendered(payload: dict[str, Any], **changes: Any) -> EmailMessage:
    raw = render(letter(payload, **changes), SENDER, AT)
    assert len(raw) <= MOST_BYTES
    return parsed(raw)


def part(mail: EmailMessage, kind: str) -> Any:
    return next(one for one in mail.walk() if one.get_content_type() == kind)


def words(mail: EmailMessage) -> str:
    return str(part(mail, "text/plain").get_content())


def test_the_headers_name_thread_language_and_machine() -> None:
    mail = rendered(facts())
    assert mail["Message-ID"] == "<a17.3.5@tcewatch.example>"
    assert mail["References"] == mail["In-Reply-To"] == "<a17@tcewatch.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == "zh-CN"
    assert mail["Date"] == "Mon, 20 Jul 2026 00:30:00 +0000"
    assert mail["Subject"] == "[橙色预警] 云安示范水泥有限公司 2026 年用能预计超预算 4.2%(概率 91%)"
    assert mail["To"] == "王经理 <manager@example.com>"


def test_the_mail_is_text_and_html_with_its_picture_inside() -> None:
    mail = rendered(facts())
    shape = [one.get_content_type() for one in mail.walk()]
    assert shape == ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"]
    html, picture = part(mail, "text/html").get_content(), part(mail, "image/png")
    assert f'src="cid:{picture["Content-ID"].strip("<>")}"' in html
    assert not re.findall(r'(?:src|href)="(?!cid:|https://energy\.example/alerts/17")', html)
    image = Image.open(io.BytesIO(picture.get_content()))
    assert (image.format, image.size) == ("PNG", (640, 300))
    assert len(image.convert("RGB").getcolors() or []) > 6


@pytest.mark.parametrize("language", ["zh-CN", "en", "both"])
def test_every_fact_stands_in_text_and_html(language: str) -> None:
    mail = rendered(facts(), language=language)
    text, html = words(mail), part(mail, "text/html").get_content()
    for shown in ("120,000.0 tce", "68,250.5 tce", "64,100.0", "125,040.0", "121,300.0", "129,100.0", "91%"):
        assert shown in text
        assert shown in html
    for shown in ("2026-12-16", "99.3% / 0.4%", "50,210.0 tce (74%)", "70% → 91%", "07: 68,250 / 70,000"):
        assert shown in text
    assert ("法定代表人" in text, "legal representative" in text) == (language != "en", language != "zh-CN")
    if language == "both":
        assert text.index("法定代表人") < text.index("legal representative")
        assert mail["Content-Language"] == "zh-CN, en"


def test_days_that_were_not_measured_stand_with_what_is_assumed_for_them() -> None:
    payload = facts(unmeasured_days=141.6, assumed=48200.0)
    chinese, english = words(rendered(payload)), words(rendered(payload, language="en"))
    assert "年内未计量天数（预计中按常年补入）: 142 天 (48,200.0 tce)" in chinese
    assert "Days of the year not measured (assumed in the projection): 142 days (48,200.0 tce)" in english
    for whole in (facts(), facts(unmeasured_days=0.4, assumed=12.0)):
        assert "未计量" not in words(rendered(whole))


def test_the_line_of_what_was_used_begins_where_the_data_does() -> None:
    late = {
        "used": [0, 0, 0, 0, 2000, 12000, 19000],
        "at": 6.6,
        "since": 4.7,
        "plan": [10000.0 * i for i in range(1, 13)],
    }
    mail = rendered(facts(chart=late))
    assert "04: – / 40,000; 05: 2,000 / 50,000" in words(mail)
    picture = Image.open(io.BytesIO(part(mail, "image/png").get_content())).convert("RGB")
    drawn = [x for x in range(LEFT, WIDTH) for y in range(TOP, HEIGHT) if picture.getpixel((x, y)) == USED_RGB]
    begins = LEFT + (WIDTH - LEFT - RIGHT) * 4.7 / 12
    assert begins - 3 <= min(drawn) <= begins + 3
    whole = Image.open(io.BytesIO(part(rendered(facts()), "image/png").get_content())).convert("RGB")
    assert any(whole.getpixel((x, y)) == USED_RGB for x in range(LEFT, LEFT + 20) for y in range(TOP, HEIGHT))


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        (
            {"kind": "actual", "level": "red", "spent": 121000.0},
            "[红色预警] 云安示范水泥有限公司 2026 年已用预算的 100.8%",
        ),
        ({"kind": "period", "months": [["2026-06", 11000, 10000]]}, "月度、季度用能与计划比较"),
        (
            {"reason": "resolved", "level": "green", "projected": 118000.0},
            "[预警解除] 云安示范水泥有限公司 2026 年用能预计低于预算 1.7%",
        ),
        (
            {"kind": "data", "late_s": 8 * 86400, "last_at": None, "worst_meter": "E001", "suspect30": 0.0},
            "[橙色预警] 云安示范水泥有限公司 数据已迟到 8 天",
        ),
        ({"kind": "meter", "subject": "E001", "calibrated_until": "2026-08-01"}, "E001 检定有效期至 2026-08-01"),
        ({"kind": "benchmark", "subject": "clinker", "month": "2026-06", "ratio": 1.07, "gap_tce": 12.5}, "107.0%"),
        ({"kind": "integrity", "differences": 3}, "3 项不一致"),
    ],
)
def test_each_kind_says_what_it_is_about(changes: dict[str, Any], subject: str) -> None:
    payload = facts(**changes)
    if payload["kind"] in ("data", "meter", "benchmark", "integrity"):
        payload["chart"] = None
    assert subject in rendered(payload)["Subject"]
    english = rendered(payload, language="en")
    assert str(english["Subject"]).replace("云安示范水泥有限公司", "").isascii()
    assert words(english)


def test_names_cannot_break_out_of_html_or_headers() -> None:
    mail = rendered(facts(name="<script>alert(1)</script>\r\nBcc: x@example.com"), name="a\r\nBcc: y@example.com")
    assert "<script>" not in part(mail, "text/html").get_content()
    assert mail["Bcc"] is None


def many(count: int) -> dict[str, Any]:
    items = [
        facts(name=f"企业{number:05d}", enterprise=f"91445303MA4U{number:06d}", projected=120000.0 + number, chart=None)
        for number in range(count)
    ]
    items[7]["level"] = "red"
    return {"items": items, "delivery": "grouped", "day": "2026-07-20", "top": 50, "link": "https://energy.example"}


def test_a_grouped_mail_lists_the_worst_and_attaches_the_rest() -> None:
    mail = rendered(many(300), references=None)
    assert mail["Subject"] == "[用能预警汇总] 2026-07-20: 红色 1, 橙色 299"
    listed = [line for line in words(mail).splitlines() if line.startswith("[")][1:]
    assert len(listed) == 50
    assert ("企业00007" in listed[0], "企业00299" in listed[1]) == (True, True)
    rows = list(
        csv.reader(io.StringIO(gzip.decompress(part(mail, "application/gzip").get_content()).decode("utf-8-sig")))
    )
    assert len(rows) == 301
    assert rows[1][:3] == ["red", "91445303MA4U000007", "企业00007"]


def test_ten_thousand_enterprises_fit_into_one_mail() -> None:
    mail = rendered(many(10_000), references=None, language="both")
    assert "共 10000 条" in words(mail)
    assert "10000 in all" in words(mail)


def test_a_bare_letter_leaves_out_chart_and_attachment() -> None:
    assert "image/png" not in [one.get_content_type() for one in rendered(facts(), bare=True).walk()]
    bare = rendered(many(300), bare=True, references=None)
    assert [one.get_content_type() for one in bare.walk()] == ["multipart/alternative", "text/plain", "text/html"]


def test_a_letter_sent_again_is_the_same_to_the_byte_but_for_its_boundaries() -> None:
    def same(raw: bytes) -> bytes:
        return re.sub(rb"={15}\d+==", b"boundary", raw)

    assert same(render(letter(facts()), SENDER, AT)) == same(render(letter(facts()), SENDER, AT))


@pytest.mark.parametrize(
    ("payload", "changes"),
    [
        ({key: value for key, value in facts().items() if key != "budget"}, {}),
        (facts(kind="trend", p_over="much"), {}),
        (facts(), {"email": "no address"}),
        (facts(), {"email": ""}),
        (facts(), {"email": "two@at@signs"}),
        (facts(), {"email": "王经理@example.com"}),
        (facts(level="purple"), {}),
    ],
)
def test_a_letter_that_cannot_be_made_says_why(payload: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(LetterUnusable):
        render(letter(payload, **changes), SENDER, AT)


def test_a_broken_template_is_told_and_the_facts_still_go_out(tmp_path: Path) -> None:
    (tmp_path / "alert.txt.j2").write_text("{{ parts[0].nothing_like_it }}")
    (tmp_path / "alert.html.j2").write_text("")
    with pytest.raises(LetterUnusable, match="nothing_like_it"):
        render(letter(facts()), SENDER, AT, tmp_path)
    mail = parsed(fallback(letter(facts()), SENDER, AT))
    assert mail["Message-ID"] == "<a17.3.5@tcewatch.example>"
    assert "budget: 120000.0" in words(mail)


def test_an_address_in_a_chinese_domain_goes_by_its_ascii_name() -> None:
    assert rendered(facts(), email="manager@例子.中国")["To"] == "王经理 <manager@xn--fsqu00a.xn--fiqs8s>"


def test_a_name_cannot_become_a_formula_in_the_attached_table() -> None:
    items = [facts(name=f"=HYPERLINK({number})", level="yellow") for number in range(3)]
    mail = rendered({"items": items, "delivery": "grouped", "day": "2026-07-20", "top": 1})
    attached = gzip.decompress(part(mail, "application/gzip").get_content()).decode("utf-8-sig")
    assert FORMULA_STARTS == answers.FORMULA_STARTS
    assert {row["name"][0] for row in csv.DictReader(io.StringIO(attached))} == {"'"}


def test_only_the_portal_is_a_link() -> None:
    html = part(rendered(facts(name="http://elsewhere.example", link="https://energy.example/alerts/17")), "text/html")
    assert re.findall(r'href="([^"]*)"', html.get_content()) == ["https://energy.example/alerts/17"]


def test_a_name_of_several_lines_cannot_add_a_fact_to_the_text() -> None:
    said = words(rendered(facts(name="云安\n级别: 绿色", level="red"))).splitlines()
    assert [line for line in said if line.startswith("级别")] == ["级别: 黄色 → 红色"]


@pytest.mark.parametrize(
    ("language", "subject"),
    [
        (
            "zh-CN",
            "[橙色] 红色预警撤销（数据或预算已修订），橙色预警仍有效: 云安示范水泥有限公司 2026 年已用预算的 75.0%",
        ),
        (
            "en",
            "[orange] red alert withdrawn, orange stands: 云安示范水泥有限公司 75.0% of the",
        ),
    ],
)
def test_a_withdrawn_alert_says_what_still_stands(language: str, subject: str) -> None:
    told = facts(reason="withdrawn", kind="actual", level="orange", was="red", spent=90000.0)
    assert rendered(told, language=language)["Subject"].startswith(subject)
