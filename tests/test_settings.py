"""Variables of the environment that look like settings."""

from __future__ import annotations

from app.settings import unread


def test_a_misspelt_variable_is_named_with_the_one_it_may_be_meant_for() -> None:
    assert unread({"TCEWATCH_CLOSING_DY": "5"}) == ["TCEWATCH_CLOSING_DY is no setting; TCEWATCH_CLOSING_DAY is one"]


def test_one_that_is_like_none_is_named_alone() -> None:
    assert unread({"TCEWATCH_XQ": "5"}) == ["TCEWATCH_XQ is no setting"]


def test_settings_and_what_other_parts_read_are_no_strays() -> None:
    assert (
        unread({"TCEWATCH_DATABASE_URL": "x", "TCEWATCH_STATE_DIR": "x", "tcewatch_http_port": "1", "HOME": "/"}) == []
    )
