"""Sends a recorded file through the wire as a gateway would.

The file is CSV, plain or gzip. A column of amounts becomes what a meter would have shown: amounts of intervals, or the
rising register whose differences they are. Shuffling, doubling and splitting disturb the stream as real networks do.
"""

import csv
import gzip
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from simulators.message import Form, Message, Readings, joined, message, readings
from simulators.noise import key_of
from simulators.wire import Door, Login, Receipt, numbered, open_door

FORMS = {"mqtt": Form.COLUMNS, "http-json": Form.ROWS, "http-csv": Form.CSV}
KINDS = ("register", "interval")
VALUE_COLUMNS = ("value", "kwh", "usage_kwh", "quantity")


class WrongReplay(Exception):
    """The file or an option cannot be used; the text says which and what it should be."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to send and how.

    `meters` maps meter code → column. `interval_s` is the length of the recorded intervals; with `stamped_at_end` the
    file names their ends. `midnight_ends_its_day`: a 00:00 that carries the date of the day it ends. `speed` is
    recorded seconds a second, 0 as fast as receipts allow.
    """

    file: Path
    gateway: str
    secret: str
    url: str
    meters: dict[str, str | None]
    door: str = "mqtt"
    kind: str = "register"
    time_column: str | None = None
    time_format: str | None = None
    zone: str = "Asia/Shanghai"
    interval_s: int = 900
    stamped_at_end: bool = False
    midnight_ends_its_day: bool = False
    start_value: Decimal = Decimal(0)
    batch: int = 500
    window: int = 8
    speed: float = 0.0
    shuffle: int | None = None
    double: bool = False
    split: int = 1
    revise: bool = False
    limit: int | None = None


PRESETS: dict[str, dict[str, Any]] = {
    # A quarter hour's energy by its end, day first, Korean time; the 00:00 row ends the day whose date it carries.
    "steel-2018": {
        "time_column": "date",
        "time_format": "%d-%m-%Y %H:%M",
        "zone": "Asia/Seoul",
        "interval_s": 900,
        "stamped_at_end": True,
        "midnight_ends_its_day": True,
    }
}
PRESET_COLUMN = {"steel-2018": "Usage_kWh"}


@dataclass(slots=True)
class Summary:
    """What the receipts said, added up."""

    messages: int = 0
    sent: int = 0
    stored: int = 0
    duplicate: int = 0
    revised: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, sent: Message, receipt: Receipt) -> None:
        self.messages += 1
        self.sent += sent.count
        self.stored += receipt["stored"]
        self.duplicate += receipt["duplicate"]
        self.revised += receipt["revised"]
        self.rejected.update(refused["code"] for refused in receipt["rejected"])

    @property
    def complete(self) -> bool:
        """Everything was taken."""
        return not self.rejected

    def __str__(self) -> str:
        refused = ", ".join(f"{code} {count}" for code, count in sorted(self.rejected.items())) or "none"
        return (
            f"{self.sent} readings in {self.messages} messages: {self.stored} stored, {self.duplicate} duplicate, "
            f"{self.revised} revised, rejected: {refused}"
        )


def replay(options: Options, progress: Callable[[Summary], None] = lambda _: None) -> Summary:
    """Send the file and answer the sum of the receipts. Raises WrongReplay, or simulators.wire.DoorClosed."""
    stream = disturbed(recorded(options), options)
    summary = Summary()
    door = open_the_door(options)

    def on_receipt(sent: Message, receipt: Receipt) -> None:
        summary.add(sent, receipt)
        progress(summary)

    try:
        door.deliver(paced(messages(stream, options), stream, options), on_receipt)
    finally:
        door.close()
    return summary


def open_the_door(options: Options) -> Door:
    if options.door not in FORMS:
        raise WrongReplay(f"--door {options.door}: choose from {', '.join(FORMS)}")
    scheme = "http" if options.door.startswith("http") else "mqtt"
    if not options.url.startswith(scheme):
        raise WrongReplay(f"--url {options.url}: the door {options.door} wants a {scheme}:// address")
    login = Login(options.gateway, options.secret)
    extra = {} if scheme == "http" else {"window": options.window}
    return open_door(options.url, login, **extra)


def recorded(options: Options) -> Readings:
    """What the gateway's meters showed, in order of time."""
    if options.kind not in KINDS:
        raise WrongReplay(f"--as {options.kind}: choose from {', '.join(KINDS)}")
    rows = list(_rows(options))
    if not rows:
        raise WrongReplay(f"{options.file} has no rows")
    columns = {code: _column(options, rows[0], name) for code, name in options.meters.items()}
    times = [_start(options, row, number) for number, row in enumerate(rows, start=2)]
    order = sorted(range(len(rows)), key=times.__getitem__)
    codes = tuple(columns)
    parts = []
    for place, column in enumerate(columns.values()):
        amounts = [_amount(rows[index][column], column, index + 2) for index in order]
        starts = [times[index] for index in order]
        shown = _register if options.kind == "register" else _intervals
        at, values = shown(starts, amounts, options)
        parts.append(readings(codes, [place] * len(at), at, values))
    return joined(parts)


