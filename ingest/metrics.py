"""What ingest counts, for Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingest.batch import Door
from ingest.wire import Receipt

GROUP_ROWS = (1, 10, 100, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class IngestMetrics:
    """The series of one ingest process. Labels are few and closed: no meter and no gateway is among them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tcewatch_ingest_{name}", text, labels, registry=registry)

        self.messages = counter("messages", "Messages taken in", "door")
        self.bytes = counter("bytes", "Bytes of messages taken in", "door")
        self.readings = counter("readings", "Readings taken in", "door")
        self.stored = counter("readings_stored", "Readings newly committed")
        self.duplicate = counter("readings_duplicate", "Readings that were there already")
        self.revised = counter("readings_revised", "Readings that replaced another value")
        self.rejected = counter("readings_rejected", "Readings refused", "code")
        self.retries = counter("retries", "Attempts to commit that found no ledger")
        self.full = counter("full", "Messages turned away because too many readings wait")
        self.unauthorised = counter("unauthorised", "Requests without a valid gateway secret")
        self.status_messages = counter("status_messages", "Status messages of gateways", "state")
        self.stray_messages = counter("stray_messages", "Broker messages on topics that are none of ours")
        self.connections = counter("broker_connections", "Connections made to the broker")
        self.stale_acks = counter("stale_acks", "Acknowledgements dropped because their connection was gone")
        self.group_rows = Histogram(
            "tcewatch_ingest_group_rows", "Readings in one commit", buckets=GROUP_ROWS, registry=registry
        )
        self.commit_s = Histogram(
            "tcewatch_ingest_commit_seconds", "Time of one commit", buckets=SECONDS, registry=registry
        )
        self.acknowledged_s = Histogram(
            "tcewatch_ingest_acknowledged_seconds",
            "From a message's arrival to its acknowledgement",
            buckets=SECONDS,
            registry=registry,
        )
        self.broker_connected = Gauge(
            "tcewatch_ingest_broker_connected", "1 while the broker answers", registry=registry
        )
        self.unacknowledged = Gauge(
            "tcewatch_ingest_broker_unacknowledged", "Broker messages not yet acknowledged", registry=registry
        )
        self.sequence_gaps = Gauge(
            "tcewatch_ingest_sequence_gaps", "Gaps in the gateways' counts of messages", registry=registry
        )
        self._pending_rows = Gauge("tcewatch_ingest_pending_rows", "Readings that wait for a commit", registry=registry)
        self._oldest_s = Gauge(
            "tcewatch_ingest_oldest_pending_seconds", "Age of the oldest message that waits", registry=registry
        )
        self._by_door = {
            door: tuple(each.labels(door.value) for each in (self.messages, self.bytes, self.readings)) for door in Door
        }

    def watch(self, pending_rows: Callable[[], float], oldest_pending_s: Callable[[], float]) -> None:
        """Let the gauges ask the pipeline when somebody looks."""
        self._pending_rows.set_function(pending_rows)
        self._oldest_s.set_function(oldest_pending_s)

    def came_in(self, door: Door, size: int, readings: int) -> None:
        messages, length, count = self._by_door[door]
        messages.inc()
        length.inc(size)
        count.inc(readings)

    def committed(self, receipts: Sequence[Receipt], commit_s: float, waited_s: Sequence[float]) -> None:
        """Count one group; `waited_s` is the time from arrival to now of each of its messages."""
        stored = sum(receipt.stored for receipt in receipts)
        duplicate = sum(receipt.duplicate for receipt in receipts)
        revised = sum(receipt.revised for receipt in receipts)
        codes = Tally(refusal.code.value for receipt in receipts for refusal in receipt.rejected)
        self.stored.inc(stored)
        self.duplicate.inc(duplicate)
        self.revised.inc(revised)
        for code, times in codes.items():
            self.rejected.labels(code).inc(times)
        self.group_rows.observe(stored + duplicate + revised + codes.total())
        self.commit_s.observe(commit_s)
        for seconds in waited_s:
            self.acknowledged_s.observe(seconds)
