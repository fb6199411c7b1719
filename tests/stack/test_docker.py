"""The last way to a stack: Docker. A program of that name writes down what it is asked and answers as the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.stack import stack as module
from app.stack.stack import COMPOSE, COMPOSE_ADDRESSES, Stack, variable
from app.stack.trouble import StackTrouble

PROGRAM = """#!/bin/sh
echo "$*" >>"{asked}"
case "$*" in
info) exit {info} ;;
*" ps "*) echo {running} ;;
*" up "*) [ {up} = 0 ] || echo "no space left on device" >&2; exit {up} ;;
esac
"""


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(cache: Path) -> None:
        raise StackTrouble("there is nothing here")

    monkeypatch.setattr(module, "find_programs", nothing)


def a_docker(folder: Path, monkeypatch: pytest.MonkeyPatch, *, info: int = 0, up: int = 0, running: str = "") -> Path:
    """Puts a `docker` on the path; answers the file with what it was asked."""
    asked, program = folder / "asked", folder / "docker"
    program.write_text(PROGRAM.format(asked=asked, info=info, up=up, running=running), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return asked


def a_stack(folder: Path, **given: str) -> Stack:
    return Stack(state=folder / "state", environment={variable(name): address for name, address in given.items()})


def asked_of_compose(asked: Path, word: str) -> list[str]:
    lines = asked.read_text(encoding="utf-8").splitlines()
    start = f"compose -f {COMPOSE} {word}"
    return [line.removeprefix(start).strip() for line in lines if line.startswith(start)]


@pytest.mark.usefixtures("no_programs")
def test_with_nothing_else_the_parts_are_containers_and_end_with_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = a_docker(tmp_path, monkeypatch)
    stack = a_stack(tmp_path)
    found = stack.up().environment()
    assert found == {variable(name): address for name, address in COMPOSE_ADDRESSES.items()}
    assert asked_of_compose(asked, "up") == ["-d --wait database broker mail"]
    again = a_stack(tmp_path).addresses()
    assert again is not None
    assert again.environment() == found
    assert a_stack(tmp_path).down() == ["database", "broker", "mail"]
    assert asked_of_compose(asked, "stop") == ["database broker mail"]
    assert a_stack(tmp_path).addresses() is None
    assert a_stack(tmp_path).down() == []


@pytest.mark.usefixtures("no_programs")
def test_containers_that_ran_before_are_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = a_docker(tmp_path, monkeypatch, running="database mail")
    a_stack(tmp_path).up()
    assert a_stack(tmp_path).down() == ["broker"]
    assert asked_of_compose(asked, "stop") == ["broker"]


@pytest.mark.usefixtures("no_programs")
def test_a_second_up_still_knows_what_the_first_one_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_docker(tmp_path, monkeypatch, running="mail")
    a_stack(tmp_path).up()
    a_docker(tmp_path, monkeypatch, running="database broker mail")
    a_stack(tmp_path).up()
    assert a_stack(tmp_path).down() == ["database", "broker"]


@pytest.mark.usefixtures("no_programs")
def test_what_is_given_is_no_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = a_docker(tmp_path, monkeypatch)
    found = a_stack(tmp_path, mqtt_url="mqtt://elsewhere:1").up()
    assert found.mqtt_url == "mqtt://elsewhere:1"
    assert asked_of_compose(asked, "up") == ["-d --wait database mail"]


@pytest.mark.usefixtures("no_programs")
def test_what_docker_complains_of_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_docker(tmp_path, monkeypatch, up=1)
    with pytest.raises(StackTrouble, match="docker compose up failed:\nno space left on device"):
        a_stack(tmp_path).up()


@pytest.mark.usefixtures("no_programs")
def test_without_a_daemon_the_first_reason_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_docker(tmp_path, monkeypatch, info=1)
    with pytest.raises(StackTrouble, match="there is nothing here"):
        a_stack(tmp_path).up()
