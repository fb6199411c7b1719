"""Live events: what happens in the caller's scope, as server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from app.api.access import Reader, still_valid, visible_enterprise
from app.api.deps import Deps
from app.api.feed import EventStream, Wishes, told
from app.api.parameters import known_parameters
from app.api.problems import BadQuery
from app.store.events import Event, Place

router = APIRouter(tags=["live"], dependencies=[Depends(known_parameters)])

STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
KINDS = "Families or whole kinds, with commas between: alert, data, data.arrived. All without it."
Kinds = Annotated[str | None, Query(max_length=400, pattern=r"^[a-z.-]+(,[a-z.-]+)*$", description=KINDS)]
LAST = "The `id` of the last event that was heard; the stream goes on after it."
Heard = Annotated[str | None, Header(alias="Last-Event-ID", max_length=100, description=LAST)]


@router.get("/events", operation_id="listenToEvents", response_class=Response, responses={200: {"content": STREAM}})
async def listen(
    deps: Deps,
    caller: Reader,
    request: Request,
    kinds: Kinds = None,
    enterprise: Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")] = None,
    last: Heard = None,
) -> Response:
    """Alerts and arrivals of data as they happen, within what the token may see.

    The first event is `ready`, or `reset` when what came after `Last-Event-ID` is kept no longer: then read anew what
    you show. Each carries an `id`; a comment every 15 seconds keeps the connection. The stream ends when the token is
    revoked. Events are kept for seven days.
    """
    if enterprise is not None:
        await visible_enterprise(deps, caller, enterprise)
    place = None if last is None else Place.read(last)
    if last is not None and place is None:
        raise BadQuery("Last-Event-ID", "is the id of no event of this stream")

    def sees(one: Event) -> bool:
        return one.visible_to(caller.role.value, caller.scope)

    async def valid() -> bool:
        return await still_valid(request, deps, caller)

    wishes = Wishes(tuple(kinds.split(",")) if kinds else (), enterprise)
    return EventStream(told(deps.feed, wishes, sees, valid, place))
