"""What all tables have in common. The migrations make them; a test holds these descriptions against the database."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

metadata = MetaData()


def moment(name: str, *, null: bool = False, now: bool = False) -> Column[object]:
    default = text("now()") if now else None
    return Column(name, TIMESTAMP(timezone=True), nullable=null, server_default=default)


def required(name: str, kind: object, *args: object) -> Column[object]:
    return Column(name, kind, *args, nullable=False)  # type: ignore[arg-type]  # Column's own overloads are narrower
