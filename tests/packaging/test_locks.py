"""The lock files: exact versions with hashes, no address, and nothing of pyproject left out."""

from __future__ import annotations

import re
from importlib.metadata import distributions

import pytest
from packaging.requirements import Requirement

from tests.packaging.repository import LOCKS, canonical, pins, project, text


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_version_with_its_hashes(lock: str) -> None:
    found = pins(lock)
    assert found
    for name, (_, hashes) in found.items():
        assert hashes, f"{name} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), name
        assert len(set(hashes)) == len(hashes), name


@pytest.mark.parametrize("lock", LOCKS)
def test_no_address_of_an_index_is_named(lock: str) -> None:
    content = text(f"requirements/{lock}")
    assert "://" not in content
    assert re.findall(r"(?m)^\s*-", content.replace("    --hash=", "")) == []
    assert "index" not in content


@pytest.mark.parametrize(
    "line",
    ["numpy>=2", "--extra-index-url=x", "numpy @ file:///x", "-e .", "numpy", "# a comment"],
)
def test_the_reader_refuses_what_is_no_pin(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.packaging.repository.text", lambda _: f"{line}\n")
    with pytest.raises(ValueError, match="not a pin"):
        pins("run.txt")


def named(requirements: list[object]) -> set[str]:
    return {canonical(re.split(r"[\[<>=!~; ]", str(requirement), maxsplit=1)[0]) for requirement in requirements}


def test_every_dependency_is_locked() -> None:
    content = project()
    run = named(content["project"]["dependencies"])
    dev = named(content["dependency-groups"]["dev"])
    build = named(content["build-system"]["requires"])
    assert run <= {name for name, _ in pins("run.txt")}
    assert run | dev | build <= {name for name, _ in pins("dev.txt")}
    assert build <= {name for name, _ in pins("build.txt")}


@pytest.mark.parametrize("smaller", ["run.txt", "build.txt"])
def test_what_is_tested_is_what_runs(smaller: str) -> None:
    tested = pins("dev.txt")
    assert {
        key: (version, tested[key][0]) for key, (version, _) in pins(smaller).items() if tested[key][0] != version
    } == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_no_package_needs_one_that_is_not_locked(lock: str) -> None:
    """pip refuses a hashed list that is not whole. What each installed package needs is asked of itself."""
    names = {name for name, _ in pins(lock)}
    installed = {canonical(found.name): found for found in distributions()}
    for name in names & installed.keys():
        needs = map(Requirement, installed[name].requires or ())
        wanted = {canonical(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})}
        assert wanted <= names, f"{name} needs {wanted - names}"


def test_what_runs_is_free_of_what_only_tests() -> None:
    only_tests = {"pytest", "mypy", "ruff", "hypothesis", "hatchling"}
    assert only_tests.isdisjoint(name for name, _ in pins("run.txt"))
