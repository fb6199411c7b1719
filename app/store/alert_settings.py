"""Settings of alerts in versions, one chain a region; contacts and targets of regions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.rule import DEFAULTS, AlertSettings
from app.store.access import write_audit
from app.store.registry import Fields, plain
from app.store.rollups import Connection
from app.store.tables.alerts import alert_setting, region_contact, region_target

NEWEST = """
SELECT DISTINCT ON (region) region, version, changes FROM alert_setting ORDER BY region, version DESC
"""


@dataclass(frozen=True, slots=True)
class Version:
    """Settings as they are in force somewhere. `label` is what evaluations keep: `4453/3`, or `default`."""

    label: str
    region: str | None
    number: int
    settings: AlertSettings


@dataclass(frozen=True, slots=True)
class SettingsBook:
    """The newest version of every region that has one. A region without its own follows the one it lies in."""

    versions: Mapping[str, Version]

    def of(self, region: str) -> Version:
        """The settings in force in a region: its own, else those of the nearest region around it."""
        for length in range(len(region), 1, -1):
            found = self.versions.get(region[:length])
            if found is not None:
                return found
        return DEFAULT

    @classmethod
    def single(cls, settings: AlertSettings) -> SettingsBook:
        """One set of settings for everybody, as a replay of the past is given."""
        return cls({str(digits): Version("given", None, 0, settings) for digits in range(10, 100)})


DEFAULT = Version("default", None, 0, DEFAULTS)


async def settings_book(connection: Connection) -> SettingsBook:
    """As it is now. A version that an older program wrote and this one cannot use raises alerts.rule.WrongRule."""
    rows = await connection.fetch(NEWEST)
    return SettingsBook(
        {
            row["region"]: Version(
                f"{row['region']}/{row['version']}",
                row["region"],
                row["version"],
                DEFAULTS.changed(json.loads(row["changes"])),
            )
            for row in rows
        }
    )


async def versions(connection: AsyncConnection, region: str) -> list[Fields]:
    """Every version of a region's settings, newest first."""
    found = select(alert_setting).where(alert_setting.c.region == region).order_by(alert_setting.c.version.desc())
    return [dict(row._mapping) for row in await connection.execute(found)]


async def new_version(
    connection: AsyncConnection, region: str, changes: Mapping[str, Any], *, reason: str, actor: str, now: datetime
) -> int:
    """Another version: `changes` are all that differs from the defaults. Raises alerts.rule.WrongRule."""
    DEFAULTS.changed(changes)
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('alert_setting'))"))
    before = next((_told(one) for one in await versions(connection, region)), None)
    number = 1 if before is None else before["version"] + 1
    values = {"region": region, "version": number, "changes": dict(changes), "reason": reason, "made_by": actor}
    await connection.execute(insert(alert_setting).values(**values, made_at=now))
    await write_audit(connection, actor, "alert-settings.change", "region", region, before=before, after=_told(values))
    return number


def _told(version: Mapping[str, Any]) -> Fields:
    """A version of the settings as the trail keeps it."""
    return {name: version[name] for name in ("version", "changes", "reason")}


async def contacts_of(connection: AsyncConnection, region: str) -> list[Fields]:
    """Who is written to for a region, by address."""
    shown = (region_contact.c.name, region_contact.c.email, region_contact.c.language)
    found = select(*shown).where(region_contact.c.region == region).order_by(region_contact.c.email)
    return [dict(row._mapping) for row in await connection.execute(found)]


async def put_contacts(connection: AsyncConnection, region: str, contacts: list[Fields], *, actor: str) -> None:
    """These and no others."""
    before = await contacts_of(connection, region)
    await connection.execute(region_contact.delete().where(region_contact.c.region == region))
    if contacts:
        await connection.execute(insert(region_contact), [{**one, "region": region} for one in contacts])
    old, new = {"contacts": before}, {"contacts": contacts}
    await write_audit(connection, actor, "region.contacts", "region", region, before=old, after=new)


async def targets_of(connection: AsyncConnection, region: str) -> list[Fields]:
    found = select(region_target).where(region_target.c.region == region).order_by(region_target.c.year.desc())
    return [dict(row._mapping) for row in await connection.execute(found)]


async def put_target(
    connection: AsyncConnection,
    region: str,
    *,
    year: int,
    basis: str,
    base: Decimal,
    incentive: Decimal,
    reason: str,
    actor: str,
    now: datetime,
) -> None:
    """The target of a year; the one before stays in the audit trail."""
    values = {"base": base, "incentive": incentive, "reason": reason, "made_by": actor, "made_at": now}
    key = {"region": region, "year": year, "basis": basis}
    standing = [row for row in await targets_of(connection, region) if (row["year"], row["basis"]) == (year, basis)]
    before = next((plain(row) for row in standing), None)
    made = upsert(region_target).values(**key, **values)
    await connection.execute(made.on_conflict_do_update(index_elements=list(key), set_=values))
    after = plain(key | values)
    await write_audit(connection, actor, "region.target", "region", region, before=before, after=after)
