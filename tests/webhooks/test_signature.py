"""The signature is the one of the specification."""

from __future__ import annotations

import pytest

from app.webhooks.signature import headers, read, shown, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE, AT_S, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'


def test_the_published_example() -> None:
    """The example that libraries of the specification (standard-webhooks, 1.0.0) test themselves with."""
    assert signature(read(SECRET), MESSAGE, AT_S, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_secret_changes_both_sign() -> None:
    sent = headers([b"new" * 10, read(SECRET)], MESSAGE, AT_S, BODY)
    assert sent["webhook-id"] == MESSAGE
    assert sent["webhook-timestamp"] == str(AT_S)
    assert sent["webhook-signature"].split()[1] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_read_as_it_was_shown() -> None:
    assert read(shown(b"\x00\xff" * 16)) == b"\x00\xff" * 16
    with pytest.raises(ValueError, match="no secret"):
        read("whsec_?")
