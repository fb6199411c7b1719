"""Who may import whom. The table of rooms is a test, so a shortcut through a wall fails like any other mistake."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("app", "ingest", "alerts", "energy", "migrations", "simulators")

# room → rooms of ours it may import; a room is the longest prefix that matches.
ARROWS: dict[str, frozenset[str]] = {
    "energy": frozenset(),
    "simulators": frozenset(),
    "migrations": frozenset(),
    "ingest": frozenset({"energy"}),
    "alerts": frozenset({"energy"}),
    "app.store": frozenset({"energy", "ingest", "alerts", "migrations"}),
    "app.rollup": frozenset({"energy", "app.store"}),
    "app.api": frozenset({"energy", "ingest", "alerts", "app.store", "app.webhooks"}),
    "app.webhooks": frozenset({"app.store"}),
    "app.stack": frozenset(),
    "app.settings": frozenset({"ingest"}),
    "app.logs": frozenset({"app.settings"}),
    "app.importing": frozenset({"energy", "ingest", "app.store", "app.settings"}),
    "app.doctor": frozenset({"ingest", "app.settings", "app.store", "app.stack"}),
    "app.main": frozenset(
        {"energy", "ingest", "alerts", "app.settings", "app.store", "app.rollup", "app.api", "app.webhooks"}
    ),
    "app.demo": frozenset(
        {"app.alert_cli", "simulators", "energy", "app.settings", "app.store", "app.stack", "app.main"}
    ),
    "app.alert_cli": frozenset({"alerts", "energy", "app.settings", "app.store", "app.main"}),
    "app.cli": frozenset(
        {
            "app.alert_cli",
            "simulators",
            "energy",
            "app.settings",
            "app.logs",
            "app.store",
            "app.rollup",
            "app.stack",
            "app.main",
            "app.demo",
            "app.importing",
            "app.doctor",
        }
    ),
}
IMPORTED_BY_NONE = {"app.cli"}
ONLY_IMPORTER = {"paho": {"ingest/mqtt.py"}}


def modules() -> list[Path]:
    return sorted(path for top in OURS for path in (ROOT / top).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str | None:
    parts = module.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in ARROWS), None)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative imports hide their room"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_only_rooms_it_may(path: Path) -> None:
    room = room_of(name_of(path))
    if path.name == "__init__.py" and room is None:
        return
    assert room is not None, f"{name_of(path)} lies in no room of the table"
    for target in imported(path):
        other = room_of(target) if target.split(".")[0] in OURS else None
        if other is not None and other != room:
            assert other in ARROWS[room], f"{name_of(path)} imports {target}: no arrow from {room} to {other}"
            assert other not in IMPORTED_BY_NONE


@pytest.mark.parametrize(("library", "importers"), ONLY_IMPORTER.items())
def test_a_library_with_one_door_is_imported_only_there(library: str, importers: set[str]) -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in modules()
        if path.parts[len(ROOT.parts)] != "simulators"
        for target in imported(path)
        if target.split(".")[0] == library
    }
    assert found == importers


def test_every_package_file_is_empty() -> None:
    assert [str(path) for path in modules() if path.name == "__init__.py" and path.stat().st_size] == []


SECURED = r"(?:secure_by_\w+|secure_through|open_to_all|closed_to_api)\(\s*'{table}'|CREATE POLICY \w+ ON {table}\b"
FIRST_WITH_SCOPES = "0003"


def test_every_new_table_says_who_sees_it_through_the_api() -> None:
    """Row by row this is tests/store/test_scope.py; here it is a word in the table's own migration."""
    later = [path for path in (ROOT / "migrations/versions").glob("0*.py") if path.name > FIRST_WITH_SCOPES]
    words = "\n".join(path.read_text(encoding="utf-8") for path in later)
    silent = [
        table
        for table in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) ", words)
        if not re.search(SECURED.replace("{table}", table), words)
    ]
    assert silent == [], (
        "the API works as a role without rights: say in the migration who sees these tables, one line each: "
        "SELECT secure_by_enterprise('t'), secure_by_meter('t'), secure_by_gateway('t'), "
        "secure_through('t', 'line_id', 'line', 'id'), open_to_all('t') or closed_to_api('t'); see 0003_scope.py"
    )
