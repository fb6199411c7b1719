"""Webhooks: what happens, sent to an address of the token's owner, signed. They belong to the token that made them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from app.api.access import Reader, hidden
from app.api.answers import AskedFormat, Asking, json_answer, listed, number_key, object_answer
from app.api.deps import Deps
from app.api.parameters import known_parameters
from app.api.schemas.shared import Listed
from app.api.schemas.webhooks import DeliveryOut, WebhookChange, WebhookIn, WebhookOut, WebhookSecretOut
from app.store import webhooks
from app.store.registry import NotThere, WrongField
from app.webhooks import signature
from app.webhooks.address import ForbiddenAddress, checked_url

router = APIRouter(tags=["webhooks"], dependencies=[Depends(known_parameters)])

DeliveryState = Literal["queued", "delivered", "dead"]
AskedState = Annotated[DeliveryState | None, Query(description="`dead`: what was given up.")]
DeliveryNumber = Annotated[int, Path(ge=1, le=(1 << 63) - 1)]


@router.get("/webhooks", operation_id="listWebhooks", response_model=Listed[WebhookOut])
async def list_webhooks(deps: Deps, caller: Reader, request: Request, asked: AskedFormat = None) -> Response:
    """The webhooks of this token."""
    return listed(request, await webhooks.listed(deps.owner, caller.number), None, asked, "webhooks", WebhookOut)


@router.post("/webhooks", operation_id="createWebhook", status_code=201, response_model=WebhookSecretOut)
async def create_webhook(body: WebhookIn, deps: Deps, caller: Reader) -> Response:
    """An address that hears what this token may see. The answer holds the secret, this once."""
    _check(body.url, private_allowed=deps.webhooks_private)
    secret = webhooks.new_secret(signature.SECRET_BYTES)
    made = await webhooks.create(
        deps.owner, caller, url=body.url, description=body.description, kinds=body.kinds, secret=secret
    )
    return json_answer(made | {"secret": signature.shown(secret)}, 201, {"Location": f"/api/v1/webhooks/{made['id']}"})


@router.get("/webhooks/{webhook}", operation_id="getWebhook", response_model=WebhookOut)
async def get_webhook(webhook: str, deps: Deps, caller: Reader, request: Request) -> Response:
    try:
        return object_answer(request, await webhooks.one(deps.owner, caller.number, webhook), {"failing_since"})
    except NotThere:
        raise await hidden(deps, caller, "webhook", webhook) from None


@router.patch("/webhooks/{webhook}", operation_id="changeWebhook", response_model=WebhookOut)
async def change_webhook(webhook: str, body: WebhookChange, deps: Deps, caller: Reader) -> Response:
    """`active: true` switches an endpoint on again that was given up; what waits for it is sent."""
    if body.url is not None:
        _check(body.url, private_allowed=deps.webhooks_private)
    try:
        changed = await webhooks.change(deps.owner, caller, webhook, body.model_dump(exclude_none=True))
    except NotThere:
        raise await hidden(deps, caller, "webhook", webhook) from None
    return json_answer(changed)


@router.delete("/webhooks/{webhook}", operation_id="removeWebhook", status_code=204, response_class=Response)
async def remove_webhook(webhook: str, deps: Deps, caller: Reader) -> Response:
    """With everything that waits for it."""
    try:
        await webhooks.drop(deps.owner, caller, webhook)
    except NotThere:
        raise await hidden(deps, caller, "webhook", webhook) from None
    return Response(status_code=204)


@router.post("/webhooks/{webhook}/secret", operation_id="rotateWebhookSecret", response_model=WebhookSecretOut)
async def rotate_secret(webhook: str, deps: Deps, caller: Reader) -> Response:
    """Another secret. For a day deliveries carry two signatures, by the new one and by the one before."""
    secret = webhooks.new_secret(signature.SECRET_BYTES)
    try:
        changed = await webhooks.rotate(deps.owner, caller, webhook, secret, deps.clock())
    except NotThere:
        raise await hidden(deps, caller, "webhook", webhook) from None
    return json_answer(changed | {"secret": signature.shown(secret)})


@router.post("/webhooks/{webhook}/test", operation_id="testWebhook", status_code=202, response_model=DeliveryOut)
async def test_webhook(webhook: str, deps: Deps, caller: Reader) -> Response:
    """Sends a `webhook.test` that tells nothing."""
    try:
        return json_answer(await webhooks.test(deps.owner, caller, webhook, deps.clock()), 202)
    except NotThere:
        raise await hidden(deps, caller, "webhook", webhook) from None


@router.get("/webhooks/{webhook}/deliveries", operation_id="listWebhookDeliveries", response_model=Listed[DeliveryOut])
async def list_deliveries(
    webhook: str,
    deps: Deps,
    caller: Reader,
    asking: Asking,
    state: AskedState = None,
) -> Response:
    """What was sent, waits, or was given up (`state=dead`), newest first; kept for a month."""
    try:
        page = await webhooks.deliveries(
            deps.owner, caller.number, webhook, state=state, limit=asking.limit, after=number_key(asking.cursor)
        )
    except NotThere:
        raise await hidden(deps, caller, "webhook", webhook) from None
    return asking.answer(page.items, page.next, "deliveries", DeliveryOut)


@router.post(
    "/webhooks/{webhook}/deliveries/{delivery}/resend",
    operation_id="resendWebhookDelivery",
    status_code=202,
    response_model=DeliveryOut,
)
async def resend(webhook: str, delivery: DeliveryNumber, deps: Deps, caller: Reader) -> Response:
    """Sends a delivery once more, whatever became of it; its `webhook-id` stays."""
    try:
        return json_answer(await webhooks.again(deps.owner, caller, webhook, delivery), 202)
    except NotThere:
        raise await hidden(deps, caller, "webhook", webhook) from None


def _check(url: str, *, private_allowed: bool) -> None:
    try:
        checked_url(url, private_allowed=private_allowed)
    except ForbiddenAddress as error:
        raise WrongField("url", str(error)) from error
