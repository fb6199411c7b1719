"""`python -m tests.fuzz json|csv|packed|frames`: feed a target what coverage suggests, from the kept corpus on.

What breaks it is written to the folder it is started in, by the name the fuzzer prints. Put it into `tests/fuzz/corpus`
together with the mending: the tests read every file there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ingest"]):
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    made = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    made.add_argument("target", choices=sorted(TARGETS))
    made.add_argument("--seconds", type=int, default=60, help="how long it runs")
    made.add_argument("--seed", type=int, default=1)
    asked = made.parse_args()
    with tempfile.TemporaryDirectory() as found:
        options = [f"-max_total_time={asked.seconds}", f"-seed={asked.seed}", "-timeout=10", "-rss_limit_mb=1024"]
        atheris.Setup(
            [sys.argv[0], *options, "-max_len=4096", found, str(CORPUS / asked.target)], TARGETS[asked.target]
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
