"""Boxes as written by strangers, turned into `[x, y, width, height]` in pixels of the upright picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from plantdoc.fetch.raw_data import RawBox, RawPicture
from plantdoc.fetch.shapes import Corners

Labelled = tuple[tuple[float, float, float, float], str]
_SLACK = 2.0  # px; annotations made in the right frame may still touch or pass its edge by so much

# Where EXIF orientation 1..8 takes the point (x, y) of a stored picture of w × h pixels (Exif 2.32, tag 274).
_TURNS: dict[int, Callable[[float, float, int, int], tuple[float, float]]] = {
    1: lambda x, y, w, h: (x, y),
    2: lambda x, y, w, h: (w - x, y),
    3: lambda x, y, w, h: (w - x, h - y),
    4: lambda x, y, w, h: (x, h - y),
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, h: (y, w - x),
}


@dataclass(frozen=True)
class Cleaned:
    """A picture's boxes after cleaning.

    `boxes` and `crowds` (regions of many leaves) are (xywh in px of the picture as displayed, class name); `repairs`
    says what was repaired, `dropped` why boxes were dropped, one text each.
    """

    boxes: tuple[Labelled, ...]
    crowds: tuple[Labelled, ...]
    repairs: tuple[str, ...]
    dropped: tuple[str, ...]


def clean(raw: RawPicture, stored: tuple[int, int], orientation: int, min_box: float) -> Cleaned:
    """Bring a picture's boxes into the frame in which it is displayed, clip them, and drop what cannot be used.

    Some annotations of PlantDoc were drawn on the picture as stored, before its EXIF orientation was applied, others
    on the picture as displayed. Which frame it was is decided by the declared size where it equals just one of the
    two; else by the frame that holds all boxes; else the boxes are taken to be on the picture as displayed.

    Args:
        raw: the picture as its source describes it.
        stored: (width, height) of the picture before turning.
        orientation: EXIF 1..8.
        min_box: px; narrower or lower boxes go.
    """
    displayed = (stored[1], stored[0]) if orientation >= 5 else stored
    on_stored = orientation != 1 and _drawn_on_stored(raw, stored, displayed)
    frame = stored if on_stored else displayed
    repairs = [*raw.repairs] + (["boxes turned along with the picture"] if on_stored and raw.boxes else [])
    if raw.declared and raw.declared not in (stored, displayed):
        repairs.append(f"declared size {raw.declared[0]} × {raw.declared[1]} ignored")
    kept: tuple[list[Labelled], list[Labelled]] = ([], [])
    dropped, clipped = [], 0
    for box in raw.boxes:
        if fault := _fault(box):
            dropped.append(fault)
            continue
        corners = _in_pixels(box.corners, raw.relative, frame)
        if on_stored:
            corners = _turn(corners, orientation, stored)
        x0, y0, x1, y1 = _clip(corners, displayed)
        if corners[2] <= corners[0] or corners[3] <= corners[1]:
            dropped.append("box without area")
        elif x1 <= x0 or y1 <= y0:
            dropped.append("box outside the picture")
        elif x1 - x0 < min_box or y1 - y0 < min_box:
            dropped.append(f"sliver box, {x1 - x0:.4g} × {y1 - y0:.4g} px")
        else:
            # One pixel over the edge is how Pascal VOC counts, from 1 and inclusive; relative ones carry rounding.
            clipped += max(abs(a - b) for a, b in zip(corners, (x0, y0, x1, y1), strict=True)) > 1
            kept[box.crowd].append(((x0, y0, x1 - x0, y1 - y0), box.name))
    if clipped:
        repairs.append(f"{clipped} box{'es' if clipped > 1 else ''} clipped to the picture")
    return Cleaned(tuple(kept[0]), tuple(kept[1]), tuple(repairs), tuple(dropped))


def _fault(box: RawBox) -> str:
    if box.fault:
        return box.fault
    if not all(map(math.isfinite, box.corners)):
        return "box without numbers"
    return "" if box.name else "box without a class name"


def _drawn_on_stored(raw: RawPicture, stored: tuple[int, int], displayed: tuple[int, int]) -> bool:
    if stored != displayed and raw.declared in (stored, displayed):
        return raw.declared == stored
    return not raw.relative and not _holds(displayed, raw) and _holds(stored, raw)


def _holds(frame: tuple[int, int], raw: RawPicture) -> bool:
    return all(
        x0 >= -_SLACK and y0 >= -_SLACK and x1 <= frame[0] + _SLACK and y1 <= frame[1] + _SLACK
        for x0, y0, x1, y1 in (box.corners for box in raw.boxes)
    )


def _in_pixels(corners: Corners, relative: bool, frame: tuple[int, int]) -> Corners:
    x0, y0, x1, y1 = corners
    # A thousandth of a pixel is far below what anybody draws, and hides the rounding of 32-bit records.
    width, height = frame if relative else (1, 1)
    return (round(x0 * width, 3), round(y0 * height, 3), round(x1 * width, 3), round(y1 * height, 3))


def _turn(corners: Corners, orientation: int, stored: tuple[int, int]) -> Corners:
    turn = _TURNS[orientation]
    (xa, ya), (xb, yb) = turn(*corners[:2], *stored), turn(*corners[2:], *stored)
    return (min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))


def _clip(corners: Corners, frame: tuple[int, int]) -> Corners:
    width, height = frame
    x0, y0, x1, y1 = corners
    return (min(max(x0, 0), width), min(max(y0, 0), height), min(max(x1, 0), width), min(max(y1, 0), height))
