"""The published wire: topics, the three JSON forms of a message, and the receipt that answers it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, overload

import msgspec

from ingest.batch import Code, Received, Refusal
from ingest.packet import Property

ROOT = "energy/v1"
LEVEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
TOPIC = re.compile(r"energy/v1/([A-Za-z0-9_-]{1,64})/(data|status|ack|cmd)")
ANSWERS = re.compile(
    r"energy/v1/([A-Za-z0-9_-]{1,64})/(?!(?:data|status|cmd)\Z)[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64})*"
)
"""Where a gateway may have receipts sent: under its own name, and not where a message means something else."""
JSON_TYPE = "application/json"
CSV_TYPE = "text/csv"

READINGS_MAX = 100_000
"""Most readings in one message. Smaller than any body limit allows, so that a body of commas cannot fill the memory."""
RECEIPT_REFUSALS_MAX = 1000
"""Most refusals a receipt spells out; the others are counted in it and kept in the ledger all the same."""
TEXT_MAX = 200
"""Longest text of a refusal, in characters. The message itself is kept whole beside it."""
SEQ_MAX = 2**63 - 1
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 0001 to 9999 in milliseconds since 1970: what can be written as RFC 3339."""


class Channel(StrEnum):
    """The last level of a topic. Gateways publish `data` and `status`, the service publishes `ack` and `cmd`."""

    DATA = "data"
    STATUS = "status"
    ACK = "ack"
    CMD = "cmd"


def topic_of(gateway: str, channel: Channel) -> str:
    return f"{ROOT}/{gateway}/{channel}"


def read_topic(topic: str) -> tuple[str, Channel] | None:
    """Gateway and channel of a topic, or None when the topic is not of this grammar."""
    match = TOPIC.fullmatch(topic)
    return (match[1], Channel(match[2])) if match else None


def is_level(text: str) -> bool:
    """Whether a text may stand as a gateway's level in a topic."""
    return LEVEL.fullmatch(text) is not None


def answer_topic(gateway: str, wanted: str | None) -> str:
    """Where a receipt goes: the topic the gateway asked for if it is its own, else its `ack` topic."""
    match = None if wanted is None else ANSWERS.fullmatch(wanted)
    return match[0] if match is not None and match[1] == gateway else topic_of(gateway, Channel.ACK)


def content_type_of(properties: Mapping[int, object]) -> str:
    """What an MQTT message says it is, by its properties; JSON if it says nothing."""
    return (shown(properties.get(Property.CONTENT_TYPE)) or JSON_TYPE) if properties else JSON_TYPE


def shown(sent: object) -> str | None:
    """What was sent, as text that can be stored, logged and encoded: without NUL and lone surrogates, not too long."""
    if sent is None:
        return None
    if isinstance(sent, list | dict):
        return "[…]" if isinstance(sent, list) else "{…}"
    text = (sent if isinstance(sent, str) else str(sent))[:TEXT_MAX].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode() if text.isascii() else _without_surrogates(text)


def _without_surrogates(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


Quality = Annotated[int, msgspec.Meta(ge=0, le=3)]
Milliseconds = Annotated[int, msgspec.Meta(ge=FIRST_MS, le=LAST_MS)]


class Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """`[meter, ts, value]` or `[meter, ts, value, quality]`."""

    meter: str
    ts: str
    value: float
    quality: Quality = 0


class Message(msgspec.Struct):
    """A message in which nothing is wrong, in any of the three forms. Whatever does not fit is read the careful way.

    One timestamp: `ts`, `vals`, `q` by meter. Rows: `rows`. Columns: `meters`, `t`, `values`, `q` in the same order.
    """

    v: Literal[1]
    seq: Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)] | None = None
    revise: bool | None = None
    ts: str | None = None
    vals: dict[str, float] | None = None
    rows: list[Row] | None = None
    meters: list[str] | None = None
    t: list[Milliseconds] | None = None
    values: list[float] | None = None
    q: dict[str, Quality] | list[Quality] | None = None


read_message = msgspec.json.Decoder(Message).decode


class Columns(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A `Message` in the form of columns and nothing else: the form most readings come in."""

    v: Literal[1]
    meters: list[str]
    t: list[Milliseconds]
    values: list[float]
    seq: Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)] | None = None
    revise: bool | None = None
    q: list[Quality] | None = None


class Snapshot(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A `Message` in the form of one time for many meters and nothing else."""

    v: Literal[1]
    ts: str
    vals: dict[str, float]
    seq: Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)] | None = None
    revise: bool | None = None
    q: dict[str, Quality] | None = None


