"""From the bytes of a message to columns, and to the refusals of what cannot be read. Pure.

There are two ways through. The quick way takes a message in which nothing is wrong and makes no object per reading in
the columns form. Everything else goes the careful way, which looks at one reading after the other, so that a bad one
never spoils its neighbours. Both give the same result; the quick way only declines.
"""

from __future__ import annotations

import csv
import io
import json
import math
import zlib
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from ingest.batch import Code, Received, Refusal
from ingest.instant import instant_us, instants_us, whole
from ingest.wire import (
    CSV_TYPE,
    DETAILS,
    JSON_TYPE,
    READINGS_MAX,
    SEQ_MAX,
    Columns,
    Message,
    Snapshot,
    Table,
    read_columns,
    read_message,
    read_snapshot,
    read_table,
    shown,
)

RAW_MAX = 8 << 20
"""Largest message, in bytes, before and after decompression, unless the caller says otherwise."""
MEMBERS_MAX = 1000
"""Parts of a packed body, each with a head of its own: eight megabytes in blocks of 64 KB are 128."""
CRUMB_BYTES = 256
"""So many packed bytes are unpacked at a time. zstd makes at most some eight megabytes of them."""
INT_DIGITS_MAX = 310
"""No finite float64 has more digits before the point, and longer ones are costly to convert."""


class Malformed(Exception):
    """The message as a whole cannot be read. The text says what is wrong with it."""


class TooLarge(Exception):
    """A compressed body holds more than may be unpacked."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The readable readings of one message as equally long columns, and the refusals of the others.

    meters: code of each row as it was sent. at_us: int64[n], microseconds since 1970 UTC. value: float64[n], finite.
    quality: int16[n], 0 to 3; None means all 0. position: int32[n], place of each row among the readings of the
    message; None means 0 to n-1. refusals have `message` 0.
    """

    seq: int | None
    revise: bool
    meters: Sequence[str]
    at_us: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.int16] | None
    position: npt.NDArray[np.int32] | None
    refusals: Sequence[Refusal]

    @property
    def readings(self) -> int:
        """Readings of the message, readable or not; a message that cannot be read at all counts as one."""
        return len(self.meters) + len(self.refusals)

    def place_of(self, position: int) -> int:
        """The row in which the reading of a position stands."""
        return position if self.position is None else int(np.searchsorted(self.position, position))


@dataclass(slots=True)
class Sheaf:
    """Several decoded messages side by side: what `Decoded` is for one.

    seqs, revise, sizes: one a message; `sizes` counts its readable readings. meters, at_us, value, quality, position:
    one a readable reading, message after message, as in `Decoded`. The refusals name the message's place in the sheaf.
    """

    seqs: list[int | None]
    revise: list[bool]
    sizes: list[int]
    meters: list[str]
    at_us: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.int16] | None
    position: npt.NDArray[np.int32] | None
    refusals: list[Refusal]

    @property
    def readings(self) -> int:
        """Readings of all messages, readable or not."""
        return len(self.meters) + len(self.refusals)

    def part(self, first: int, last: int) -> Sheaf:
        """Messages first to last - 1, as a sheaf of their own."""
        start, stop = sum(self.sizes[:first]), sum(self.sizes[:last])
        return Sheaf(
            self.seqs[first:last],
            self.revise[first:last],
            self.sizes[first:last],
            self.meters[start:stop],
            self.at_us[start:stop],
            self.value[start:stop],
            None if self.quality is None else self.quality[start:stop],
            None if self.position is None else self.position[start:stop],
            [_of_message(one, one.message - first) for one in self.refusals if first <= one.message < last],
        )


def decode_many(messages: Sequence[Received], raw_max: int = RAW_MAX) -> Sheaf:
    """Read messages that came together; each comes out as `decode` would read it. Never raises.

    All of them go the quick way together or, when one of them is not plain and sound, by halves, so that a bad one
    costs its neighbours little.
    """
    quick = _quick_sheaf(messages, raw_max)
    if quick is not None:
        return quick
    if len(messages) > 1:
        half = len(messages) // 2
        return side_by_side([decode_many(messages[:half], raw_max), decode_many(messages[half:], raw_max)])
    return sheaf_of([decode(messages[0], raw_max)])


def sheaf_of(decoded: Sequence[Decoded]) -> Sheaf:
    """Messages that were decoded one by one."""
    return side_by_side([_sheaf_of_one(one) for one in decoded])


