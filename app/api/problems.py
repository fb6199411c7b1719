"""Every error leaves here, as application/problem+json (RFC 9457). Only this file knows statuses.

`code` is stable and for programs; title and detail are for people, in the language they accept.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from alerts.rule import WrongRule
from alerts.states import TransitionRefused
from app.api.chinese import fault_in_chinese, in_chinese
from app.api.oidc import ExtraMissing, ProviderFailed
from app.store.access import ScopeUnknown
from app.store.accounts import LoginLocked, LoginRefused
from app.store.alert_listings import NotFailed, SilenceRefused
from app.store.budgets import AlreadyDecided, Overtaken
from app.store.co2_sets import DatasetUnknown
from app.store.coefficients import FactorsOverlap
from app.store.corrections import CorrectionsOverlap
from app.store.credit_code import WrongCreditCode
from app.store.energy import EnterpriseUnknown, NotKnownThen, TooManyBuckets
from app.store.jobs import NotDone, TooManyJobs
from app.store.levels import LevelsOverlap
from app.store.line_attributes import RestatesClosedMonths
from app.store.lines import CountedTwice, MonthInFuture, SharesExceedOne
from app.store.once import AnswerLost, KeyReused, StillInFlight
from app.store.passwords import WeakPassword
from app.store.records import (
    DecisionDoesNotFit,
    ExchangeBeforeLastExchange,
    ExchangeBeforeLastReading,
    ExchangeBelowRegister,
    ExchangeInFuture,
    NotARegister,
    PartOfDecision,
    ReadingNotHeld,
    RevokedAlready,
)
from app.store.registry import AlreadyThere, NotThere, WrongField
from app.store.rejections import BrokenOff
from app.store.webhooks import TooManyWebhooks
from energy.budget import AmountNotPositive, MonthsDoNotAddUp, MonthsNotTwelve, WrongBudget
from energy.interval import BadTime, TimezoneMissing
from energy.units import UnitMismatch
from ingest.accounts import BrokerRefused, NameReserved
from ingest.mqtt import BrokerUnavailable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_ROOT = "urn:tcewatch:problem:"


class NoToken(Exception):
    """No token, or one that is worth nothing."""


class CsrfRefused(Exception):
    """A cookie alone asks for a change: it may be another site's page that sends it."""


class TooMany(Exception):
    """The caller has asked enough for this minute. Attribute: wait_s."""

    def __init__(self, quota: int, wait_s: int) -> None:
        self.wait_s = wait_s
        super().__init__(f"{quota} requests a minute are answered; go on in {wait_s} s")


class BadKey(ValueError):
    """An Idempotency-Key that is none."""


class HeldSecret(Exception):
    """A call that was answered with a secret is sent again: the secret is kept nowhere."""


class Stale(Exception):
    """The object is another than the caller has seen."""


class Forbidden(Exception):
    """The token may see this and may not change it."""


class BadCursor(ValueError):
    """A cursor that this list did not give out."""


class ParquetMissing(Exception):
    """This service was installed without what writes Parquet."""


class BadQuery(ValueError):
    """A query parameter that cannot be used. Attributes: parameter, why."""

    def __init__(self, parameter: str, why: str) -> None:
        self.parameter, self.why = parameter, why
        super().__init__(f"{parameter}: {why}")


