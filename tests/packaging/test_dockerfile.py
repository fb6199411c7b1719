"""The Dockerfile, read as its instructions: what a linter would say, and what only we can know."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest

from app.settings import PREFIX, Settings
from tests.packaging.repository import ROOT, instructions, project, text

KNOWN = {
    *("FROM", "RUN", "CMD", "LABEL", "EXPOSE", "ENV", "ADD", "COPY", "ENTRYPOINT", "VOLUME", "USER", "WORKDIR", "ARG"),
    *("ONBUILD", "STOPSIGNAL", "HEALTHCHECK", "SHELL"),
}
SECRET = re.compile(r"(?i)(password|secret|token)")


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    return instructions(text("Dockerfile"))


@pytest.fixture(scope="module")
def last_stage(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    start = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
    return steps[start:]


def arguments(steps: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for found, rest in steps if found == word]


def environment(steps: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in arguments(steps, "ENV") for pair in rest.split())


def test_every_instruction_is_known(steps: list[tuple[str, str]]) -> None:
    assert {word for word, _ in steps} <= KNOWN
    assert steps[0][0] in {"FROM", "ARG"}


def test_the_base_is_pinned_and_one_for_build_and_run(steps: list[tuple[str, str]]) -> None:
    bases = {rest.split()[0] for rest in arguments(steps, "FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+(\.\d+)?-slim-[a-z]+", bases.pop())
    assert len(arguments(steps, "FROM")) == 2


def test_the_python_of_the_image_is_one_we_name(steps: list[tuple[str, str]]) -> None:
    found = re.match(r"python:(3\.\d+)", arguments(steps, "FROM")[0])
    assert found is not None
    assert f"Programming Language :: Python :: {found[1]}" in project()["project"]["classifiers"]


def test_packages_come_by_their_hashes(steps: list[tuple[str, str]]) -> None:
    installs = [
        command
        for rest in arguments(steps, "RUN")
        for command in re.split(r"&&|;", rest)
        if re.search(r"\bpip (install|wheel)\b", command)
    ]
    assert len(installs) == 4
    for command in installs:
        assert "--require-hashes -r requirements/" in command or "--no-deps" in command, command
        assert "index" not in command
    assert any("requirements/run.txt" in command for command in installs)


def test_nothing_is_fetched_by_address(steps: list[tuple[str, str]]) -> None:
    assert arguments(steps, "ADD") == []
    for word in ("RUN", "COPY"):
        for rest in arguments(steps, word):
            assert not re.search(r"\b(curl|wget|git clone|https?://)", rest), rest


def test_it_runs_as_nobody_special(last_stage: list[tuple[str, str]]) -> None:
    (user,) = arguments(last_stage, "USER")
    assert user.split(":")[0] not in {"root", "0"}
    assert f"useradd --system --uid 10001 --gid {user}" in " ".join(arguments(last_stage, "RUN"))
    after = last_stage[last_stage.index(("USER", user)) :]
    assert {"RUN", "COPY", "ADD"}.isdisjoint(word for word, _ in after)


def test_commands_are_lists_so_that_signals_reach_the_service(last_stage: list[tuple[str, str]]) -> None:
    (command,) = arguments(last_stage, "CMD")
    assert json.loads(command) == ["tcewatch", "serve"]
    assert arguments(last_stage, "ENTRYPOINT") == []
    assert project()["project"]["scripts"] == {"tcewatch": "app.cli:main"}


def test_health_is_asked_where_the_service_listens(last_stage: list[tuple[str, str]]) -> None:
    (check,) = arguments(last_stage, "HEALTHCHECK")
    options, _, command = check.partition(" CMD ")
    assert set(re.findall(r"--([a-z-]+)=\d+s?", options)) == {"interval", "timeout", "start-period", "retries"}
    program, flag, code = json.loads(command)
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    (url,) = re.findall(r"'(http[^']*)'", code)
    (port,) = arguments(last_stage, "EXPOSE")
    assert urlsplit(url).port == int(port) == int(environment(last_stage)["TCEWATCH_HTTP_PORT"])
    assert urlsplit(url).path == "/healthz"


def test_its_settings_are_settings(last_stage: list[tuple[str, str]]) -> None:
    ours = {name: value for name, value in environment(last_stage).items() if name.startswith(PREFIX)}
    assert {name.removeprefix(PREFIX).lower() for name in ours} <= Settings.model_fields.keys()
    assert ours["TCEWATCH_HTTP_HOST"] == "0.0.0.0"
    assert [name for name in environment(last_stage) if SECRET.search(name)] == []


def test_all_of_the_project_is_copied_and_let_through_to_the_engine(steps: list[tuple[str, str]]) -> None:
    sources = {
        source.rstrip("/") for rest in arguments(steps, "COPY") if "--from=" not in rest for source in rest.split()[:-1]
    }
    packages = set(project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages <= sources
    assert all((ROOT / source).exists() for source in sources)
    ignore = [line for line in text(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert ignore[0] == "*"
    let_through = {PurePosixPath(line[1:]) for line in ignore if line.startswith("!")}
    assert {str(path) for path in let_through} == sources
