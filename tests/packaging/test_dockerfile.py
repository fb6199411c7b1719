"""The Dockerfile without a container engine: the rules of a sound image, and that what it copies is there."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of each instruction, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in whole.splitlines() if line.strip())]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def only(stage: list[tuple[str, str]], word: str) -> str:
    (found,) = [rest for name, rest in stage if name == word]
    return found


def test_every_base_image_is_pinned_by_its_minor_version_and_is_the_same() -> None:
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim", bases[0])


def test_the_python_of_the_image_is_one_we_say_we_support() -> None:
    version = only(instructions()[:1], "FROM").split()[0].removeprefix("python:").removesuffix("-slim")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_what_runs_is_not_root() -> None:
    user = only(last_stage(), "USER")
    assert user.isdigit(), "a number: an orchestrator can see that it is not root"
    assert int(user) > 0
    words = [word for word, _ in last_stage()]
    assert words.index("USER") < words.index("CMD")


def test_whatever_is_installed_is_checked_against_its_hash() -> None:
    """Our own wheel is the one exception, and it brings nothing with it."""
    for word, rest in instructions():
        for command in rest.split("&&") if word == "RUN" else ():
            if "pip install" in command:
                assert "--require-hashes" in command or ("--no-deps" in command and "/wheels/" in command), command
            if "pip wheel" in command:
                assert "--no-deps" in command
                assert "--no-build-isolation" in command


def test_the_health_check_asks_the_service_itself_without_another_program() -> None:
    check = only(last_stage(), "HEALTHCHECK")
    assert "/healthz" in check
    command = json.loads(check.partition(" CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")


def test_it_starts_the_service_directly_so_that_the_stop_signal_reaches_it() -> None:
    assert json.loads(only(last_stage(), "CMD")) == ["tcewatch", "serve"]
    assert only(last_stage(), "STOPSIGNAL") == "SIGTERM"
    assert all(word != "ENTRYPOINT" for word, _ in last_stage())


def test_nothing_secret_is_built_in() -> None:
    for word, rest in instructions():
        assert not re.search(r"(?i)password|secret|token|://[^/ ]*@", rest), f"{word} {rest}"
        assert word != "ADD", "COPY takes files as they are"
        assert word != "ARG", "build arguments stay readable in the image"


def copied() -> list[str]:
    found = (rest.split() for word, rest in instructions() if word == "COPY" and not rest.startswith("--from"))
    return [source for words in found for source in words[:-1]]


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_is_there_and_is_sent_to_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert f"!{source.split('/')[0]}" in ignore


def test_nothing_else_is_sent_to_the_builder() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {source.split("/")[0] for source in copied()}


def test_every_room_of_the_wheel_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(copied())
