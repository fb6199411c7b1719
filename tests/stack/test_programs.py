"""Which programs of a machine will do."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.stack import packages, programs
from app.stack.programs import find_programs
from app.stack.trouble import StackTrouble


def a_postgres(folder: Path, version: str, *, timescale: bool) -> Path:
    """A folder of programs that say what a PostgreSQL of that version would."""
    share = folder / "share"
    (share / "extension").mkdir(parents=True)
    if timescale:
        (share / "extension" / "timescaledb.control").touch()
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name, says in (("postgres", f"postgres (PostgreSQL) {version}"), ("pg_config", str(share)), ("initdb", "")):
        (bin_folder / name).write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
        (bin_folder / name).chmod(0o755)
    return bin_folder


def test_an_older_postgresql_is_refused_by_name(tmp_path: Path) -> None:
    reason = programs._unusable(a_postgres(tmp_path, "15.13 (Debian 15.13-0+deb12u1)", timescale=True))
    assert reason is not None
    assert "PostgreSQL) 15.13" in reason
    assert "not PostgreSQL 17" in reason


def test_a_postgresql_without_timescaledb_is_refused(tmp_path: Path) -> None:
    reason = programs._unusable(a_postgres(tmp_path, "17.5", timescale=False))
    assert reason is not None
    assert reason.endswith("has no TimescaleDB")


def test_the_right_postgresql_will_do(tmp_path: Path) -> None:
    assert programs._unusable(a_postgres(tmp_path, "17.5", timescale=True)) is None


def test_what_a_killed_unpacking_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unpacking-abc" / "root").mkdir(parents=True)
    monkeypatch.setattr(packages, "_make", lambda _, folder: folder.mkdir())
    packages.unpacked(tmp_path)
    assert list(tmp_path.glob("unpacking-*")) == []


def test_with_nothing_possible_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "on_machine", lambda: "the machine has no PostgreSQL server")
    monkeypatch.setattr(packages, "can_unpack", lambda: "apt-get is not here")
    with pytest.raises(StackTrouble) as trouble:
        find_programs(tmp_path)
    for word in ("no PostgreSQL server", "apt-get is not here", "Install", "Docker", "TCEWATCH_DATABASE_URL"):
        assert word in str(trouble.value)
