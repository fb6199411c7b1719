"""Where packages come from, and when an unpacked folder is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app.stack import packages
from app.stack.trouble import StackTrouble

DEB822 = """Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
ONE_LINE = """# deb http://old.example/debian buster main
deb [arch=amd64 signed-by=/some/key.gpg] http://mirror.example/debian/ bookworm main contrib
deb http://mirror.example/debian-security bookworm-security main
"""


def apt(folder: Path, name: str, text: str) -> Path:
    (folder / "sources.list.d").mkdir(parents=True)
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return folder


def test_the_machines_own_mirror_is_found_in_either_form(tmp_path: Path) -> None:
    assert (
        packages.mirror(apt(tmp_path / "a", "sources.list.d/debian.sources", DEB822)) == "http://mirror.example/debian"
    )
    assert packages.mirror(apt(tmp_path / "b", "sources.list", ONE_LINE)) == "http://mirror.example/debian/"


def test_without_a_mirror_there_is_none(tmp_path: Path) -> None:
    assert (
        packages.mirror(apt(tmp_path / "a", "sources.list", "deb http://packages.example/tool stable main\n")) is None
    )
    assert packages.mirror(tmp_path / "nothing-here") is None


def test_a_folder_is_whole_only_with_every_program_in_its_full_size(tmp_path: Path) -> None:
    assert not packages.complete(tmp_path)
    (tmp_path / "program").write_bytes(b"0123456789")
    (tmp_path / "programs.json").write_text(json.dumps({"program": 10}), encoding="utf-8")
    assert packages.complete(tmp_path)
    (tmp_path / "program").write_bytes(b"0123")
    assert not packages.complete(tmp_path)
    (tmp_path / "programs.json").write_text('{"program":', encoding="utf-8")
    assert not packages.complete(tmp_path)


def test_no_room_to_unpack_is_a_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5_000_000))
    with pytest.raises(StackTrouble, match="TCEWATCH_CACHE_DIR"):
        packages.unpacked(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"debian-{packages.SUITE}.lock"]


def test_a_half_unpacked_folder_is_thrown_away_and_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / f"debian-{packages.SUITE}"
    folder.mkdir()
    (folder / "left-over").touch()

    def make(cache: Path, wanted: Path) -> None:
        wanted.mkdir()
        (wanted / "programs.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr(packages, "_make", make)
    assert packages.unpacked(tmp_path) == folder
    assert [path.name for path in folder.iterdir()] == ["programs.json"]