PROBLEMS: Mapping[type[Exception], tuple[int, str, str, str]] = {
    NoToken: (401, "token-invalid", "No valid token", "令牌无效"),
    Forbidden: (403, "read-only", "This token may only read", "该令牌只能读取"),
    LoginRefused: (401, "login-refused", "Name or password is wrong", "账户名或密码有误"),
    ProviderFailed: (502, "identity-provider-failed", "The identity provider failed", "身份提供方出错"),
    ExtraMissing: (501, "extra-missing", "A part of the service is not installed", "未安装所需组件"),
    CsrfRefused: (403, "csrf-refused", "The session's own token is missing", "缺少会话的防伪令牌"),
    LoginLocked: (429, "login-locked", "Too many wrong tries", "尝试次数过多"),
    TooMany: (429, "rate-limited", "Too many requests", "请求过多"),
    WeakPassword: (422, "weak-password", "This password will not do", "密码不合要求"),
    BadKey: (422, "bad-idempotency-key", "Not an Idempotency-Key", "Idempotency-Key 有误"),
    KeyReused: (422, "idempotency-key-reused", "The key belongs to another request", "该键已用于其他请求"),
    StillInFlight: (409, "idempotency-in-flight", "The first call is not answered yet", "首次请求尚未完成"),
    AnswerLost: (409, "answer-lost", "It was done, its answer was lost", "已执行，但答复已丢失"),
    HeldSecret: (409, "answered-already", "It was answered already, with a secret", "已答复过，且含密钥"),
    Stale: (412, "changed-since", "It has changed since you read it", "读取后已被更改"),
    NotThere: (404, "not-found", "Not found", "未找到"),
    EnterpriseUnknown: (404, "not-found", "Not found", "未找到"),
    ParquetMissing: (406, "format-not-installed", "This form is not installed here", "未安装该格式"),
    AlreadyThere: (409, "exists-already", "It exists already", "已存在"),
    ExchangeBeforeLastReading: (409, "exchange-before-last-reading", "A later reading stands", "换表之后已有有效读数"),
    ExchangeBeforeLastExchange: (
        409,
        "exchange-before-last-exchange",
        "A later exchange is on record",
        "已有更晚的换表记录",
    ),
    ReadingNotHeld: (409, "reading-not-held", "The reading stands", "该读数未被搁置"),
    PartOfDecision: (409, "part-of-decision", "It goes with its decision", "随认定一并撤销"),
    RevokedAlready: (409, "revoked-already", "It was revoked before", "已撤销"),
    FactorsOverlap: (409, "factor-overlap", "Another factor holds on these days", "系数有效期重叠"),
    CorrectionsOverlap: (409, "correction-overlap", "Another correction holds on these days", "修正项有效期重叠"),
    RestatesClosedMonths: (409, "restates-closed-months", "Closed months would be judged anew", "将改变已结月份的评价"),
    LevelsOverlap: (409, "level-overlap", "Another level holds on these days", "能效水平有效期重叠"),
    SharesExceedOne: (422, "shares-exceed-one", "Shares of a meter exceed 1", "计量器具分摊比例之和超过 1"),
    CountedTwice: (422, "counted-twice", "The same energy would count twice", "同一能源重复计量"),
    MonthInFuture: (422, "month-in-future", "The month has not begun", "月份尚未开始"),
    NotDone: (409, "job-not-done", "The job has no result yet", "任务尚无结果"),
    TooManyWebhooks: (409, "too-many-webhooks", "No more webhooks for this token", "该令牌的回调数量已达上限"),
    NotFailed: (409, "mail-not-failed", "Only a failed mail is sent again", "仅可重发失败的邮件"),
    TransitionRefused: (409, "transition-refused", "The alert is not in a state for this", "预警当前状态不允许此操作"),
    SilenceRefused: (422, "silence-refused", "This silence is not allowed", "不允许此静默"),
    WrongRule: (422, "wrong-setting", "A setting cannot have this value", "设置取值有误"),
    WrongCreditCode: (422, "wrong-credit-code", "Not a unified social credit code", "统一社会信用代码有误"),
    ExchangeInFuture: (422, "exchange-in-future", "The exchange is yet to come", "换表尚未发生"),
    ExchangeBelowRegister: (422, "exchange-below-register", "The register showed otherwise", "与表计示值不符"),
    NotARegister: (422, "not-a-register", "The meter has no register", "该计量器具没有累计示值"),
    DecisionDoesNotFit: (422, "decision-does-not-fit", "The reading cannot have been that", "认定与读数不符"),
    WrongField: (422, "wrong-field", "A field cannot have this value", "字段取值有误"),
    AmountNotPositive: (422, "budget-not-positive", "A budget is an amount above zero", "预算须大于零"),
    MonthsNotTwelve: (422, "months-not-twelve", "A plan has twelve months", "分月计划须为十二个月"),
    MonthsDoNotAddUp: (422, "months-do-not-add-up", "The months are not the year", "各月之和与全年预算不符"),
    WrongBudget: (422, "wrong-budget", "Not a budget", "预算有误"),
    AlreadyDecided: (409, "already-decided", "It was decided before", "已有决定"),
    Overtaken: (409, "budget-overtaken", "A newer revision is in force", "已有更新的版本生效"),
    UnitMismatch: (422, "unit-mismatch", "The unit does not fit the carrier", "计量单位与能源品种不符"),
    ScopeUnknown: (422, "scope-unknown", "No such scope", "权限范围不存在"),
    TimezoneMissing: (422, "timezone-missing", "The time has no offset", "时间缺少时区"),
    BadTime: (422, "bad-time", "Not a time", "时间格式有误"),
    TooManyBuckets: (422, "range-too-long", "The range is too long for this interval", "时间范围过长"),
    NotKnownThen: (422, "not-known-then", "Nothing of this kind is kept of that day", "该日的此类数据未留存"),
    DatasetUnknown: (422, "co2-dataset-unknown", "No such set of CO2 factors", "二氧化碳排放因子数据集不存在"),
    BadCursor: (422, "bad-cursor", "Not a cursor of this list", "游标无效"),
    BadQuery: (422, "bad-query", "A query parameter cannot be used", "查询参数有误"),
    NameReserved: (422, "name-reserved", "The service itself has this name", "该名称为系统保留"),
    BrokenOff: (503, "database-unavailable", "The database cannot be reached", "数据库不可用"),
    TooManyJobs: (429, "too-many-jobs", "Too many jobs at once", "未完成的任务过多"),
    BrokerUnavailable: (503, "broker-unavailable", "The broker cannot be reached", "消息服务不可用"),
    BrokerRefused: (503, "broker-unavailable", "The broker refuses the account", "消息服务拒绝该账户"),
}
STATUS_CODES: Mapping[int, tuple[str, str, str]] = {
    400: ("malformed", "The body cannot be read", "请求体无法解析"),
    404: ("not-found", "Not found", "未找到"),
    405: ("method-not-allowed", "This method is not allowed here", "不允许该方法"),
    406: ("not-acceptable", "No such format", "不支持的格式"),
    408: ("too-slow", "The request came too slowly", "请求传输过慢"),
    413: ("body-too-large", "The body is too large", "请求体过大"),
    415: ("unsupported-media-type", "This kind of body is not taken", "不支持的请求体类型"),
    431: ("headers-too-large", "The headers are too large", "请求头过大"),
    503: ("database-unavailable", "The database cannot be reached", "数据库不可用"),
}
NO_REQUEST = (400, "malformed-request", "No HTTP request", "不是 HTTP 请求")
INVALID = (422, "invalid", "The request does not fit the document", "请求内容有误")
OURS = (500, "internal", "A fault of the service", "服务内部错误")
DATABASE_GONE = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.CannotConnectNowError)


