"""Alerts: lists, one with its history, what people do about it; settings, supervisors' contacts and targets."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from alerts.rule import AlertSettings, meanings
from app.api.access import Reader, Reporting, Supervising, Writer, hidden, sight, visible_enterprise, visible_region
from app.api.answers import AskedFormat, Asking, json_answer, listed, number, number_key
from app.api.deps import ApiDeps, Deps
from app.api.parameters import known_parameters
from app.api.problems import BadQuery
from app.api.schemas.alerts import (
    AcknowledgeIn,
    AlertListed,
    AlertOut,
    AlertSettingsIn,
    AlertSettingsOut,
    CommentIn,
    KindName,
    LevelName,
    OutboxOut,
    PhaseName,
    PlatformAlarmOut,
    RegionContactOut,
    RegionContactsIn,
    RegionTargetIn,
    RegionTargetOut,
    SettingOut,
    SilenceIn,
)
from app.api.schemas.shared import Listed
from app.store import alert_listings, alert_settings, calibrations
from app.store.access import Caller, TokenRole
from app.store.alert_listings import Asked, Doing
from app.store.registry import Fields, NotThere, WrongField

router = APIRouter(tags=["alerts"], dependencies=[Depends(known_parameters)])

Text = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]
MailNumber = Annotated[int, Path(ge=1, lt=(1 << 63) - 1)]
NUMBER = re.compile(r"[1-9][0-9]{0,17}")
YEAR = re.compile(r"20[0-9]{2}|2100")


@router.get("/alerts", operation_id="listAlerts", response_model=Listed[AlertListed])
async def list_alerts(
    deps: Deps,
    caller: Reader,
    asking: Asking,
    enterprise: Text = None,
    region: Text = None,
    kind: KindName | None = None,
    level: LevelName | None = None,
    phase: Annotated[PhaseName | None, Query(description="Without it: what stands.")] = None,
    closed: Annotated[bool, Query(description="Also what has ended.")] = False,
) -> Response:
    """Alerts of the caller's scope, newest first."""
    seen = sight(caller)
    page = await alert_listings.list_alerts(
        deps.database,
        Asked(enterprise, region, kind, level, phase, closed),
        scope=seen.scope,
        only=seen.only,
        limit=asking.limit,
        after=number_key(asking.cursor),
    )
    return asking.answer(page.items, page.next, "alerts", AlertListed)


@router.get("/alerts/{alert}", operation_id="getAlert", response_model=AlertOut)
async def get_alert(alert: str, deps: Deps, caller: Reader) -> Response:
    """One alert with every transition and what it was based on, and who was told."""
    found = await _visible(deps, caller, alert)
    return json_answer(found | {"notices": await alert_listings.notices_of(deps.owner.pool, found["id"])})


@router.post("/alerts/{alert}/acknowledge", operation_id="acknowledgeAlert", response_model=AlertOut)
async def acknowledge(alert: str, body: AcknowledgeIn, deps: Deps, caller: Reporting) -> Response:
    """Somebody is on it: reminders and escalation of this level rest until the acknowledgement runs out."""
    found = await _visible(deps, caller, alert)
    settings = await _settings(deps, found["region"])
    async with deps.database.engine.begin() as connection:
        doing = _doing(deps, caller, body.comment)
        await alert_listings.acknowledge_alert(connection, found["id"], doing, settings)
    return await get_alert(alert, deps, caller)


@router.post("/alerts/{alert}/comment", operation_id="commentAlert", response_model=AlertOut)
async def comment(alert: str, body: CommentIn, deps: Deps, caller: Reporting) -> Response:
    """A word in the alert's history."""
    found = await _visible(deps, caller, alert)
    async with deps.database.engine.begin() as connection:
        await alert_listings.comment_alert(connection, found["id"], _doing(deps, caller, body.comment))
    return await get_alert(alert, deps, caller)


@router.get("/silences", operation_id="listSilences", response_model=Listed[AlertListed])
async def list_silences(
    deps: Deps,
    caller: Reader,
    asking: Asking,
) -> Response:
    """Alerts whose mails are silenced. Evaluation and history go on."""
    seen = sight(caller)
    wanted = Asked(silenced=True)
    page = await alert_listings.list_alerts(
        deps.database, wanted, scope=seen.scope, only=seen.only, limit=asking.limit, after=number_key(asking.cursor)
    )
    return asking.answer(page.items, page.next, "silences", AlertListed)