def _sheaf_of_one(one: Decoded) -> Sheaf:
    return Sheaf(
        [one.seq],
        [one.revise],
        [len(one.meters)],
        list(one.meters),
        one.at_us,
        one.value,
        one.quality,
        one.position,
        list(one.refusals),
    )


def side_by_side(sheaves: Sequence[Sheaf]) -> Sheaf:
    """One sheaf of all."""
    if len(sheaves) == 1:
        return sheaves[0]
    refusals: list[Refusal] = []
    before = 0
    for one in sheaves:
        refusals += [_of_message(refusal, before + refusal.message) for refusal in one.refusals]
        before += len(one.sizes)
    quality = position = None
    if any(one.quality is not None for one in sheaves):
        zeros = (np.zeros(len(one.meters), np.int16) if one.quality is None else one.quality for one in sheaves)
        quality = np.concatenate(list(zeros))
    if any(one.position is not None for one in sheaves):
        counted = (positions(one.sizes) if one.position is None else one.position for one in sheaves)
        position = np.concatenate(list(counted))
    return Sheaf(
        list(chain.from_iterable(one.seqs for one in sheaves)),
        list(chain.from_iterable(one.revise for one in sheaves)),
        list(chain.from_iterable(one.sizes for one in sheaves)),
        list(chain.from_iterable(one.meters for one in sheaves)),
        np.concatenate([one.at_us for one in sheaves]) if sheaves else np.empty(0, np.int64),
        np.concatenate([one.value for one in sheaves]) if sheaves else np.empty(0),
        quality,
        position,
        refusals,
    )


def positions(sizes: Sequence[int]) -> npt.NDArray[np.int32]:
    """0 to n-1 for each message of n readings."""
    counts = np.array(sizes, np.int64)
    starts = np.cumsum(counts) - counts
    return (np.arange(int(counts.sum())) - np.repeat(starts, counts)).astype(np.int32)


def _of_message(refusal: Refusal, message: int) -> Refusal:
    return Refusal(message, refusal.position, refusal.meter, refusal.at, refusal.value, refusal.code, refusal.detail)


def decode(received: Received, raw_max: int = RAW_MAX) -> Decoded:
    """Read one message in the form its content type names (JSON if it names none). Never raises."""
    try:
        media, encoding = read_content_type(received.content_type)
        raw = received.raw
        if len(raw) > raw_max:
            raise Malformed(f"{len(raw)} bytes are more than the {raw_max} allowed")
        if encoding:
            raw = _unpacked(raw, encoding, raw_max)
        if not raw or raw.isspace():
            raise Malformed("the message is empty")
        return _decode_csv(raw) if media == CSV_TYPE else _decode_json(raw)
    except Malformed as error:
        return nothing_but(str(error))


def nothing_but(detail: str, seq: int | None = None) -> Decoded:
    """A message refused as a whole."""
    refusal = Refusal(0, None, None, None, None, Code.MALFORMED, detail)
    return Decoded(seq, False, (), np.empty(0, np.int64), np.empty(0), None, None, (refusal,))


@lru_cache(maxsize=256)
def read_content_type(content_type: str) -> tuple[str, str]:
    """Media type and, if the body is still compressed, the `encoding` parameter; both lower case."""
    media, _, parameters = content_type.partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "encoding":
            return media.strip().lower(), value.strip().strip('"').lower()
    return media.strip().lower(), ""


def inflate(raw: bytes, encoding: str, limit: int) -> bytes:
    """Unpack a gzip or zstd body. Raises Malformed when it is broken, TooLarge when over `limit` bytes come out."""
    try:
        if encoding == "gzip":
            return _members(raw, encoding, limit, lambda: zlib.decompressobj(wbits=31))
        if encoding == "zstd":
            # The window bounds what one frame may ask to keep in memory while unpacking (its header says how much).
            frames = zstandard.ZstdDecompressor(max_window_size=1 << 23)
            return _members(raw, encoding, limit, lambda: frames.decompressobj())
    except (zlib.error, zstandard.ZstdError) as error:
        raise Malformed(f"the body is not {encoding}: {error}") from error
    raise Malformed(f"{encoding} is not an encoding this service unpacks; gzip and zstd are")


def _unpacked(raw: bytes, encoding: str, limit: int) -> bytes:
    try:
        return inflate(raw, encoding, limit)
    except TooLarge as error:
        raise Malformed(str(error)) from error