def _register(starts: list[datetime], amounts: list[Decimal], options: Options) -> tuple[list[int], list[float]]:
    """The register at the first start and at every interval's end. Kept in decimals: a display drops no digit."""
    step = timedelta(seconds=options.interval_s)
    register = options.start_value
    at, values = [_ms(starts[0])], [float(register)]
    for start, amount in zip(starts, amounts, strict=True):
        register += amount
        at.append(_ms(start + step))
        values.append(float(register))
    return at, values


def _intervals(starts: list[datetime], amounts: list[Decimal], options: Options) -> tuple[list[int], list[float]]:
    return [_ms(start) for start in starts], [float(amount) for amount in amounts]


def _rows(options: Options) -> Iterator[dict[str, str]]:
    opener: Callable[..., Any] = gzip.open if options.file.suffix == ".gz" else open
    try:
        with opener(options.file, "rt", encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines)):
                if options.limit is not None and number >= options.limit:
                    return
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongReplay(f"{options.file} cannot be read: {error}") from error


def _column(options: Options, row: dict[str, str], name: str | None) -> str:
    if name is not None:
        if name not in row:
            raise WrongReplay(f"{options.file} has no column {name!r}; it has: {', '.join(row)}")
        return name
    found = [column for column in row if column.lower() in VALUE_COLUMNS]
    if len(found) != 1:
        raise WrongReplay(f"name the column of values as --meter CODE=COLUMN; {options.file} has: {', '.join(row)}")
    return found[0]


def _start(options: Options, row: dict[str, str], number: int) -> datetime:
    """When the row's interval starts, in UTC."""
    column = options.time_column or next(iter(row))
    if column not in row:
        raise WrongReplay(f"{options.file} has no column {column!r}; it has: {', '.join(row)}")
    try:
        found = _time(row[column] or "", options)
    except ValueError as error:
        raise WrongReplay(f"row {number}: {column} {row[column]!r} is not a time: {error}") from error
    if options.midnight_ends_its_day and (found.hour, found.minute, found.second) == (0, 0, 0):
        found += timedelta(days=1)
    if options.stamped_at_end:
        found -= timedelta(seconds=options.interval_s)
    return found.astimezone(UTC)


def _time(text: str, options: Options) -> datetime:
    form = options.time_format
    found = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007  # zone follows
    try:
        return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(options.zone))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise WrongReplay(f"--zone {options.zone} is no time zone") from error


def _amount(text: str | None, column: str, number: int) -> Decimal:
    """A cell's amount. A row that is too short has None there; NaN would spoil every register after it."""
    try:
        amount = Decimal((text or "").strip())
    except InvalidOperation as error:
        raise WrongReplay(f"row {number}: {column} {text!r} is not a number") from error
    if not amount.is_finite():
        raise WrongReplay(f"row {number}: {column} {text!r} is not a number")
    return amount


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def disturbed(stream: Readings, options: Options) -> Readings:
    """The stream after what a bad network does to it: doubled, then shuffled. The same seed, the same disorder."""
    if options.double:
        stream = joined([stream, stream])
    if options.shuffle is not None:
        order = list(range(len(stream)))
        random.Random(key_of("replay", options.shuffle)).shuffle(order)
        stream = stream.take(order)
    return stream


def messages(stream: Readings, options: Options) -> Iterator[Message]:
    """Numbered messages of at most `batch` readings, each cut into `split` parts."""
    size = max(1, -(-options.batch // options.split))
    for seq, batch in zip(numbered(), stream.batches(size), strict=False):
        yield message(seq, batch, FORMS[options.door], revise=options.revise)


def paced(sendings: Iterator[Message], stream: Readings, options: Options) -> Iterator[Message]:
    """Messages held back until their last reading is due at the wished speed."""
    if options.speed <= 0:
        yield from sendings
        return
    begun, first_ms, done = time.monotonic(), int(stream.at_ms.min()), 0
    for sending in sendings:
        done += sending.count
        due_s = (int(stream.at_ms[done - 1]) - first_ms) / 1000 / options.speed
        time.sleep(max(0.0, begun + due_s - time.monotonic()))
        yield sending


def parse_meters(words: Sequence[str], preset: str | None) -> dict[str, str | None]:
    """`CODE` or `CODE=COLUMN`, in the order given."""
    found: dict[str, str | None] = {}
    for word in words:
        code, _, column = word.partition("=")
        found[code] = column or PRESET_COLUMN.get(preset or "")
    if not found:
        raise WrongReplay("name at least one meter: --meter CODE or --meter CODE=COLUMN")
    return found


def with_preset(options: Options, preset: str | None) -> Options:
    """The options with a known file's ways filled in."""
    if preset is None:
        return options
    if preset not in PRESETS:
        raise WrongReplay(f"--preset {preset}: choose from {', '.join(PRESETS)}")
    return replace(options, **PRESETS[preset])
