"""The chart of a mail: what was used, the plan, and the projection with its band, as a small PNG.

Digits and ASCII only: no Chinese font is needed on the machine that draws it. The facts stand in the text as well.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 15, 30, 30
MONTHS = 12
WHITE, GREY, LIGHT, BLACK = "#ffffff", "#9aa4ad", "#e3e8ec", "#20262b"
USED, PLAN, BAND, AHEAD, OVER = "#1f5f9e", "#7a8790", "#f3d9b8", "#d9730d", "#c0392b"


@dataclass(frozen=True, slots=True)
class Curve:
    """A year: sums to the end of each month, in one unit. `at`: how far the year is, 0..12 months, for `used[-1]`.
    `since`: where data begins, 0..12 months; nothing is drawn as used before it.

    `used` holds the sums of the months that are over or running; `plan` twelve; the projection's end is None when there
    is none.
    """

    used: tuple[float, ...]
    at: float
    plan: tuple[float, ...]
    budget: float
    low: float | None
    middle: float | None
    high: float | None
    unit: str
    since: float = 0.0


def png(curve: Curve) -> bytes:
    """The chart. Raises ValueError for figures that are no numbers."""
    top = _nice(1.08 * max([curve.budget, *curve.used, *curve.plan, curve.high or 0.0]))
    image = Image.new("RGB", (WIDTH, HEIGHT), WHITE)
    pen = ImageDraw.Draw(image)
    _axes(pen, top, curve.unit)
    if curve.used and curve.middle is not None and curve.low is not None and curve.high is not None:
        now = (curve.at, curve.used[-1])
        _polygon(pen, [now, (12, curve.high), (12, curve.low)], top)
        _line(pen, [now, (12, curve.middle)], top, AHEAD, dashed=True)
    _line(pen, [(0, 0), *enumerate(curve.plan, start=1)], top, PLAN)
    _line(pen, [(0, curve.budget), (12, curve.budget)], top, OVER)
    _line(pen, _used(curve), top, USED, width=3)
    _legend(pen)
    out = io.BytesIO()
    image.quantize(32).save(out, "PNG", optimize=True)
    return out.getvalue()


def _used(curve: Curve) -> list[tuple[float, float]]:
    whole = [(float(month), value) for month, value in enumerate(curve.used[:-1], start=1) if month > curve.since]
    return [(min(curve.since, curve.at), 0.0), *whole, (curve.at, curve.used[-1])] if curve.used else []


def _nice(value: float) -> float:
    """The next round number above, for the top of the axis. Raises ValueError for what is not above zero."""
    if not 0 < value < 1e18:
        raise ValueError(f"a chart's figures must lie above zero, not {value!r}")
    step = 10.0 ** (len(f"{value:.0f}") - 1)
    return next(step * times for times in (0.1, 0.2, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * times >= value)


def _x(month: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * month / MONTHS


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _axes(pen: ImageDraw.ImageDraw, top: float, unit: str) -> None:
    font = ImageFont.load_default(11)
    for part in range(5):
        value = top * part / 4
        pen.line([(LEFT, _y(value, top)), (WIDTH - RIGHT, _y(value, top))], LIGHT)
        pen.text((LEFT - 6, _y(value, top)), f"{value:,.0f}", BLACK, font, anchor="rm")
    for month in range(1, MONTHS + 1):
        pen.text((_x(month - 0.5), HEIGHT - BOTTOM + 6), f"{month:02d}", BLACK, font, anchor="ma")
    pen.text((LEFT, 6), unit, BLACK, font)


def _legend(pen: ImageDraw.ImageDraw) -> None:
    font = ImageFont.load_default(11)
    at = LEFT + 60
    words = (("used", USED), ("plan", PLAN), ("budget", OVER), ("projection", AHEAD), ("its 80 % range", BAND))
    for word, colour in words:
        pen.rectangle([at, 9, at + 14, 15], colour)
        if colour == AHEAD:  # dashed, as the line is
            pen.rectangle([at + 5, 9, at + 9, 15], WHITE)
        pen.text((at + 20, 6), word, BLACK, font)
        at += 44 + int(font.getlength(word))


def _line(
    pen: ImageDraw.ImageDraw,
    points: Sequence[tuple[float, float]],
    top: float,
    colour: str,
    *,
    width: int = 2,
    dashed: bool = False,
) -> None:
    placed = [(_x(month), _y(value, top)) for month, value in points]
    if not dashed:
        pen.line(placed, colour, width, joint="curve")
        return
    (x0, y0), (x1, y1) = placed[0], placed[-1]
    for part in range(0, 40, 2):
        begin, end = part / 40, (part + 1) / 40
        pen.line(
            [(x0 + (x1 - x0) * begin, y0 + (y1 - y0) * begin), (x0 + (x1 - x0) * end, y0 + (y1 - y0) * end)],
            colour,
            width,
        )


def _polygon(pen: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], top: float) -> None:
    pen.polygon([(_x(month), _y(value, top)) for month, value in points], BAND)