class Unpacker(Protocol):
    """One gzip member or zstd frame on its way through."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _members(raw: bytes, encoding: str, limit: int, begin: Callable[[], Unpacker]) -> bytes:
    """Members (frames) one after the other, each to its end. In crumbs, so that no bomb fills the memory."""
    out = bytearray()
    at = members = 0
    while at < len(raw):
        members += 1
        if members > MEMBERS_MAX:
            raise Malformed(f"the {encoding} body has more than {MEMBERS_MAX} parts")
        unpacker = begin()
        while not unpacker.eof:
            if at == len(raw):
                raise Malformed(f"the {encoding} body ends too early")
            crumb = raw[at : at + CRUMB_BYTES]
            out += unpacker.decompress(crumb)
            at += len(crumb)
            if len(out) > limit:
                raise TooLarge(f"more than {limit} bytes come out of this {encoding} body")
        at -= len(unpacker.unused_data)
    return bytes(out)


# The quick way --------------------------------------------------------------------------------------------------------


def _decode_json(raw: bytes) -> Decoded:
    # Plain ASCII without escapes: what the decoder shows is then letter for letter what was sent.
    if raw.isascii() and b"\\" not in raw:
        try:
            decoded = _quick(read_message(raw), raw.count(b":"))
        except (msgspec.DecodeError, RecursionError):
            decoded = None
        if decoded is not None:
            return decoded
    return _carefully(raw)


def _quick(message: Message, colons: int) -> Decoded | None:
    """The columns of a sound message, or None when anything has to be looked at closely.

    The decoder drops repeated keys without a word. So every colon of the text has to be accounted for: one for each key
    that was decoded and those inside the times. If one is left over there is a repeated or an unknown key.
    """
    keys = (
        (message.seq is not None)
        + (message.revise is not None)
        + (message.ts is not None)
        + (message.vals is not None)
        + (message.rows is not None)
        + (message.meters is not None)
        + (message.t is not None)
        + (message.values is not None)
        + (message.q is not None)
    )
    left = colons - 1 - keys
    if message.meters is not None:
        return _quick_columns(message, left)
    if message.rows is not None:
        return _quick_rows(message, left)
    return _quick_map(message, left)


def _quick_sheaf(messages: Sequence[Received], raw_max: int) -> Sheaf | None:
    """The quick way for all of them, or None when one of them declines it."""
    raws = [one.raw for one in messages]
    joined = b"".join(raws)
    if not joined.isascii() or b"\\" in joined:
        return None
    if len(joined) > raw_max and max(map(len, raws)) > raw_max:
        return None
    if {one.content_type for one in messages} != {JSON_TYPE}:
        return None
    try:
        colons = joined.count(b":")
        if b'"meters"' in raws[0]:
            return _sheaf_of_columns(list(map(read_columns, raws)), colons)
        if b'"vals"' in raws[0]:
            return _sheaf_of_snapshots(list(map(read_snapshot, raws)), colons)
        return _sheaf_of_tables(list(map(read_table, raws)), colons)
    except (msgspec.DecodeError, RecursionError):
        return None


def _sheaf_of_columns(messages: list[Columns], colons: int) -> Sheaf | None:
    """All in the form of columns. The colons are accounted for over all of them: none can have fewer than its keys."""
    seqs = [one.seq for one in messages]
    revise = [one.revise for one in messages]
    meters = [one.meters for one in messages]
    t = [one.t for one in messages]
    values = [one.values for one in messages]
    qualities = [one.q for one in messages]
    count = len(messages)
    keys = 4 * count + 3 * count - seqs.count(None) - revise.count(None) - qualities.count(None)
    sizes = list(map(len, meters))
    if colons != keys or sizes != list(map(len, t)) or sizes != list(map(len, values)):
        return None
    if not min(sizes) > 0 or max(sizes) > READINGS_MAX:
        return None
    quality = None
    if qualities.count(None) < count:
        filled = [[0] * size if q is None else q for q, size in zip(qualities, sizes, strict=True)]
        if sizes != list(map(len, filled)):
            return None
        quality = _flat(filled, np.int16)
    flat = list(chain.from_iterable(meters)) if count > 1 else meters[0]
    return Sheaf(
        seqs,
        list(map(bool, revise)),
        sizes,
        flat,
        _flat(t, np.int64) * 1000,
        _flat(values, np.float64),
        quality,
        None,
        [],
    )


def _flat(lists: list[list[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.array(list(chain.from_iterable(lists)) if len(lists) > 1 else lists[0], kind)


def _sheaf_of_snapshots(messages: list[Snapshot], colons: int) -> Sheaf | None:
    """All with one time for all their meters."""
    seqs = [one.seq for one in messages]
    revise = [one.revise for one in messages]
    vals = [one.vals for one in messages]
    times = [one.ts for one in messages]
    graded = [one for one in messages if one.q is not None]
    sizes = list(map(len, vals))
    keys = 3 * len(messages) + len(messages) - seqs.count(None) + len(messages) - revise.count(None)
    keys += sum(sizes) + "".join(times).count(":") + sum(1 + len(one.q or ()) for one in graded)
    if colons != keys or not min(sizes) > 0 or max(sizes) > READINGS_MAX:
        return None
    at_us, refused = instants_us(times)
    if refused:
        return None
    quality = None
    if graded:
        grades = [(one.q or {}).get(meter, 0) for one in messages for meter in one.vals]
        quality = np.array(grades, np.int16)
    value = np.array(list(chain.from_iterable(one.values() for one in vals)), np.float64)
    flat = list(chain.from_iterable(vals))
    return Sheaf(seqs, list(map(bool, revise)), sizes, flat, np.repeat(at_us, sizes), value, quality, None, [])


def _sheaf_of_tables(messages: list[Table], colons: int) -> Sheaf | None:
    """All in the form of rows."""
    seqs = [one.seq for one in messages]
    revise = [one.revise for one in messages]
    sizes = [len(one.rows) for one in messages]
    rows = list(chain.from_iterable(one.rows for one in messages))
    times = [row.ts for row in rows]
    keys = 2 * len(messages) + len(messages) - seqs.count(None) + len(messages) - revise.count(None)
    if colons != keys + "".join(times).count(":") or not min(sizes) > 0 or max(sizes) > READINGS_MAX:
        return None
    at_us, refused = instants_us(times)
    if refused:
        return None
    grades = [row.quality for row in rows]
    quality = np.array(grades, np.int16) if any(grades) else None
    value = np.array([row.value for row in rows], np.float64)
    return Sheaf(seqs, list(map(bool, revise)), sizes, [row.meter for row in rows], at_us, value, quality, None, [])


def _quick_columns(message: Message, left: int) -> Decoded | None:
    meters, t, values, q = message.meters, message.t, message.values, message.q
    if meters is None or t is None or values is None:
        return None
    if message.vals is not None or message.rows is not None or message.ts is not None or isinstance(q, dict):
        return None
    sizes = {len(meters), len(t), len(values), len(meters if q is None else q)}
    if left or len(sizes) > 1:
        return None
    at_us = np.array(t, np.int64) * 1000
    quality = None if q is None else np.array(q, np.int16)
    return _sound(message, meters, at_us, np.array(values, np.float64), quality)


def _quick_rows(message: Message, left: int) -> Decoded | None:
    rows = message.rows
    if rows is None or message.t is not None or message.values is not None:
        return None
    if message.q is not None or message.vals is not None or message.ts is not None:
        return None
    times = [row.ts for row in rows]
    if left != "".join(times).count(":"):
        return None
    at_us, refused = instants_us(times)
    if refused:
        return None
    value = np.array([row.value for row in rows], np.float64)
    quality = np.array([row.quality for row in rows], np.int16)
    return _sound(message, [row.meter for row in rows], at_us, value, quality)


def _quick_map(message: Message, left: int) -> Decoded | None:
    vals, ts, q = message.vals, message.ts, message.q
    if vals is None or ts is None or isinstance(q, list):
        return None
    if message.t is not None or message.values is not None:
        return None
    at_us = instant_us(ts)
    if isinstance(at_us, Code) or left != len(vals) + len(q or ()) + ts.count(":"):
        return None
    quality = np.array([q.get(meter, 0) for meter in vals], np.int16) if q else None
    value = np.array(list(vals.values()), np.float64)
    return _sound(message, list(vals), np.full(len(vals), at_us, np.int64), value, quality)


def _sound(
    message: Message,
    meters: Sequence[str],
    at_us: npt.NDArray[np.int64],
    value: npt.NDArray[np.float64],
    quality: npt.NDArray[np.int16] | None,
) -> Decoded | None:
    # The decoder lets no number through that is not finite.
    if not 0 < len(meters) <= READINGS_MAX:
        return None
    return Decoded(message.seq, bool(message.revise), meters, at_us, value, quality, None, ())


# The careful way ------------------------------------------------------------------------------------------------------

Sent = tuple[object, object, object, object]
"""Meter, time, value, quality as they were sent."""


def _carefully(raw: bytes) -> Decoded:
    message = _read_json(raw)
    _check_version(message)
    seq = _read_seq(message)
    try:
        revise = message.get("revise")
        if not isinstance(revise, bool | None):
            raise Malformed("revise is neither true nor false")
        return _sift(_readings(message), seq, bool(revise))
    except Malformed as error:
        return nothing_but(str(error), seq)


def _read_json(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: byte {error.start} is {raw[error.start]:#04x}") from error
    try:
        message = json.loads(text, object_pairs_hook=_without_repeats, parse_int=_bounded_int)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Malformed(f"not JSON: {error.msg} at {where}") from error
    except RecursionError as error:
        raise Malformed("not JSON that can be read: nested too deeply") from error
    if not isinstance(message, dict):
        raise Malformed("the message is not a JSON object")
    return message


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        times = Tally(key for key, _ in pairs)
        raise Malformed(f"the key {shown(times.most_common(1)[0][0])} occurs twice")
    return found


def _bounded_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= INT_DIGITS_MAX else math.inf


def _check_version(message: dict[str, Any]) -> None:
    version = message.get("v")
    if version is None:
        raise Malformed('the version is missing; it should be "v":1')
    if whole(version) != 1:
        raise Malformed(f'version {shown(version)} is not known; it should be "v":1')


def _read_seq(message: dict[str, Any]) -> int | None:
    sent = message.get("seq")
    if sent is None:
        return None
    seq = whole(sent)
    if seq is None or not 0 <= seq <= SEQ_MAX:
        raise Malformed(f"seq is {shown(sent)}; it should be a whole number from 0 to {SEQ_MAX}")
    return seq


def _readings(message: dict[str, Any]) -> list[Sent | str]:
    """The readings one by one; a text in place of a reading says why there is none."""
    forms = {
        "vals": message.get("vals") is not None,
        "rows": message.get("rows") is not None,
        "meters, t, values": any(message.get(key) is not None for key in ("meters", "t", "values")),
    }
    present = [form for form, there in forms.items() if there]
    if not present:
        raise Malformed("nothing in it: there is neither vals nor rows nor meters, t, values")
    if len(present) > 1:
        raise Malformed(f"more than one form at once: {' and '.join(present)}")
    readings = {"vals": _of_map, "rows": _of_rows}.get(present[0], _of_columns)(message)
    if not readings:
        raise Malformed("nothing in it: it holds no reading")
    return readings


def _check_size(readings: Sequence[object] | dict[str, Any]) -> None:
    if len(readings) > READINGS_MAX:
        raise Malformed(f"{len(readings)} readings are more than the {READINGS_MAX} of one message")


def _of_map(message: dict[str, Any]) -> list[Sent | str]:
    vals, ts = message["vals"], message.get("ts")
    q = {} if message.get("q") is None else message["q"]
    if not isinstance(vals, dict) or not isinstance(q, dict):
        raise Malformed("vals and q should be objects from meter to number")
    if ts is None:
        raise Malformed("ts is missing: vals have no time")
    _check_size(vals)
    return [(meter, ts, value, q.get(meter)) for meter, value in vals.items()]


def _of_rows(message: dict[str, Any]) -> list[Sent | str]:
    rows = message["rows"]
    if not isinstance(rows, list):
        raise Malformed("rows should be an array of [meter, ts, value, quality]")
    if message.get("q") is not None or message.get("ts") is not None:
        raise Malformed("ts and q stand inside the rows, not beside them")
    _check_size(rows)
    return [_of_row(row) for row in rows]


def _of_row(row: object) -> Sent | str:
    if not isinstance(row, list) or not 3 <= len(row) <= 4:
        return "the row is not [meter, ts, value] or [meter, ts, value, quality]"
    return row[0], row[1], row[2], row[3] if len(row) == 4 else None


def _of_columns(message: dict[str, Any]) -> list[Sent | str]:
    columns = {key: message.get(key) for key in ("meters", "t", "values")}
    if message.get("ts") is not None:
        raise Malformed("ts beside columns: the times stand in t")
    if message.get("q") is not None:
        columns["q"] = message["q"]
    for key, column in columns.items():
        if not isinstance(column, list):
            raise Malformed(f"{key} should be an array, as meters, t and values are")
    sizes = {key: len(column) for key, column in columns.items() if column is not None}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{key} {size}" for key, size in sizes.items())
        raise Malformed(f"the columns are not equally long: {told}")
    meters, t, values = (message[key] for key in ("meters", "t", "values"))
    _check_size(meters)
    return list(zip(meters, t, values, message.get("q") or [None] * len(meters), strict=True))


def _decode_csv(raw: bytes) -> Decoded:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: byte {error.start} is {raw[error.start]:#04x}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    readings: list[Sent | str] = []
    lines: list[int] = []
    order: dict[str, int] | None = None
    try:
        for cells in reader:
            if not cells or cells == [""] or all(cell.isspace() for cell in cells):
                continue
            if order is None:
                order, is_header = _read_header(cells)
                if is_header:
                    continue
            if len(readings) == READINGS_MAX:
                raise Malformed(f"more than the {READINGS_MAX} readings of one message")
            readings.append(_of_cells(cells, order))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise Malformed(f"not CSV: {error} in row {reader.line_num}") from error
    if not readings:
        raise Malformed("nothing in it: there is no row of meter,ts,value,quality")
    return _sift(readings, None, False, lines)


def _read_header(cells: list[str]) -> tuple[dict[str, int], bool]:
    """The place of each column, and whether this first row names them."""
    names = [cell.strip().lower() for cell in cells]
    if {"meter", "ts", "value"} <= set(names):
        return {name: names.index(name) for name in ("meter", "ts", "value", "quality") if name in names}, True
    return {"meter": 0, "ts": 1, "value": 2, "quality": 3}, False


def _of_cells(cells: list[str], order: dict[str, int]) -> Sent | str:
    quality = order.get("quality", len(cells))
    needed = max(order["meter"], order["ts"], order["value"])
    if not needed < len(cells) <= max(needed, *order.values()) + 1:
        return "the row is not meter,ts,value,quality"
    meter, ts, value = (cells[order[name]].strip() for name in ("meter", "ts", "value"))
    return meter, ts, _number(value), _whole_number(cells[quality] if quality < len(cells) else "")


def _number(cell: str) -> float | str:
    """A cell as JSON would have written it. Digits with underscores and the like are no number on this wire."""
    try:
        return float(cell) if cell.isascii() and "_" not in cell else cell
    except ValueError:
        return cell


def _whole_number(cell: str) -> int | str | None:
    cell = cell.strip()
    return None if not cell else int(cell) if len(cell) == 1 and cell in "0123456789" else cell


def _sift(readings: list[Sent | str], seq: int | None, revise: bool, lines: Sequence[int] | None = None) -> Decoded:
    """Part the readable readings from the others."""
    meters: list[str] = []
    at_us: list[int] = []
    values: list[float] = []
    qualities: list[int] = []
    positions: list[int] = []
    refusals: list[Refusal] = []
    for position, reading in enumerate(readings):
        read = _read(reading)
        if isinstance(read, Refusal):
            where = "" if lines is None else f"row {lines[position]}: "
            refusals.append(_placed(read, position, where))
            continue
        meter, at, value, quality = read
        meters.append(meter)
        at_us.append(at)
        values.append(value)
        qualities.append(quality)
        positions.append(position)
    return Decoded(
        seq,
        revise,
        meters,
        np.array(at_us, np.int64),
        np.array(values, np.float64),
        np.array(qualities, np.int16) if any(qualities) else None,
        np.array(positions, np.int32) if refusals else None,
        refusals,
    )


def _placed(refusal: Refusal, position: int, where: str) -> Refusal:
    return Refusal(0, position, refusal.meter, refusal.at, refusal.value, refusal.code, where + refusal.detail)


def _read(reading: Sent | str) -> tuple[str, int, float, int] | Refusal:
    if isinstance(reading, str):
        return Refusal(0, None, None, None, None, Code.MALFORMED, reading)
    meter, at, value, quality = reading
    if not isinstance(meter, str):
        return _refuse(reading, Code.MALFORMED, "the meter is not a text")
    grade = 0 if quality is None else whole(quality)
    if grade is None or not 0 <= grade <= 3:
        return _refuse(reading, Code.MALFORMED, f"the quality is {shown(quality)}; it should be 0, 1, 2 or 3")
    at_us = instant_us(at)
    if isinstance(at_us, Code):
        return _refuse(reading, at_us)
    number = _finite(value)
    return _refuse(reading, Code.NOT_A_NUMBER) if number is None else (meter, at_us, number, grade)


def _refuse(reading: Sent, code: Code, detail: str | None = None) -> Refusal:
    meter, at, value, _ = reading
    return Refusal(0, None, shown(meter), shown(at), shown(value), code, detail or DETAILS[code])


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
