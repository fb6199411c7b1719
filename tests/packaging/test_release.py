"""What is handed on: the licence, the change log, and the wheel the image is built from."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.repository import ROOT, compose, project

PROJECT = project()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as the Dockerfile makes it."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [*(sys.executable, "-m", "pip", "wheel"), "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--wheel-dir", folder, ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_licence_is_apache_2_0_and_the_project_says_so() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text)
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_the_change_log_opens_with_the_version_of_the_program() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[(.+?)\] - (unreleased|\d{4}-\d{2}-\d{2})$", text, re.MULTILINE)
    assert first is not None
    assert first[1] == PROJECT["project"]["version"]


def test_the_change_log_uses_the_words_of_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_wheel_holds_what_the_program_needs_besides_its_code(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    reference = {str(path.relative_to(ROOT)) for path in (ROOT / "app/store/reference").glob("*.csv")}
    revisions = {str(path.relative_to(ROOT)) for path in (ROOT / "migrations/versions").glob("*.py")}
    assert reference
    assert revisions
    assert reference | revisions | {"migrations/env.py"} <= names


def test_the_wheel_holds_no_tests_and_nothing_local(wheel: Path) -> None:
    rooms = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    version = PROJECT["project"]["version"]
    assert rooms == {
        *PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
        f"tcewatch-{version}.dist-info",
    }


def test_the_command_of_the_wheel_is_tcewatch(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert "tcewatch = app.cli:main" in archive.read(entry).decode()


def test_the_image_is_named_after_this_version() -> None:
    images = {service["image"] for service in compose()["services"].values() if "build" in service}
    assert images == {f"tcewatch:{PROJECT['project']['version']}"}


def test_what_the_source_package_names_exists() -> None:
    named = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [name for name in named if not (ROOT / name.lstrip("/")).exists()] == []
