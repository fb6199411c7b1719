"""The signature of a webhook, after the Standard Webhooks specification 1.0.0 (symmetric, v1). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

SECRET_PREFIX = "whsec_"  # noqa: S105  # the public start of every secret
SECRET_BYTES = 32
"""The specification asks for 24 to 64 random bytes."""


def shown(secret: bytes) -> str:
    """The secret as its owner gets it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def read(words: str) -> bytes:
    """The bytes of a secret as shown. Raises ValueError."""
    try:
        return base64.b64decode(words.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("no secret of a webhook") from error


def signature(secret: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def headers(secrets: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> Mapping[str, str]:
    """What a delivery carries. While a secret is being changed there are two, and a signature by each."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp_s, body) for secret in secrets),
    }
