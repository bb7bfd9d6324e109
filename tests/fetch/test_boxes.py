"""Boxes end up on the leaf they were drawn around, or are dropped for a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from plantdoc.fetch import boxes
from plantdoc.fetch.raw_data import RawBox, RawPicture

AS_STORED = (100, 60)
NAN = float("nan")


def raw(*corners, relative=False, declared=None, name="leaf"):
    return RawPicture("train", "x.jpg", Path("x.jpg"), tuple(RawBox(c, name) for c in corners), relative, declared)


def spot(orientation: int) -> tuple[float, float, float, float]:
    """Where a spot at (10, 5)–(40, 25) of the stored picture shows up, by Pillow."""
    image = Image.new("L", AS_STORED)
    image.paste(255, (10, 5, 40, 25))
    exif = image.getexif()
    exif[0x0112] = orientation
    rows, columns = np.nonzero(np.asarray(ImageOps.exif_transpose(image)))
    x, y = int(columns.min()), int(rows.min())
    return (x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y)


@pytest.mark.parametrize("orientation", range(5, 9))
@pytest.mark.parametrize("relative", [False, True])
def test_boxes_drawn_on_the_stored_picture_turn_with_it(orientation, relative):
    corners = (0.1, 5 / 60, 0.4, 25 / 60) if relative else (10, 5, 40, 25)
    cleaned = boxes.clean(raw(corners, relative=relative, declared=AS_STORED), AS_STORED, orientation, 4)
    assert cleaned.boxes == ((spot(orientation), "leaf"),)
    assert cleaned.repairs == ("boxes turned along with the picture",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_turn_is_pillows(orientation):
    x0, y0, x1, y1 = boxes._turn((10, 5, 40, 25), orientation, AS_STORED)
    assert (x0, y0, x1 - x0, y1 - y0) == spot(orientation)


def test_the_frame_is_the_declared_one_else_the_one_that_holds_the_boxes():
    tall, wide, small = (10, 5, 30, 90), (10, 5, 90, 30), (10, 5, 30, 30)
    displayed = AS_STORED[::-1]

    def turned(*corners, declared):
        return bool(
            boxes.clean(raw(*corners, declared=declared), AS_STORED, 6, 4).repairs[:1]
            == ("boxes turned along with the picture",)
        )

    assert not turned(small, declared=displayed)
    assert turned(small, declared=AS_STORED)
    assert not turned(tall, small, declared=None)
    assert turned(wide, small, declared=None)
    assert turned(wide, declared=(0, 0)) and not turned(small, declared=None)


def test_boxes_are_clipped_and_useless_ones_dropped():
    picture = raw(
        (-10, -10, 50, 30), (10, 10, 10, 30), (30, 30, 20, 20), (10, 10, 60, 13), (200, 10, 220, 30), (NAN, 0, 9, 9)
    )
    cleaned = boxes.clean(picture, AS_STORED, 1, 4)
    assert cleaned.boxes == (((0, 0, 50, 30), "leaf"),)
    assert cleaned.repairs == ("1 box clipped to the picture",)
    assert cleaned.dropped == (
        "box without area",
        "box without area",
        "sliver box, 50 × 3 px",
        "box outside the picture",
        "box without numbers",
    )
    assert boxes.clean(raw((1, 1, 20, 20), name=""), AS_STORED, 1, 4).dropped == ("box without a class name",)


def test_a_wrong_declared_size_changes_nothing():
    cleaned = boxes.clean(raw((10, 5, 40, 25), declared=(4000, 3000)), AS_STORED, 1, 4)
    assert cleaned.boxes == (((10, 5, 30, 20), "leaf"),)
    assert cleaned.repairs == ("declared size 4000 × 3000 ignored",)


def test_regions_of_many_leaves_are_kept_apart_and_reasons_of_the_format_are_passed_on():
    picture = RawPicture(
        "train",
        "x",
        Path("x"),
        (
            RawBox((10, 10, 40, 40), "leaf"),
            RawBox((0, 0, 90, 60), "leaf", crowd=True),
            RawBox((0, 0, 9, 9), "leaf", fault="a line is no box"),
        ),
        repairs=("corners of a box put in order",),
    )
    cleaned = boxes.clean(picture, AS_STORED, 1, 4)
    assert cleaned.boxes == (((10, 10, 30, 30), "leaf"),) and cleaned.crowds == (((0, 0, 90, 60), "leaf"),)
    assert cleaned.dropped == ("a line is no box",) and cleaned.repairs == ("corners of a box put in order",)