def problem(
    request: Request,
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One problem document. `instance` is the request's id, the same as in the log."""
    chinese = wants_chinese(request)
    body: dict[str, Any] = {
        "type": TYPE_ROOT + code,
        "title": title,
        "status": status,
        "code": code,
        "detail": (in_chinese(detail) or detail) if chinese else detail,
        "instance": instance_of(request),
    }
    if errors is not None:
        body["errors"] = list(errors)
    tongue = {"Content-Language": "zh-CN" if chinese else "en", "Vary": "Accept-Language"}
    return JSONResponse(body, status, {**(headers or {}), **tongue}, MEDIA_TYPE)


def instance_of(request: Request) -> str:
    """What a caller quotes and the log is searched for."""
    return f"urn:uuid:{getattr(request.state, 'request_id', '')}"


def of_status(request: Request, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The problem of a status that stands for itself."""
    code, title, title_zh = STATUS_CODES.get(status, (f"http-{status}", "Refused", "请求被拒绝"))
    return problem(request, status, code, title_zh if wants_chinese(request) else title, detail, headers=headers)


def wants_chinese(request: Request) -> bool:
    """Whether the caller would rather have Chinese than English; who accepts neither by name gets English."""
    return chinese_wished(request.headers.get("accept-language", ""))


def chinese_wished(accept_language: str) -> bool:
    """The same of the header as it is sent."""
    weights = {"zh": 0.0, "en": 0.0}
    for part in accept_language.split(","):
        tag, _, parameters = part.strip().lower().partition(";")
        tongue = tag.split("-")[0]
        if tongue in weights:
            weights[tongue] = max(weights[tongue], _weight(parameters))
    if weights["zh"] == weights["en"] > 0:
        return accept_language.lower().find("zh") < accept_language.lower().find("en")
    return weights["zh"] > weights["en"]


def spoken(accept_language: str, title: str, detail: str) -> tuple[str, str, str]:
    """Title and detail in the language that is wished, and which one that is: for a door that is no route of ours."""
    if not chinese_wished(accept_language):
        return title, detail, "en"
    return in_chinese(title) or title, in_chinese(detail) or detail, "zh-CN"


def _weight(parameters: str) -> float:
    """The weight a language is given (RFC 9110, 12.4.2): from 0 to 1, and 1 where none is given."""
    found = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", parameters)
    return min(float(found[1]), 1.0) if found else 1.0


def install(app: FastAPI) -> None:
    """Have every exception leave as a problem."""
    for kind in PROBLEMS:
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for gone in DATABASE_GONE:
        app.add_exception_handler(gone, _database_gone)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(Exception, _ours)


async def _known(request: Request, error: Exception) -> Response:
    status, code, title, title_zh = next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)
    headers = {"WWW-Authenticate": 'Bearer realm="tcewatch"'} if status == 401 else {}
    if status in (429, 503):
        headers["Retry-After"] = str(getattr(error, "wait_s", 5))
    title = title_zh if wants_chinese(request) else title
    errors = [_pointed(error, code, wants_chinese(request))] if isinstance(error, AT_ONE_FIELD) else None
    return problem(request, status, code, title, str(error) or title, errors=errors, headers=headers)


AT_ONE_FIELD = (WrongField, WrongBudget, WrongCreditCode, UnitMismatch, NameReserved, WeakPassword)


def _pointed(error: Exception, code: str, chinese: bool) -> Mapping[str, Any]:
    """Where in the body the fault is, in the shape validation errors have."""
    match error:
        case WrongField() | WrongBudget():
            field, why = error.field, error.why
        case WrongCreditCode():
            field, why = "id", error.why
        case WeakPassword():
            field, why = "password", str(error)
        case NameReserved():
            field, why = "id", str(error)
        case _:
            field, why = "unit", str(error)
    return {"pointer": f"/body/{field}", "code": code, "detail": (in_chinese(why) or why) if chinese else why}


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for it"
    chinese = wants_chinese(request)
    errors = [
        {
            "pointer": "/" + "/".join(map(_step, found["loc"])),
            "code": found["type"],
            "detail": _fault(found, chinese),
        }
        for found in error.errors()
    ]
    status, code, title, title_zh = INVALID
    detail = "; ".join(f"{found['pointer']}: {found['detail']}" for found in errors[:5])
    return problem(request, status, code, title_zh if chinese else title, detail, errors=errors)


def _fault(found: Mapping[str, Any], chinese: bool) -> str:
    said: str = found["msg"]
    return fault_in_chinese(found["type"], found.get("ctx", {}), said) if chinese else said


def _step(part: object) -> str:
    """One step of a JSON pointer (RFC 6901). A name may hold half a character that no UTF-8 can carry."""
    return str(part).encode(errors="replace").decode().replace("~", "~0").replace("/", "~1")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    return of_status(request, error.status_code, _said(request, error), headers=error.headers)


def _said(request: Request, error: HTTPException) -> str:
    """What the framework says of its own is a bare phrase; ours are sentences."""
    if error.detail and error.detail != HTTPStatus(error.status_code).phrase:
        return "The body cannot be read as JSON." if "parsing the body" in error.detail else error.detail
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method} cannot be used on {request.url.path}."
    if error.status_code == HTTPStatus.NOT_FOUND:
        return f"{request.method} {request.url.path} is not there."
    return "The request could not be carried out."


async def _database_gone(request: Request, error: Exception) -> Response:
    facts = {"instance": instance_of(request), "path": request.url.path, "why": str(error)}
    log.warning("database unavailable for a request", extra=facts)
    return of_status(request, 503, "Try again in a moment.", headers={"Retry-After": "5"})


async def _database_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DBAPIError), "registered for it"
    cause = error.orig.__cause__ if error.orig is not None else None
    if error.connection_invalidated or isinstance(cause, DATABASE_GONE):
        return await _database_gone(request, error)
    return await _ours(request, error)


async def _ours(request: Request, error: Exception) -> Response:
    """A fault of ours: told to the log, not to the caller."""
    facts = {"instance": instance_of(request), "path": request.url.path, "method": request.method}
    log.error("request failed", exc_info=error, extra=facts)
    status, code, title, title_zh = OURS
    title = title_zh if wants_chinese(request) else title
    return problem(request, status, code, title, "It is in the service's log under this instance.")


def every_problem() -> set[tuple[int, str, str, str]]:
    """Every (status, code, title, Chinese title) an answer of the API may have: what `docs/problems.md` lists."""
    of_statuses = {(status, code, title, zh) for status, (code, title, zh) in STATUS_CODES.items()}
    return {*PROBLEMS.values(), *of_statuses, INVALID, OURS, NO_REQUEST}