@router.post("/silences", operation_id="createSilence", status_code=201, response_model=AlertOut)
async def create_silence(body: SilenceIn, deps: Deps, caller: Reporting) -> Response:
    """No mails of an alert for some days. An enterprise silences its yellow and orange, red only the supervisor."""
    try:
        found = await _visible(deps, caller, str(body.alert))
    except NotThere as error:
        raise WrongField("alert", f"there is no alert {body.alert}") from error
    settings = await _settings(deps, found["region"])
    async with deps.database.engine.begin() as connection:
        await alert_listings.silence_alert(
            connection,
            found["id"],
            _doing(deps, caller, body.reason),
            settings,
            days=body.days,
            supervisor=caller.role is not TokenRole.ENTERPRISE,
        )
    answer = await get_alert(str(body.alert), deps, caller)
    answer.status_code = 201
    return answer


@router.get("/alert-settings", operation_id="listAlertSettings", response_model=Listed[SettingOut])
async def list_settings(
    deps: Deps,
    caller: Reader,
    request: Request,
    region: Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$", description="Else the own one.")] = None,
    asked: AskedFormat = None,
) -> Response:
    """Every threshold in force in a region, with what it means."""
    if region is not None and caller.role is not TokenRole.ENTERPRISE:
        try:
            await visible_region(deps, caller, region)
        except NotThere as error:
            raise BadQuery("region", f"there is no region {region!r}") from error
        where = region
    elif caller.role is TokenRole.ENTERPRISE:
        where = (await visible_enterprise(deps, caller, caller.scope))["region"]
    else:
        where = caller.scope
    return listed(request, _rows(await _settings(deps, where)), None, asked, "alert-settings", SettingOut)


@router.get("/regions/{code}/alert-settings", operation_id="getAlertSettings", response_model=AlertSettingsOut)
async def get_settings(code: str, deps: Deps, caller: Reader) -> Response:
    """What is in force in a region, and its own versions."""
    await visible_region(deps, caller, code)
    version = (await _book(deps)).of(code)
    async with deps.database.engine.connect() as connection:
        own = await alert_settings.versions(connection, code)
        fit = await calibrations.shown(connection)
    settings = _rows(version.settings)
    return json_answer(
        {"region": code, "in_force": version.label, "settings": settings, "versions": own, "calibration": fit}
    )


@router.put("/regions/{code}/alert-settings", operation_id="putAlertSettings", response_model=AlertSettingsOut)
async def put_settings(code: str, body: AlertSettingsIn, deps: Deps, caller: Supervising) -> Response:
    """Another version for a region and all below it that have none of their own. Evaluations name their version."""
    await visible_region(deps, caller, code)
    async with deps.database.engine.begin() as connection:
        await alert_settings.new_version(
            connection, code, body.changes, reason=body.reason, actor=caller.actor, now=deps.clock()
        )
    return await get_settings(code, deps, caller)


@router.get("/regions/{code}/contacts", operation_id="getRegionContacts", response_model=Listed[RegionContactOut])
async def get_contacts(code: str, deps: Deps, caller: Reader) -> Response:
    """Who is written to for the region."""
    await visible_region(deps, caller, code)
    async with deps.database.engine.connect() as connection:
        return json_answer({"items": await alert_settings.contacts_of(connection, code), "next": None})


@router.put("/regions/{code}/contacts", operation_id="putRegionContacts", response_model=Listed[RegionContactOut])
async def put_contacts(code: str, body: RegionContactsIn, deps: Deps, caller: Supervising) -> Response:
    """These and no others."""
    await visible_region(deps, caller, code)
    emails = [one.email.lower() for one in body.contacts]
    if len(set(emails)) < len(emails):
        raise WrongField("contacts", "an address stands there twice")
    async with deps.database.engine.begin() as connection:
        contacts = [one.model_dump() for one in body.contacts]
        await alert_settings.put_contacts(connection, code, contacts, actor=caller.actor)
    return await get_contacts(code, deps, caller)


@router.get("/regions/{code}/targets", operation_id="getRegionTargets", response_model=Listed[RegionTargetOut])
async def get_targets(code: str, deps: Deps, caller: Reader) -> Response:
    """Base and incentive targets of the region's key units, newest year first."""
    await visible_region(deps, caller, code)
    async with deps.database.engine.connect() as connection:
        found = await alert_settings.targets_of(connection, code)
    items = [row | {"base": number(row["base"]), "incentive": number(row["incentive"])} for row in found]
    return json_answer({"items": items, "next": None})


