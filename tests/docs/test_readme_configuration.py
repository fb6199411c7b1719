"""The README's configuration table is the settings model, line by line."""

from __future__ import annotations

from pathlib import Path

from app.settings import PREFIX, Settings

README = Path(__file__).parents[2] / "README.md"


def table() -> list[str]:
    lines = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return lines


def test_every_setting_stands_in_the_readme_with_its_default_and_meaning() -> None:
    text = README.read_text(encoding="utf-8")
    assert "\n".join(table()) in text
