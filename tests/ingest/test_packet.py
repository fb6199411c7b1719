"""What we write, read back by the rules of the standard."""

from __future__ import annotations

import pytest

from ingest.packet import pubacks, publish


def test_acknowledgements_stand_one_after_the_other() -> None:
    assert pubacks([1, 0x1234]) == bytes.fromhex("40020001 40021234")
    assert pubacks([]) == b""


def test_a_receipt_with_correlation_byte_by_byte() -> None:
    packet = publish("a/b", b"{}", content_type="t", correlation=b"\x00\xff")
    assert packet == bytes.fromhex("30 11 0003 612f62 09 03 0001 74 09 0002 00ff 7b7d")


@pytest.mark.parametrize(
    ("payload", "length"), [(0, "09"), (118, "7f"), (119, "8001"), (16374, "ff7f"), (16375, "808001")]
)
def test_the_length_takes_as_many_bytes_as_it_needs(payload: int, length: str) -> None:
    packet = publish("t", bytes(payload), content_type="xy")
    assert packet[1:].startswith(bytes.fromhex(length))
    assert len(packet) == 1 + len(bytes.fromhex(length)) + 9 + payload
