"""Readings as columns, and every published form they may take on the wire. Pure."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from simulators.noise import Floats, Ints

LOCAL = timezone(timedelta(hours=8))
_encode = msgspec.json.Encoder().encode


class Form(StrEnum):
    """The bodies the contract knows: one stamp, rows, columns, and CSV (HTTP only)."""

    STAMP = "stamp"
    ROWS = "rows"
    COLUMNS = "columns"
    CSV = "csv"


class Packing(StrEnum):
    """Content encodings of an HTTP body."""

    PLAIN = "identity"
    GZIP = "gzip"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Readings:
    """Equally long columns in the order in which they are sent.

    `meter` indexes `codes`; `at_ms` is milliseconds since 1970 UTC; `value` is what the meter shows; `quality` 0..3.
    """

    codes: tuple[str, ...]
    meter: npt.NDArray[np.int32]
    at_ms: Ints
    value: Floats
    quality: npt.NDArray[np.int16]

    def __post_init__(self) -> None:
        if not len(self.meter) == len(self.at_ms) == len(self.value) == len(self.quality):
            raise ValueError("columns differ in length")

    def __len__(self) -> int:
        return len(self.at_ms)

    def take(self, index: Any) -> "Readings":
        """The readings at an index, slice or mask, in that order."""
        return Readings(self.codes, self.meter[index], self.at_ms[index], self.value[index], self.quality[index])

    def of_meter(self, code: str) -> "Readings":
        """Only the readings of one meter."""
        return self.take(self.meter == self.codes.index(code))

    def batches(self, rows: int) -> Iterator["Readings"]:
        """Consecutive pieces of at most `rows` readings."""
        for first in range(0, len(self), rows):
            yield self.take(slice(first, first + rows))


def readings(codes: Sequence[str], meter: Any, at_ms: Any, value: Any, quality: Any = None) -> Readings:
    """Readings from anything array-like; quality is 0 (good) when not given."""
    at = np.asarray(at_ms, dtype=np.int64)
    marks = np.zeros(len(at), dtype=np.int16) if quality is None else np.asarray(quality, dtype=np.int16)
    return Readings(tuple(codes), np.asarray(meter, dtype=np.int32), at, np.asarray(value, dtype=np.float64), marks)


def joined(parts: Sequence[Readings]) -> Readings:
    """Parts of the same meters one after the other."""
    if not parts:
        return readings((), [], [], [])
    if any(part.codes != parts[0].codes for part in parts):
        raise ValueError("only readings of the same meters can be joined")
    return Readings(
        parts[0].codes,
        np.concatenate([part.meter for part in parts]),
        np.concatenate([part.at_ms for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.quality for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class Message:
    """A numbered body, ready to be sent and sent again unchanged."""

    seq: int
    body: bytes
    count: int  # readings inside
    content_type: str = "application/json"
    packing: Packing = Packing.PLAIN


def stamp(at_ms: int) -> str:
    """RFC 3339 with the offset of China, milliseconds only where there are any."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(LOCAL) + timedelta(milliseconds=at_ms % 1000)
    return at.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds")


def split_by_stamp(batch: Readings) -> list[Readings]:
    """Pieces that each hold one instant and no meter twice, as the one-stamp form needs; order is kept inside."""
    pieces: list[list[int]] = []
    open_piece: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for index, (at, meter) in enumerate(zip(batch.at_ms.tolist(), batch.meter.tolist(), strict=True)):
        number = open_piece.get(at)
        if number is None or (number, meter) in seen:
            number = open_piece[at] = len(pieces)
            pieces.append([])
        seen.add((number, meter))
        pieces[number].append(index)
    return [batch.take(piece) for piece in pieces]


def _stamp_body(seq: int, batch: Readings) -> dict[str, Any]:
    names = [batch.codes[m] for m in batch.meter.tolist()]
    marks = {name: q for name, q in zip(names, batch.quality.tolist(), strict=True) if q}
    body: dict[str, Any] = {"v": 1, "seq": seq, "ts": stamp(int(batch.at_ms[0]))}
    body["vals"] = dict(zip(names, batch.value.tolist(), strict=True))
    return {**body, "q": marks} if marks else body


def _rows_body(seq: int, batch: Readings) -> dict[str, Any]:
    names = (batch.codes[m] for m in batch.meter.tolist())
    stamps = map(stamp, batch.at_ms.tolist())
    rows = list(zip(names, stamps, batch.value.tolist(), batch.quality.tolist(), strict=True))
    return {"v": 1, "seq": seq, "rows": rows}


def _columns_body(seq: int, batch: Readings) -> dict[str, Any]:
    names = np.array(batch.codes, dtype=object)[batch.meter].tolist()
    body = {"v": 1, "seq": seq, "meters": names, "t": batch.at_ms.tolist(), "values": batch.value.tolist()}
    return {**body, "q": batch.quality.tolist()}


def _csv_body(batch: Readings) -> bytes:
    lines = ["meter,ts,value,quality"]
    for meter, at, value, quality in zip(
        batch.meter.tolist(), batch.at_ms.tolist(), batch.value.tolist(), batch.quality.tolist(), strict=True
    ):
        lines.append(f"{batch.codes[meter]},{stamp(at)},{value!r},{quality}")
    return ("\n".join(lines) + "\n").encode()


def _packed(body: bytes, packing: Packing) -> bytes:
    if packing is Packing.GZIP:
        return gzip.compress(body, 5, mtime=0)
    return zstandard.ZstdCompressor(3).compress(body) if packing is Packing.ZSTD else body


def message(
    seq: int,
    batch: Readings,
    form: Form = Form.COLUMNS,
    *,
    packing: Packing = Packing.PLAIN,
    revise: bool = False,
) -> Message:
    """One message of a batch.

    The one-stamp form wants a batch of one instant (`split_by_stamp`), else ValueError; CSV carries neither number nor
    `revise`, so revising by CSV is refused with ValueError. Packing is for HTTP.
    """
    if form is Form.CSV:
        if revise:
            raise ValueError("a CSV body cannot say that it revises")
        return Message(seq, _packed(_csv_body(batch), packing), len(batch), "text/csv", packing)
    if form is Form.STAMP and len(np.unique(batch.at_ms)) != 1:
        raise ValueError("the one-stamp form holds exactly one instant")
    shape = {Form.STAMP: _stamp_body, Form.ROWS: _rows_body, Form.COLUMNS: _columns_body}[form]
    body = shape(seq, batch) | ({"revise": True} if revise else {})
    return Message(seq, _packed(_encode(body), packing), len(batch), "application/json", packing)
