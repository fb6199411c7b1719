"""What meters, clocks and networks do to a stream. Pure: the same seed and the same readings give the same fault.

A fault is a function from readings to readings, so faults can be put one after the other. Those of a meter or a clock
look at a reading's own time alone: cut into pieces or not, the stream comes out the same. Those of the network move
readings inside the piece they are given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from simulators.message import Readings, joined, stamp
from simulators.noise import Floats, Ints, key_of, uniform, whole
from simulators.plants import PlantPlan

Marks = npt.NDArray[np.bool_]
Fault = Callable[[Readings], Readings]
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open [start, end) in milliseconds since 1970 UTC."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms <= self.start_ms:
            raise ValueError("a window ends after it starts")

    def holds(self, at_ms: Ints) -> Marks:
        return (at_ms >= self.start_ms) & (at_ms < self.end_ms)


# the network ----------------------------------------------------------------------------------------------------------


def doubled(stream: Readings, share: float, seed: int) -> Readings:
    """A share (0..1) of the readings comes a second time, after all others: the acknowledgement was lost."""
    again = uniform(_key_of_stream(seed, "double", stream), np.arange(len(stream), dtype=np.int64)) < share
    return joined([stream, stream.take(again)])


def disordered(stream: Readings, reach: int, seed: int) -> Readings:
    """No reading overtakes one that is more than `reach` places ahead of it."""
    place = np.arange(len(stream), dtype=np.int64)
    shift = uniform(_key_of_stream(seed, "disorder", stream), place) * (reach + 1)
    return stream.take(np.argsort(place + shift, kind="stable"))


def lost_contact(stream: Readings, window: Window) -> Readings:
    """The gateway could not send in the window. Once it can, it sends what is new first and its backlog after that."""
    kept = window.holds(stream.at_ms)
    return joined([stream.take(~kept), stream.take(kept)])


# the clock ------------------------------------------------------------------------------------------------------------


def drifted(stream: Readings, ms_per_day: float, since_ms: int) -> Readings:
    """A clock that was right at `since_ms` and has gained `ms_per_day` (negative: lost) a day since."""
    gained = np.rint(np.maximum(stream.at_ms - since_ms, 0) * (ms_per_day / DAY_MS)).astype(np.int64)
    return Readings(stream.codes, stream.meter, stream.at_ms + gained, stream.value, stream.quality)


# the meter ------------------------------------------------------------------------------------------------------------


def rolled_over(stream: Readings, code: str, offset: float, rolls_over_at: float) -> Readings:
    """The register stands `offset` higher than it did, and so comes to its end earlier. It shows hundredths."""
    top = round(rolls_over_at * 100)
    shown = (np.rint(stream.value * 100).astype(np.int64) + round(offset * 100)) % top / 100
    return _changed(stream, _of(stream, code), shown)


def gap(stream: Readings, code: str, window: Window) -> Readings:
    """Nobody read the meter in the window; it went on counting, so the next reading catches up."""
    return stream.take(~(_of(stream, code) & window.holds(stream.at_ms)))


def stuck(stream: Readings, code: str, window: Window, shown: float) -> Readings:
    """The display stands still at `shown` in the window and is right again afterwards."""
    return _changed(stream, _of(stream, code) & window.holds(stream.at_ms), np.full(len(stream), shown))


def glitch_to_zero(stream: Readings, code: str, window: Window) -> Readings:
    """The meter answers 0 in the window, as some do while they start, and returns to its old course."""
    return _changed(stream, _of(stream, code) & window.holds(stream.at_ms), np.zeros(len(stream)))


# a city with troubles -------------------------------------------------------------------------------------------------


def troubles(plans: Sequence[PlantPlan], start_ms: int, end_ms: int, seed: int) -> dict[str, tuple[Fault, ...]]:
    """Gateway → its faults somewhere in the time given, one each for the first plants; the others are sound.

    A demo shows with it what the service makes of each. A stuck display is not among them: it needs the value that is
    shown. Needs at least a day, else ValueError.
    """
    if end_ms - start_ms < DAY_MS:
        raise ValueError("faults need at least a day to happen in")
    found: dict[str, tuple[Fault, ...]] = {}
    for number, plan in enumerate(plans[: len(_KINDS)]):
        key = key_of("trouble", seed, number)
        from_ms = start_ms + whole(key, 0, (end_ms - start_ms - DAY_MS) // HOUR_MS) * HOUR_MS
        found[plan.gateway] = (_KINDS[number](plan, Window(from_ms, from_ms + DAY_MS), key),)
    return found


def with_faults(stream: Readings, faults: Sequence[Fault]) -> Readings:
    """One fault after the other."""
    for fault in faults:
        stream = fault(stream)
    return stream


def described(fault: Fault) -> str:
    """In words for people: what it is and, where it has one, the local time at which it begins."""
    kind = fault.func.__name__.replace("_", " ") if isinstance(fault, partial) else "fault"
    window = fault.keywords.get("window") if isinstance(fault, partial) else None
    return f"{kind} from {stamp(window.start_ms)}" if isinstance(window, Window) else kind


def _register(plan: PlantPlan) -> str:
    return next(meter.code for meter in plan.meters if meter.kind == "register")


def _first_hour(window: Window) -> Window:
    return Window(window.start_ms, window.start_ms + HOUR_MS)


_KINDS: tuple[Callable[[PlantPlan, Window, int], Fault], ...] = (
    lambda plan, window, key: partial(doubled, share=0.1, seed=key),
    lambda plan, window, key: partial(disordered, reach=20, seed=key),
    lambda plan, window, key: partial(drifted, ms_per_day=2_000.0, since_ms=window.start_ms),
    lambda plan, window, key: partial(gap, code=_register(plan), window=window),
    lambda plan, window, key: partial(glitch_to_zero, code=_register(plan), window=_first_hour(window)),
    lambda plan, window, key: partial(lost_contact, window=window),
)

NO_FAULTS: Mapping[str, Sequence[Fault]] = {}


def _of(stream: Readings, code: str) -> Marks:
    """Which readings are a meter's. Raises ValueError for a meter the stream does not have."""
    found: Marks = stream.meter == stream.codes.index(code)
    return found


def _changed(stream: Readings, where: Marks, values: Floats) -> Readings:
    return Readings(stream.codes, stream.meter, stream.at_ms, np.where(where, values, stream.value), stream.quality)


def _key_of_stream(seed: int, kind: str, stream: Readings) -> int:
    """Another piece of the same stream is disturbed in another way."""
    return key_of(kind, seed, int(stream.at_ms[0]) if len(stream) else 0)
