"""The two MQTT 5 packets the service sends most, written directly: property objects cost more than a commit.

PUBACK for messages taken, PUBLISH with QoS 0 for their receipts. Pure; the numbers are those of the standard.
"""

from __future__ import annotations

from collections.abc import Iterable

PUBLISH_QOS0 = b"\x30"  # 3.3.1
PUBACK = b"\x40\x02"  # 3.4.2.1: with two bytes left the reason is "success"
CONTENT_TYPE, CORRELATION_DATA = b"\x03", b"\x09"  # 2.2.2.2


def pubacks(packet_ids: Iterable[int]) -> bytes:
    """One PUBACK for each packet id (1 to 65535), in the order given."""
    return b"".join(PUBACK + packet_id.to_bytes(2, "big") for packet_id in packet_ids)


def publish(topic: str, payload: bytes, *, content_type: str, correlation: bytes | None = None) -> bytes:
    """A PUBLISH with QoS 0, neither retained nor repeated. Topic and correlation data hold at most 65,535 bytes."""
    properties = CONTENT_TYPE + _counted(content_type.encode())
    if correlation is not None:
        properties += CORRELATION_DATA + _counted(correlation)
    rest = _counted(topic.encode()) + _length(len(properties)) + properties + payload
    return PUBLISH_QOS0 + _length(len(rest)) + rest


def _counted(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _length(number: int) -> bytes:
    """Seven bits a byte, lowest first, the eighth says that more follow (1.5.5)."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
