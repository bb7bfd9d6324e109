"""Pictures made from others, or drawn, to try how a detector behaves (plantdoc.deploy.behaviour)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from plantdoc.core.padding import GREY

MOVED = 0.06  # of a picture's sides
AROUND = 0.25  # of a leaf's sides, what is cut out with it
DRAWN = 256  # px, side of a picture without a leaf

XYWH = tuple[float, float, float, float]


@dataclass(frozen=True)
class Change:
    """A change of a picture: the name of the bound on what it may cost, the change, and a box's way back.

    `back` takes a box xywh in the changed picture and the original's (width, height), px.
    """

    name: str
    bound: str
    change: Callable[[Image.Image], Image.Image]
    back: Callable[[XYWH, int, int], XYWH] = lambda box, width, height: box
    quality: int | None = None  # of a JPEG; None: PNG


def _moved(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    at = round(MOVED * width), round(MOVED * height)
    canvas = Image.new("RGB", (width + at[0], height + at[1]), (GREY,) * 3)
    canvas.paste(picture, at)
    return canvas


def _halved(picture: Image.Image) -> Image.Image:
    width, height = (max(1, round(side / 2)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _doubled(box: XYWH, width: int, height: int) -> XYWH:
    x, y, w, h = (side * whole / max(1, round(whole / 2)) for side, whole in zip(box, (width, height) * 2, strict=True))
    return x, y, w, h


CHANGES = (
    Change("mirrored", "mirrored", ImageOps.mirror, lambda box, w, h: (w - box[0] - box[2], *box[1:])),
    Change("darker", "light", lambda picture: ImageEnhance.Brightness(picture).enhance(0.7)),
    Change("brighter", "light", lambda picture: ImageEnhance.Brightness(picture).enhance(1.3)),
    Change(
        "shifted",
        "shifted",
        _moved,
        lambda box, w, h: (box[0] - round(MOVED * w), box[1] - round(MOVED * h), *box[2:]),
    ),
    Change("compressed", "compressed", lambda picture: picture, quality=40),
    Change("halved", "halved", _halved, _doubled),
)


def without_leaf(seed: int) -> Iterator[Image.Image]:
    """Plain colours, gradients, noise, coarse and fine, and stripes."""
    draw = np.random.default_rng([seed, DRAWN])
    ramp = np.linspace(0, 1, DRAWN)
    for _ in range(4):
        one, two = draw.integers(0, 256, (2, 3))
        yield _picture(np.broadcast_to(one, (DRAWN, DRAWN, 3)))
        yield _picture(one + (two - one) * ramp[:, None, None] * np.ones((1, DRAWN, 1)))
        yield _picture(draw.integers(0, 256, (DRAWN, DRAWN, 3)))
        yield _picture(draw.integers(0, 256, (8, 8, 3))).resize((DRAWN, DRAWN), Image.Resampling.BICUBIC)
        yield _picture(np.where((np.arange(DRAWN) // 16 % 2)[None, :, None], one, two) * np.ones((DRAWN, 1, 1)))


def cut_out(picture: Image.Image, box: XYWH) -> tuple[Image.Image, XYWH]:
    """A leaf with some of what is around it, and its box in there."""
    x, y, w, h = box
    left, top = max(0, round(x - AROUND * w)), max(0, round(y - AROUND * h))
    right, bottom = (
        min(side, round(edge))
        for side, edge in zip(picture.size, (x + w + AROUND * w, y + h + AROUND * h), strict=True)
    )
    return picture.crop((left, top, right, bottom)), (x - left, y - top, w, h)


def side_by_side(*cut: tuple[Image.Image, XYWH]) -> tuple[Image.Image, list[XYWH]]:
    """Two leaves on grey, in a row and apart; and their boxes."""
    gap = max(picture.width for picture, _ in cut) // 4
    width, height = sum(picture.width for picture, _ in cut), max(picture.height for picture, _ in cut)
    scene, boxes, at = Image.new("RGB", (width + 3 * gap, height + 2 * gap), (GREY,) * 3), [], gap
    for picture, (x, y, w, h) in cut:
        scene.paste(picture, (at, gap))
        boxes.append((at + x, gap + y, w, h))
        at += picture.width + gap
    return scene, boxes


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