@router.put("/regions/{code}/targets/{year}", operation_id="putRegionTarget", response_model=Listed[RegionTargetOut])
async def put_target(code: str, year: str, body: RegionTargetIn, deps: Deps, caller: Supervising) -> Response:
    """The target of a year; the one before stays in the trail."""
    await visible_region(deps, caller, code)
    if not YEAR.fullmatch(year):
        raise WrongField("year", "a year lies between 2000 and 2100")
    if body.incentive > body.base:
        raise WrongField("incentive", "the incentive target is not above the base target")
    async with deps.database.engine.begin() as connection:
        await alert_settings.put_target(
            connection,
            code,
            year=int(year),
            basis=str(body.basis),
            base=body.base,
            incentive=body.incentive,
            reason=body.reason,
            actor=caller.actor,
            now=deps.clock(),
        )
    return await get_targets(code, deps, caller)


@router.get("/outbox", operation_id="listOutbox", response_model=Listed[OutboxOut])
async def list_outbox(
    deps: Deps,
    caller: Writer,
    asking: Asking,
    state: Annotated[
        str | None,
        Query(
            pattern="^(queued|sending|sent|retry|uncertain|failed|suppressed|merged)$",
            description="failed: nobody got it.",
        ),
    ] = None,
) -> Response:
    """Every mail and what became of it, newest first."""
    page = await alert_listings.outbox_rows(
        deps.owner.pool, scope=caller.scope, state=state, limit=asking.limit, after=number_key(asking.cursor)
    )
    return asking.answer(page.items, page.next, "outbox", OutboxOut)


@router.post("/outbox/{mail}/resend", operation_id="resendMail", status_code=202, response_model=OutboxOut)
async def resend_mail(mail: MailNumber, deps: Deps, caller: Writer) -> Response:
    """Tries a mail that failed anew, under the same Message-ID, for three days as at first."""
    try:
        async with deps.owner.engine.begin() as connection:
            await alert_listings.send_again(connection, mail, scope=caller.scope, actor=caller.actor, now=deps.clock())
    except NotThere:
        raise await hidden(deps, caller, "mail", str(mail)) from None
    return json_answer(await alert_listings.one_mail(deps.owner.pool, mail, scope=caller.scope), 202)


@router.get("/platform-alarms", operation_id="listPlatformAlarms", response_model=Listed[PlatformAlarmOut])
async def list_alarms(
    deps: Deps,
    caller: Writer,
    asking: Asking,
    cleared: Annotated[bool, Query(description="Also those that are over.")] = False,
) -> Response:
    """What is wrong with the platform itself: a mail server that bars us, an address nobody has, a broken template."""
    page = await alert_listings.alarms(
        deps.owner.pool, scope=caller.scope, cleared=cleared, limit=asking.limit, after=number_key(asking.cursor)
    )
    return asking.answer(page.items, page.next, "platform-alarms", PlatformAlarmOut)


async def _visible(deps: ApiDeps, caller: Caller, key: str) -> Fields:
    """The alert, or NotThere for what is absent and for what is not the caller's business."""
    if NUMBER.fullmatch(key):
        try:
            found = await alert_listings.alert_of(deps.database, int(key))
            if caller.sees_enterprise(found["enterprise"], found["region"]):
                return found
        except NotThere:
            pass
    raise await hidden(deps, caller, "alert", key)


def _doing(deps: ApiDeps, caller: Caller, words: str) -> Doing:
    return Doing(caller.actor, deps.clock(), deps.calendar.zone, words)


async def _book(deps: ApiDeps) -> alert_settings.SettingsBook:
    async with deps.database.pool.acquire() as connection:
        return await alert_settings.settings_book(connection)


async def _settings(deps: ApiDeps, region: str) -> AlertSettings:
    return (await _book(deps)).of(region).settings


def _rows(settings: AlertSettings) -> list[dict[str, Any]]:
    values = settings.values()
    return [
        {"name": name, "value": values[name], "default": default, "unit": unit, "meaning": en, "meaning_zh": zh}
        for name, default, unit, en, zh in meanings()
    ]
