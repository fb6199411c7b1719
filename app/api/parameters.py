"""Query parameters that are understood, and times as they arrive in a URL."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.api.deps import Deps
from app.api.problems import BadQuery
from app.store.energy import NotKnownThen
from energy.interval import parse_range_bound

ZONE_PARAMETER = "tz"
KNOWN_ON = "known_on"
# An unescaped plus sign in a URL is a space: nobody writes a time that way, so what is meant is certain.
OFFSET_AFTER_SPACE = re.compile(r" (\d\d:\d\d)$")


async def known_parameters(request: Request, deps: Deps) -> None:
    """Refuses a parameter this route does not know: `regoin=445302` must not answer the whole city.

    `known_on` is refused with a code of its own: what is known now is no answer to what was known then.
    `tz` is accepted where it names the service's own zone, in which all local days and months are.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    _body_is_json(request, route)
    known = query_names(route.dependant)
    for name, value in request.query_params.items():
        if name == ZONE_PARAMETER and value == deps.calendar.zone.key:
            continue
        if name == ZONE_PARAMETER:
            raise BadQuery(name, f"local days and months are those of {deps.calendar.zone.key} here")
        if name == KNOWN_ON and name not in known:
            raise NotKnownThen(
                "what was known on a day is kept of an enterprise's months: ask for it at enterprises/{id}/energy, by "
                "P1M or P1Y"
            )
        if name not in known:
            raise BadQuery(name[:100], f"is no parameter here; known are: {', '.join(sorted(known)) or 'none'}")


def query_names(dependant: Dependant) -> frozenset[str]:
    """The query parameters of a route, with those its dependencies ask for."""
    own = (field.alias for field in dependant.query_params)
    return frozenset(own).union(*map(query_names, dependant.dependencies))


def _body_is_json(request: Request, route: APIRoute) -> None:
    kind = request.headers.get("content-type", "nothing named").split(";")[0].strip().lower()
    empty = request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
    if route.body_field is None or empty or kind == "application/json" or kind.endswith("+json"):
        return
    raise HTTPException(415, f"The body has to be application/json; this one is {kind[:100]}.")


def bound_us(text: str, zone: ZoneInfo) -> int:
    """A bound of a range in microseconds since 1970. Raises energy.interval.BadTime and TimezoneMissing."""
    return parse_range_bound(OFFSET_AFTER_SPACE.sub(r"+\1", text), zone)