class Table(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A `Message` in the form of rows and nothing else."""

    v: Literal[1]
    rows: list[Row]
    seq: Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)] | None = None
    revise: bool | None = None


read_columns = msgspec.json.Decoder(Columns).decode
read_snapshot = msgspec.json.Decoder(Snapshot).decode
read_table = msgspec.json.Decoder(Table).decode


class Status(msgspec.Struct):
    """What a gateway, or its last will, says of itself."""

    state: Literal["online", "offline"]


read_status = msgspec.json.Decoder(Status).decode


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to one message, after commit. The counts and the refusals add up to the readings it held."""

    received: Received
    stored: int
    duplicate: int
    revised: int
    rejected: Sequence[Refusal]

    @property
    def taken(self) -> int:
        return self.stored + self.duplicate + self.revised

    def encode(self, spelled: int = RECEIPT_REFUSALS_MAX) -> bytes:
        """As it is sent. Refusals beyond `spelled` are only counted."""
        answer: dict[str, object] = {
            "seq": self.received.seq,
            "stored": self.stored,
            "duplicate": self.duplicate,
            "revised": self.revised,
            "rejected": [_spelled(refusal) for refusal in self.rejected[:spelled]],
        }
        if len(self.rejected) > spelled:
            answer["rejected_more"] = len(self.rejected) - spelled
        return msgspec.json.encode(answer)


class Receipts(Sequence[Receipt]):
    """The answers to messages that came together, in their order.

    counts: three equally long columns, how many readings of each message were stored, duplicates and revised. refused:
    the refusals of the few messages that have any, by their place.
    """

    __slots__ = ("counts", "messages", "refused")

    def __init__(
        self,
        messages: Sequence[Received],
        counts: tuple[Sequence[int], Sequence[int], Sequence[int]],
        refused: Mapping[int, Sequence[Refusal]],
    ) -> None:
        self.messages = messages
        self.counts = counts
        self.refused = refused

    def __len__(self) -> int:
        return len(self.messages)

    @overload
    def __getitem__(self, place: int) -> Receipt: ...

    @overload
    def __getitem__(self, place: slice) -> Receipts: ...

    def __getitem__(self, place: int | slice) -> Receipt | Receipts:
        stored, duplicate, revised = self.counts
        if isinstance(place, slice):
            first, last, _ = place.indices(len(self))
            refused = {at - first: found for at, found in self.refused.items() if first <= at < last}
            counts = stored[first:last], duplicate[first:last], revised[first:last]
            return Receipts(self.messages[first:last], counts, refused)
        if place < 0 or place >= len(self):
            raise IndexError(place)
        refusals = self.refused.get(place, ())
        return Receipt(self.messages[place], stored[place], duplicate[place], revised[place], refusals)

    def __add__(self, other: Receipts) -> Receipts:
        later = {len(self) + at: found for at, found in other.refused.items()}
        (a, b, c), (d, e, f) = self.counts, other.counts
        return Receipts([*self.messages, *other.messages], ([*a, *d], [*b, *e], [*c, *f]), {**self.refused, **later})

    def taken(self, place: int) -> int:
        """How many readings of a message were taken."""
        return sum(column[place] for column in self.counts)

    def encoded(self) -> list[bytes]:
        """Each receipt as it is sent. The plain ones are put together from their numbers, as `encode` would."""
        refused = self.refused
        return [
            self[place].encode()
            if place in refused
            else b'{"seq":%s,"stored":%d,"duplicate":%d,"revised":%d,"rejected":[]}'
            % (b"null" if message.seq is None else b"%d" % message.seq, stored, duplicate, revised)
            for place, (message, stored, duplicate, revised) in enumerate(zip(self.messages, *self.counts, strict=True))
        ]


def _spelled(refusal: Refusal) -> dict[str, object]:
    return {
        "i": refusal.position,
        "meter": refusal.meter,
        "code": refusal.code.value,
        "detail": refusal.detail,
    }


def resend(first_seq: int, last_seq: int) -> bytes:
    """The command that asks a gateway for its messages from one number to another, both included."""
    return msgspec.json.encode({"resend": [first_seq, last_seq]})


DETAILS: dict[Code, str] = {
    Code.UNKNOWN_METER: "this enterprise has no active meter of this code",
    Code.FOREIGN_METER: "this meter reports through another gateway",
    Code.BAD_TIMESTAMP: "not an RFC 3339 time such as 2026-11-23T09:15:00+08:00, nor whole milliseconds since 1970",
    Code.TIMESTAMP_WITHOUT_ZONE: "the time has no offset; write +08:00 or Z behind it",
    Code.TIMESTAMP_IN_FUTURE: "the time is ahead of the server's clock; check the gateway's clock",
    Code.TIMESTAMP_TOO_OLD: "the time is before the oldest that is taken",
    Code.NOT_A_NUMBER: "the value is not a finite number",
    Code.OUT_OF_RANGE: "the value is not one this meter can show",
    Code.CONFLICT: "another value is stored under this meter and time; send revise to replace it",
}
"""What a person reads beside each code. A malformed reading says for itself what is wrong with it."""
