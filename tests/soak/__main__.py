"""`python -m tests.soak PART`: seeded runs of what may happen to the service, more of them than a test has time for.

Every run is made from its own seed, which is printed, so that one that fails can be run again alone:
`python -m tests.soak ingest --seed 17 --runs 1`. It ends by itself: after so many runs or so many minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from tests.alerts.killing import killed_alerts
from tests.faults.soak import harmed_ingest

Run = Callable[[int], str]
"""One run from its seed: answers a line of what was seen, raises AssertionError when a promise was broken."""

PARTS: Mapping[str, Callable[[], AbstractContextManager[Run]]] = {
    "alerts": killed_alerts,
    "ingest": harmed_ingest,
}

RUNS: Mapping[str, int] = {"alerts": 1_000, "ingest": 200}


def main(arguments: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    made.add_argument("part", choices=sorted(PARTS), help="what is soaked")
    made.add_argument("--runs", type=int, help=f"how many runs at most; else {RUNS}")
    made.add_argument("--seed", type=int, default=1, help="seed of the first run; each following has the next number")
    made.add_argument("--minutes", type=float, default=60.0, help="no new run after so many minutes")
    asked = made.parse_args(arguments)
    broken = []
    with PARTS[asked.part]() as run:
        for seed in seeds(asked.seed, asked.runs or RUNS[asked.part], asked.minutes * 60):
            try:
                print(f"{asked.part} {seed}: {run(seed)}", flush=True)
            except AssertionError as error:
                broken.append(seed)
                print(f"{asked.part} {seed}: BROKEN: {error}", flush=True)
    print(f"{asked.part}: broken with the seeds {broken}" if broken else f"{asked.part}: every promise was kept")
    return 1 if broken else 0


def seeds(first: int, runs: int, seconds: float) -> Iterator[int]:
    """So many numbers one after the other, until the time is over."""
    end = time.monotonic() + seconds
    for seed in range(first, first + runs):
        if time.monotonic() > end:
            return
        yield seed


if __name__ == "__main__":
    sys.exit(main())
