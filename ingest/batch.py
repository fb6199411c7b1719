"""The shapes a reading has on its way in: a message, its rows as columns, what was refused, and the verdicts.

On the hot path a reading is a row of columns, not an object. A group is what one commit takes: the messages of every
door that arrived while the last commit ran, with all their rows side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import msgspec
import numpy as np
import numpy.typing as npt


class Door(StrEnum):
    """Which way a message came in."""

    BROKER = "broker"
    LISTENER = "listener"
    HTTP = "http"


class Code(StrEnum):
    """Why a reading was refused. The words are part of the contract and never change."""

    UNKNOWN_METER = "unknown-meter"
    FOREIGN_METER = "foreign-meter"
    BAD_TIMESTAMP = "bad-timestamp"
    TIMESTAMP_WITHOUT_ZONE = "timestamp-without-zone"
    TIMESTAMP_IN_FUTURE = "timestamp-in-future"
    TIMESTAMP_TOO_OLD = "timestamp-too-old"
    NOT_A_NUMBER = "not-a-number"
    OUT_OF_RANGE = "out-of-range"
    CONFLICT = "conflict"
    MALFORMED = "malformed"


class Verdict(IntEnum):
    """What the ledger did with a row."""

    STORED = 0
    DUPLICATE = 1
    REVISED = 2
    CONFLICT = 3


class Received(msgspec.Struct, gc=False):
    """One message as it came in. `gateway` is proven by the door (log-in or topic right), not by the payload.

    `seq` is filled in when the message is decoded. This is one of the few objects each message of the hot path needs,
    hence no dataclass: it is made ten times quicker.
    """

    door: Door
    gateway: str
    topic: str | None
    content_type: str
    raw: bytes
    received_at_us: int
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused reading, or a whole message when `position` is None. Texts are kept as they were sent."""

    message: int
    position: int | None
    meter: str | None
    at: str | None
    value: str | None
    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class ReadingBatch:
    """Rows as equally long columns, in order of arrival.

    at_us: int64[n], microseconds since 1970-01-01 UTC. meter: int32[n], the meter's number in the registry.
    value: float64[n], finite, in the meter's own unit as displayed. quality: int16[n], 0 to 3.
    message: int32[n], index of the message in the group. position: int32[n], index of the reading in its message.
    revise: bool[n], the message asked to replace another value under the same key.
    """

    at_us: npt.NDArray[np.int64]
    meter: npt.NDArray[np.int32]
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.int16]
    message: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]
    revise: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self.columns()}
        if len(lengths) > 1:
            raise ValueError(f"columns of a batch differ in length: {sorted(lengths)}")

    def columns(self) -> tuple[npt.NDArray[np.generic], ...]:
        return (self.at_us, self.meter, self.value, self.quality, self.message, self.position, self.revise)

    def __len__(self) -> int:
        return len(self.at_us)


@dataclass(frozen=True, slots=True)
class Group:
    """What one commit takes: messages, their sound rows, and what was refused before the ledger saw it."""

    messages: Sequence[Received]
    rows: ReadingBatch
    refusals: Sequence[Refusal]
