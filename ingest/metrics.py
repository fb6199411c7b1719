"""What ingest counts, for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from ingest.batch import Door
from ingest.wire import Receipts

GROUP_ROWS = (1, 10, 100, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Spread:
    """A histogram in which many equal observations cost no more than one."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._bounds = tuple(bounds)
        self._times = [0] * (len(bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float, times: int = 1) -> None:
        self._times[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def describe(self) -> Iterable[Metric]:
        return [HistogramMetricFamily(self._name, self._text)]

    def collect(self) -> Iterable[Metric]:
        upper = [*map(floatToGoString, self._bounds), "+Inf"]
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric([], list(zip(upper, accumulate(self._times), strict=True)), self._sum)
        return [family]


@dataclass(frozen=True, slots=True)
class Tallied:
    """What became of the readings of one group."""

    messages: int
    stored: int
    duplicate: int
    revised: int
    codes: Mapping[str, int]
    """Code → refusals."""

    @classmethod
    def of(cls, receipts: Receipts) -> Tallied:
        stored, duplicate, revised = map(sum, receipts.counts)
        codes = Tally(refusal.code.value for refused in receipts.refused.values() for refusal in refused)
        return cls(len(receipts), stored, duplicate, revised, codes)

    @property
    def rejected(self) -> int:
        return sum(self.codes.values())

    def facts(self) -> dict[str, object]:
        """For the log."""
        return {
            "messages": self.messages,
            "stored": self.stored,
            "duplicate": self.duplicate,
            "revised": self.revised,
            "rejected": self.rejected,
        }


class IngestMetrics:
    """The series of one ingest process. Labels are few and closed: no meter and no gateway is among them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._add_counters()
        self._add_spreads()
        self._add_gauges()
        self._by_door = {
            door: tuple(each.labels(door.value) for each in (self.messages, self.bytes, self.readings)) for door in Door
        }

    def _add_counters(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tcewatch_ingest_{name}", text, labels, registry=self.registry)

        self.messages = counter("messages", "Messages taken in", "door")
        self.bytes = counter("bytes", "Bytes of messages taken in", "door")
        self.readings = counter("readings", "Readings taken in", "door")
        self.stored = counter("readings_stored", "Readings newly committed")
        self.duplicate = counter("readings_duplicate", "Readings that were there already")
        self.revised = counter("readings_revised", "Readings that replaced another value")
        self.given_back = counter(
            "readings_given_back", "Readings taken in and given back unkept, for want of a ledger"
        )
        self.rejected = counter("readings_rejected", "Readings refused", "code")
        self.replayed = counter("readings_replayed", "Refused readings that were tried again", "verdict")
        self.retries = counter("retries", "Attempts to commit that found no ledger")
        self.full = counter("full", "Messages turned away because too many readings wait")
        self.unauthorised = counter("unauthorised", "Requests without a valid gateway secret")
        self.status_messages = counter("status_messages", "Status messages of gateways", "state")
        self.stray_messages = counter("stray_messages", "Broker messages on topics that are none of ours")
        self.connections = counter("broker_connections", "Connections made to the broker")
        self.clock_steps = counter("clock_steps", "Times this machine's clock was found to have been set")
        self.stale_acks = counter("stale_acks", "Acknowledgements dropped because their connection was gone")
        self.listener_connections = counter("listener_connections", "Connections made to the listener")
        self.listener_ended = counter("listener_ended", "Connections to the listener that ended, and why", "why")

    def _add_spreads(self) -> None:
        def spread(name: str, text: str, bounds: Sequence[float]) -> Spread:
            return Spread(f"tcewatch_ingest_{name}", text, bounds, self.registry)

        self.group_rows = spread("group_rows", "Readings in one commit", GROUP_ROWS)
        self.commit_s = spread("commit_seconds", "Time of one commit", SECONDS)
        self.acknowledged_s = spread("acknowledged_seconds", "From a message's arrival to its acknowledgement", SECONDS)

    def _add_gauges(self) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"tcewatch_ingest_{name}", text, labels, registry=self.registry)

        self.broker_connected = gauge("broker_connected", "1 while the broker answers")
        self.broker_weaknesses = gauge(
            "broker_weaknesses", "Settings of the broker that can lose acknowledged messages or mix up who sent them"
        )
        self.unacknowledged = gauge("broker_unacknowledged", "Broker messages not yet acknowledged")
        self.sequence_gaps = gauge("sequence_gaps", "Gaps in the gateways' counts of messages")
        self.gateways = gauge("gateways", "Active gateways by their state", "state")
        self.clocks_off = gauge("gateway_clocks_off", "Gateways whose clock is off beyond the bound")
        self.clock_skew_worst = gauge("gateway_clock_skew_worst_seconds", "Largest skew among those clocks")
        self._pending_rows = gauge("pending_rows", "Readings that wait for a commit")
        self._oldest_s = gauge("oldest_pending_seconds", "Age of the oldest message that waits")

    def watch(self, pending_rows: Callable[[], float], oldest_pending_s: Callable[[], float]) -> None:
        """Let the gauges ask the pipeline when somebody looks."""
        self._pending_rows.set_function(pending_rows)
        self._oldest_s.set_function(oldest_pending_s)

    def watch_listener(self, connected: Callable[[], float], unacknowledged: Callable[[], float]) -> None:
        """Show how many gateways are logged in at the listener, and how many of their messages wait."""
        for name, text, ask in (
            ("gateways", "Gateways logged in at the listener", connected),
            ("unacknowledged", "Messages of the listener not yet acknowledged", unacknowledged),
        ):
            gauge = Gauge(f"tcewatch_ingest_listener_{name}", text, registry=self.registry)
            gauge.set_function(ask)

    def came_in(self, door: Door, messages: int, size: int, readings: int) -> None:
        """Messages of one door that came together, with their bytes and readings."""
        count, length, held = self._by_door[door]
        count.inc(messages)
        length.inc(size)
        held.inc(readings)

    def committed(self, tally: Tallied, commit_s: float, waited_s: Iterable[tuple[float, int]]) -> None:
        """Count one group; `waited_s` is the time from arrival to now, and how many messages waited so long."""
        self.stored.inc(tally.stored)
        self.duplicate.inc(tally.duplicate)
        self.revised.inc(tally.revised)
        for code, times in tally.codes.items():
            self.rejected.labels(code).inc(times)
        self.group_rows.observe(tally.stored + tally.duplicate + tally.revised + tally.rejected)
        self.commit_s.observe(commit_s)
        for seconds, messages in waited_s:
            self.acknowledged_s.observe(seconds, messages)

    def replayed_readings(self, facts: Mapping[str, int]) -> None:
        """Count what became of refused readings that were tried again."""
        for verdict in ("stored", "duplicate", "revised", "rejected"):
            self.replayed.labels(verdict).inc(facts[verdict])
