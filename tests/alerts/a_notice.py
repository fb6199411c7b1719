"""Facts of notices as the engine freezes them, to be changed at will."""

from __future__ import annotations

from typing import Any

from alerts.mail import Letter, Sender

SENDER = Sender("alerts@tcewatch.example", "tcewatch")


def facts(**changes: Any) -> dict[str, Any]:
    """An orange trend alert."""
    return {
        "alert": 17,
        "enterprise": "91445303MA4UQ7KJ3D",
        "name": "云安示范水泥有限公司",
        "region": "445303",
        "region_name": {"zh-CN": "云安区", "en": "Yun'an"},
        "kind": "trend",
        "period": "2026",
        "subject": "equivalent",
        "reason": "raised",
        "level": "orange",
        "was": "yellow",
        "day": "2026-07-20",
        "as_of": "2026-07-20T00:00:00+08:00",
        "unit": "tce",
        "budget": 120000.0,
        "revision": 2,
        "spent": 68250.5,
        "planned": 64100.0,
        "projected": 125040.0,
        "low80": 121300.0,
        "high80": 129100.0,
        "p_over": 0.91,
        "crossing": "2026-12-16",
        "cover30": 0.993,
        "estimated30": 0.004,
        "before": {"p_over": 0.7, "projected": 122900.0, "day": "2026-06-28"},
        "contributors": [
            {"what": {"zh-CN": "煤", "en": "coal"}, "tce": 50210.0, "share": 0.736},
            {"what": {"zh-CN": "电力", "en": "electricity"}, "tce": 17010.0, "share": 0.249},
            {"what": {"zh-CN": "柴油", "en": "diesel"}, "tce": 1030.5, "share": 0.015},
        ],
        "chart": {
            "used": [10100, 19000, 29200, 39700, 50300, 61100, 68250.5],
            "at": 6.6,
            "plan": [float(10000 * month) for month in range(1, 13)],
        },
        "next": {"days": 3, "roles": ["legal_representative", "county"]},
        "link": "https://energy.example/alerts/17",
    } | changes


def letter(payload: dict[str, Any], **changes: Any) -> Letter:
    fields: dict[str, Any] = {
        "message_id": "<a17.3.5@tcewatch.example>",
        "references": "<a17@tcewatch.example>",
        "email": "manager@example.com",
        "name": "王经理",
        "language": "zh-CN",
        "payload": payload,
    }
    return Letter(**fields | changes)
