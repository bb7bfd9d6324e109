"""Shapes that annotations are drawn in, as the boxes around them: corners (xmin, ymin, xmax, ymax)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Corners = tuple[float, float, float, float]
NAN = float("nan")
UNKNOWN: Corners = (NAN, NAN, NAN, NAN)


def number(value: Any) -> float:
    """A coordinate, or not-a-number where there is none to be read."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return NAN


def ordered(x0: float, y0: float, x1: float, y1: float) -> tuple[Corners, str]:
    """Two opposite corners in order, and what was repaired, or ""."""
    corners = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    # min and max of not-a-number depend on the order of arguments.
    if any(map(math.isnan, (x0, y0, x1, y1))):
        return UNKNOWN, ""
    return corners, "" if corners == (x0, y0, x1, y1) else "corners of a box put in order"


def around(xs: Sequence[float], ys: Sequence[float]) -> Corners:
    """The box around points; `UNKNOWN` for less than two points or where one is not a number."""
    if len(xs) != len(ys) or len(xs) < 2 or any(map(math.isnan, (*xs, *ys))):
        return UNKNOWN
    return (min(xs), min(ys), max(xs), max(ys))


def rotated(cx: float, cy: float, width: float, height: float, radians: float) -> Corners:
    """The box around a box of this centre and size that is turned about its centre."""
    if not math.isfinite(radians):
        return UNKNOWN
    c, s = abs(math.cos(radians)), abs(math.sin(radians))
    w, h = width * c + height * s, width * s + height * c
    return (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)


def turned_about_corner(x: float, y: float, width: float, height: float, radians: float) -> Corners:
    """The box around a box that is turned about its top left corner, as Label Studio stores it."""
    if not math.isfinite(radians):
        return UNKNOWN
    c, s = math.cos(radians), math.sin(radians)
    xs = [x, x + width * c, x - height * s, x + width * c - height * s]
    ys = [y, y + width * s, y + height * c, y + width * s + height * c]
    return around(xs, ys)
