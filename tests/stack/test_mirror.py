"""Which of the machine's package sources is the Debian mirror."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.stack.packages import mirror

DEB822 = """# the distribution
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""
CASES = {
    "one line": ("sources.list", "deb http://mirror.example/debian bookworm main\n"),
    "one line with options": (
        "sources.list",
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib\n",
    ),
    "one line among comments and sources": (
        "sources.list",
        """# deb http://old.example/debian bookworm main
deb-src http://src.example/debian bookworm main
deb http://mirror.example/debian bookworm main # ours
""",
    ),
    "security comes first": (
        "sources.list",
        "deb http://sec.example/debian bookworm-security main\ndeb http://mirror.example/debian bookworm main\n",
    ),
    "somebody else's packages come first": (
        "sources.list.d/containers.list",
        """deb [arch=amd64] https://containers.example/linux/debian bookworm stable
deb http://mirror.example/debian bookworm main
""",
    ),
    "deb822": ("sources.list.d/debian.sources", DEB822),
    "deb822 after one that is switched off": (
        "sources.list.d/debian.sources",
        f"Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n\n{DEB822}",
    ),
}


def etc_with(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("name", "text"), CASES.values(), ids=CASES)
def test_the_machines_own_mirror_is_taken(tmp_path: Path, name: str, text: str) -> None:
    assert mirror(etc_with(tmp_path, name, text)) == "http://mirror.example/debian"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sources.list", ""),
        ("sources.list", "deb https://containers.example/linux/debian bookworm stable\n"),
        ("sources.list", "deb http://mirror.example/ubuntu noble main\n"),
        ("sources.list.d/notes.txt", "deb http://mirror.example/debian bookworm main\n"),
        ("sources.list.d/debian.sources", "Types: deb-src\nURIs: http://mirror.example/debian\nComponents: main\n"),
    ],
    ids=["empty", "third party", "another distribution", "not a sources file", "source packages only"],
)
def test_a_machine_without_a_debian_mirror_has_none(tmp_path: Path, name: str, text: str) -> None:
    assert mirror(etc_with(tmp_path, name, text)) is None


@pytest.mark.parametrize("slashes", ["", "//"])
def test_the_list_of_a_cloud_image_is_looked_into(tmp_path: Path, slashes: str) -> None:
    listed = tmp_path / "mirrors" / "debian.list"
    listed.parent.mkdir()
    listed.write_text(
        "# near us\n\nhttp://mirror.example/debian priority:1\nhttp://far.example/debian\n", encoding="utf-8"
    )
    text = f"Types: deb\nURIs: mirror+file:{slashes}{listed}\nSuites: bookworm\nComponents: main\n"
    assert mirror(etc_with(tmp_path, "sources.list.d/debian.sources", text)) == "http://mirror.example/debian"


def test_a_list_that_is_not_there_names_no_mirror(tmp_path: Path) -> None:
    text = f"deb mirror+file:{tmp_path}/nowhere.list bookworm main\n"
    assert mirror(etc_with(tmp_path, "sources.list", text)) is None
