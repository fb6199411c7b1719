"""Every decoder over the kept corpus, and over what a bounded, seeded search makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
KEPT = sorted(path for path in CORPUS.glob("*/*"))
TIMES = 300


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_kept_is_read_without_a_slip(kept: Path) -> None:
    TARGETS[kept.parent.name](kept.read_bytes())


@st.composite
def damaged(draw: st.DrawFn, target: str) -> bytes:
    """A kept input with a few bytes changed, cut out, doubled or put in."""
    data = bytearray(draw(st.sampled_from([path for path in KEPT if path.parent.name == target])).read_bytes())
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        part = draw(st.sampled_from([data[at:end] * 2, b"", draw(st.binary(max_size=8)), b"\x00", b"\xff", b"9" * 30]))
        data[at:end] = part
    return bytes(data)


@pytest.mark.parametrize("target", sorted(TARGETS))
@seed(5)
@settings(max_examples=TIMES, deadline=None, database=None)
@given(choice=st.data())
def test_damage_to_it_is_read_without_a_slip(target: str, choice: st.DataObject) -> None:
    TARGETS[target](choice.draw(damaged(target)))


@pytest.mark.parametrize("target", sorted(TARGETS))
@seed(6)
@settings(max_examples=TIMES, deadline=None, database=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_without_a_slip(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.skipif(sys.platform != "linux" or sys.version_info >= (3, 14), reason="atheris has no package for it")
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_fuzzer_runs_on_every_target(target: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz", target, "--seconds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
