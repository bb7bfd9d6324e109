"""How a detector behaves where the right answer follows from another one: behavioural tests (Ribeiro et al. 2020).

Invariances: pictures are mirrored, made darker or brighter, moved, compressed or halved, what is found is carried back
into the original's pixels, and scored against the original's truth. Expectations: a picture without a leaf gets no box
at the operating threshold, and two leaves side by side get one each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from pycocotools import mask

from plantdoc import predictions, scores
from plantdoc.coco import Picture, Split

GREY = 114
MOVED = 0.06  # of a picture's sides
PAIRS = 16  # at most
DRAWN = 256  # px, side of a picture without a leaf
IOU = 0.5  # from here on a leaf counts as found

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
    return picture.resize(tuple(max(1, round(side / 2)) for side in picture.size), Image.Resampling.LANCZOS)


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
    Change(
        "halved",
        "halved",
        _halved,
        lambda box, w, h: tuple(
            side * whole / max(1, round(whole / 2)) for side, whole in zip(box, (w, h, w, h), strict=True)
        ),
    ),
)


def examine(
    serve: Callable, folder: Path | str, split: Split, threshold: float, least: dict[str, float], seed: int
) -> dict:
    """Try all of it, on the pictures of `split` in `folder`.

    Args:
        serve: plantdoc.serving.Server.serve.
        folder: where the pictures lie.
        split: those to try it on, with boxes.
        threshold: the operating threshold.
        least: what each test must reach, 0..1: `mirrored`, `light`, `shifted`, `compressed`, `halved`, `no_leaf` and
            `two_leaves`.
        seed: of the drawn pictures.

    Returns:
        `pictures` and `map50` of the unchanged ones; for each change its `map50` and the share that was `kept`; for
        `no_leaf` and `two_leaves` the `share` and `of` how many; with each, the `least` and whether it `passed`. What
        could not be measured, as where nothing was found to begin with, is None and passes. `passed`: all did.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ask = _Asker(serve, Path(scratch), split.classes)
        plain = predictions.predict(serve, folder, split.pictures, split.classes)
        map50 = scores.coco_map(split, plain)["map50"]
        result: dict = {"pictures": len(split.pictures), "map50": round(map50, 4)}
        for change in CHANGES:
            changed = scores.coco_map(split, list(_carried_back(change, ask, folder, split)))["map50"]
            kept = changed / map50 if map50 else None
            result[change.name] = {"map50": round(changed, 4), **_verdict("kept", kept, least[change.bound])}
        quiet = [not found for found in ask.about("no_leaf", list(_without_leaf(seed)), threshold)]
        result["no_leaf"] = {"of": len(quiet), **_verdict("share", _mean(quiet), least["no_leaf"])}
        both = list(_two_leaves(ask, folder, split, plain, threshold))
        result["two_leaves"] = {"of": len(both), **_verdict("share", _mean(both), least["two_leaves"])}
    return result | {"passed": all(test["passed"] for test in result.values() if isinstance(test, dict))}


class _Asker:
    """Asks the detector about pictures that are not on disk yet."""

    def __init__(self, serve: Callable, folder: Path, classes: tuple[str, ...]):
        self.serve, self.folder, self.classes = serve, folder, classes

    def about(
        self, name: str, pictures: list[Image.Image], threshold: float = 0.0, quality: int | None = None
    ) -> list[list[dict]]:
        """What is found in each, in COCO's results form, at `threshold` and above."""
        place = self.folder / name
        place.mkdir()
        asked = []
        for number, picture in enumerate(pictures):
            file = f"{number}.png" if quality is None else f"{number}.jpg"
            picture.save(place / file, **({"compress_level": 1} if quality is None else {"quality": quality}))
            asked.append(Picture(number, file, *picture.size))
        found: list[list[dict]] = [[] for _ in pictures]
        for row in predictions.predict(self.serve, place, asked, self.classes):
            if row["score"] >= threshold:
                found[row["image_id"]].append(row)
        return found


def _carried_back(change: Change, ask: _Asker, folder: Path | str, split: Split) -> Iterator[dict]:
    changed = [change.change(_open(folder, picture)) for picture in split.pictures]
    for picture, rows in zip(split.pictures, ask.about(change.name, changed, quality=change.quality), strict=True):
        for row in rows:
            box = change.back(tuple(row["bbox"]), picture.width, picture.height)
            yield row | {"image_id": picture.id, "bbox": list(box)}


def _without_leaf(seed: int) -> Iterator[Image.Image]:
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


def _two_leaves(ask: _Asker, folder: Path | str, split: Split, plain: list[dict], threshold: float) -> Iterator[bool]:
    """Whether both were found, for leaves that are found alone, cut out and set side by side in pairs."""
    crops = []
    for picture in split.pictures:
        rows = [row["bbox"] for row in plain if row["image_id"] == picture.id and row["score"] >= threshold]
        if len(picture.boxes) == 1 and _covered(picture.boxes[0].xywh, rows):
            x, y, w, h = picture.boxes[0].xywh
            crops.append(_open(folder, picture).crop((round(x), round(y), round(x + w), round(y + h))))
    pairs = list(zip(crops[::2], crops[1::2], strict=False))[:PAIRS]
    scenes = [_side_by_side(*pair) for pair in pairs]
    for (_, boxes), rows in zip(
        scenes, ask.about("two_leaves", [scene for scene, _ in scenes], threshold), strict=True
    ):
        yield all(_covered(box, [row["bbox"] for row in rows]) for box in boxes)


def _side_by_side(left: Image.Image, right: Image.Image) -> tuple[Image.Image, list[XYWH]]:
    """Two crops on grey, made equally high, half a width apart; and their boxes."""
    height = max(left.height, right.height)
    left, right = (each.resize((max(1, round(each.width * height / each.height)), height)) for each in (left, right))
    gap = max(left.width, right.width) // 2
    scene = Image.new("RGB", (left.width + right.width + 3 * gap, height + 2 * gap), (GREY,) * 3)
    boxes = [(gap, gap, left.width, height), (left.width + 2 * gap, gap, right.width, height)]
    for crop, box in zip((left, right), boxes, strict=True):
        scene.paste(crop, box[:2])
    return scene, boxes


def _covered(box: XYWH, found: list[XYWH]) -> bool:
    return bool(found) and float(mask.iou([list(box)], [list(each) for each in found], [0] * len(found)).max()) >= IOU


def _verdict(name: str, value: float | None, least: float) -> dict:
    rounded = None if value is None else round(float(value), 4)
    return {name: rounded, "least": least, "passed": rounded is None or rounded >= least}


def _mean(passed: list[bool]) -> float | None:
    return sum(passed) / len(passed) if passed else None


def _open(folder: Path | str, picture: Picture) -> Image.Image:
    with Image.open(Path(folder) / picture.file_name) as image:
        return image.convert("RGB")


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
