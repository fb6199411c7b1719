"""The pinned requirements: everything exact, everything hashed, and not a word about where it comes from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,_-]+\])?==(?P<version>[0-9][\w.!+]*)(?: ; .+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def pins(file: Path) -> dict[str, str]:
    """Name → version of each requirement. A line of any other form fails here."""
    joined = file.read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in filter(None, joined.splitlines()):
        pin, *hashes = re.split(r"\s+(?=--hash)", line.strip())
        matched = PIN.fullmatch(pin.strip())
        assert matched is not None, f"{file.name}: {line[:80]}"
        assert hashes, f"{file.name}: {pin} has no hash"
        assert all(HASH.fullmatch(each.strip()) for each in hashes), f"{file.name}: {pin}"
        found[matched["name"]] = matched["version"]
    return found


def normal(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_the_three_files_are_there() -> None:
    assert [file.name for file in FILES] == ["build.txt", "dev.txt", "run.txt"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_requirement_is_exact_and_hashed(file: Path) -> None:
    assert len(pins(file)) >= 5


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_names_an_address(file: Path) -> None:
    assert re.findall(r"://|--index|--extra-index|--find-links|\s@\s|localhost", file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", ["run.txt", "build.txt"])
def test_what_runs_and_builds_is_what_was_tested(name: str) -> None:
    tested = pins(ROOT / "requirements" / "dev.txt")
    assert {k: v for k, v in pins(ROOT / "requirements" / name).items() if tested.get(k) != v} == {}


def test_every_dependency_of_the_project_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    run = {normal(requirement) for requirement in project["project"]["dependencies"]}
    dev = {normal(requirement) for requirement in project["dependency-groups"]["dev"]}
    build = {normal(requirement) for requirement in project["build-system"]["requires"]}
    assert run <= pins(ROOT / "requirements" / "run.txt").keys()
    assert run | dev <= pins(ROOT / "requirements" / "dev.txt").keys()
    assert build <= pins(ROOT / "requirements" / "build.txt").keys()
