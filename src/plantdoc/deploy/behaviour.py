"""Behavioural tests of a detector, where the right answer follows from another one (Ribeiro et al. 2020).

Invariances: pictures are mirrored, made darker or brighter, moved, compressed or halved, what is found is carried back
into the original's pixels, and scored against the original's truth. Expectations: a picture without a leaf gets no
confident box, and two leaves side by side get one each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image
from pycocotools import mask

from plantdoc.coco import metrics
from plantdoc.coco.dataset import Picture, Split
from plantdoc.deploy import perturbations
from plantdoc.serving import predictions

PAIRS = 16  # at most
CONFIDENT = 0.5  # score from which nobody would doubt a box
IOU = 0.5  # from here on a leaf counts as found


def examine(
    serve: Callable, folder: Path | str, split: Split, threshold: float, least: dict[str, float], seed: int
) -> dict:
    """Try all of it, on the pictures of `split` in `folder`.

    Args:
        serve: plantdoc.serving.served_model.Server.serve.
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
        ask = _Predictor(serve, Path(scratch), split.classes)
        plain = predictions.predict(serve, folder, split.pictures, split.classes)
        map50 = metrics.coco_map(split, plain)["map50"]
        result: dict = {"pictures": len(split.pictures), "map50": round(map50, 4)}
        for change in perturbations.CHANGES:
            changed = metrics.coco_map(split, list(_carried_back(change, ask, folder, split)))["map50"]
            kept = changed / map50 if map50 else None
            result[change.name] = {"map50": round(changed, 4), **_verdict("kept", kept, least[change.bound])}
        quiet = [not found for found in ask.about("no_leaf", list(perturbations.without_leaf(seed)), CONFIDENT)]
        result["no_leaf"] = {"of": len(quiet), **_verdict("share", _mean(quiet), least["no_leaf"])}
        both = list(_two_leaves(ask, folder, split, plain, threshold))
        result["two_leaves"] = {"of": len(both), **_verdict("share", _mean(both), least["two_leaves"])}
    return result | {"passed": all(test["passed"] for test in result.values() if isinstance(test, dict))}


class _Predictor:
    """Asks the detector about pictures that are not on disk yet."""

    def __init__(self, serve: Callable, folder: Path, classes: tuple[str, ...]):
        self.serve, self.folder, self.classes = serve, folder, classes

    def about(
        self, name: str, pictures: list[Image.Image], threshold: float = 0.0, quality: int | None = None
    ) -> list[list[dict]]:
        """Predictions for each, in COCO's results form, at `threshold` and above."""
        pictures_folder = self.folder / name
        pictures_folder.mkdir()
        asked = []
        for number, picture in enumerate(pictures):
            file = f"{number}.png" if quality is None else f"{number}.jpg"
            if quality is None:
                picture.save(pictures_folder / file, compress_level=1)
            else:
                picture.save(pictures_folder / file, quality=quality)
            asked.append(Picture(number, file, *picture.size))
        found: list[list[dict]] = [[] for _ in pictures]
        for row in predictions.predict(self.serve, pictures_folder, asked, self.classes):
            if row["score"] >= threshold:
                found[row["image_id"]].append(row)
        return found


def _carried_back(change: perturbations.Change, ask: _Predictor, folder: Path | str, split: Split) -> Iterator[dict]:
    changed = [change.change(_open(folder, picture)) for picture in split.pictures]
    for picture, rows in zip(split.pictures, ask.about(change.name, changed, quality=change.quality), strict=True):
        for row in rows:
            box = change.back(tuple(row["bbox"]), picture.width, picture.height)
            yield row | {"image_id": picture.id, "bbox": list(box)}


def _two_leaves(
    ask: _Predictor, folder: Path | str, split: Split, plain: list[dict], threshold: float
) -> Iterator[bool]:
    """Whether both were found, for leaves that are found alone, cut out and set side by side in pairs."""
    crops = []
    for picture in split.pictures:
        rows = [row["bbox"] for row in plain if row["image_id"] == picture.id and row["score"] >= threshold]
        if len(picture.boxes) == 1 and _covered(picture.boxes[0].xywh, rows):
            crops.append(perturbations.cut_out(_open(folder, picture), picture.boxes[0].xywh))
    pairs = list(zip(crops[::2], crops[1::2], strict=False))[:PAIRS]
    scenes = [perturbations.side_by_side(*pair) for pair in pairs]
    for (_, boxes), rows in zip(
        scenes, ask.about("two_leaves", [scene for scene, _ in scenes], threshold), strict=True
    ):
        yield all(_covered(box, [row["bbox"] for row in rows]) for box in boxes)


def _covered(box: perturbations.XYWH, found: list[perturbations.XYWH]) -> bool:
    if not found:
        return False
    boxes = cast(Any, [list(each) for each in found])  # typeshed knows masks alone
    return float(np.max(mask.iou(cast(Any, [list(box)]), boxes, [0] * len(found)))) >= IOU


def _verdict(name: str, value: float | None, least: float) -> dict:
    rounded = None if value is None else round(float(value), 4)
    return {name: rounded, "least": least, "passed": rounded is None or rounded >= least}


def _mean(passed: list[bool]) -> float | None:
    return sum(passed) / len(passed) if passed else None


def _open(folder: Path | str, picture: Picture) -> Image.Image:
    with Image.open(Path(folder) / picture.file_name) as image:
        return image.convert("RGB")
