"""Precision against recall, the operating threshold, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np
from pycocotools import mask
from pycocotools.cocoeval import COCOeval

from plantdoc.coco.dataset import Box, Picture, Split

IOU = 0.5  # from here on a box counts as found
BACKGROUND = "background"


def precision_recall(split: Split, result: COCOeval) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Recall [101] and, per class with a box, precision [101] at IoU 0.5, interpolated as COCO does.

    The mean over classes and recalls is map50.
    """
    precision = result.eval["precision"][0, :, :, 0, 2]  # [recall, class]
    curves = {name: precision[:, k] for k, name in enumerate(split.classes) if precision[0, k] >= 0}
    return result.params.recThrs, curves


def operating_threshold(result: COCOeval) -> float:
    """The score at which F1, over the boxes of all classes together and at IoU 0.5, is highest.

    Of equal ones the highest score; 1.0 if nothing is found at all. Choose it on val, report it on test.
    """
    scores, right, boxes = _matches(result)
    if not right.any():
        return 1.0
    order = np.argsort(-scores, kind="mergesort")
    scores, right = scores[order], np.cumsum(right[order])
    f1 = 2 * right / (np.arange(1, len(scores) + 1) + boxes)
    f1[:-1][scores[:-1] == scores[1:]] = -1.0  # a threshold takes all of equal scores or none
    return float(scores[np.argmax(f1)])


def at_threshold(result: COCOeval, threshold: float) -> dict[str, float]:
    """`precision` and `recall` over the boxes of all classes, IoU 0.5, of predictions that score `threshold` or more.

    `precision` is left out when there are no such predictions.
    """
    scores, right, boxes = _matches(result)
    kept = scores >= threshold
    found = int(np.count_nonzero(right & kept))
    return ({"precision": found / int(kept.sum())} if kept.any() else {}) | {"recall": found / boxes}


def f1_of_pictures(result: COCOeval, threshold: float) -> dict[int, float]:
    """Per picture id: F1 of its predictions that score `threshold` or more, IoU 0.5.

    1 where there is nothing to find and nothing was found.
    """
    ids = [int(i) for i in result.params.imgIds]
    right, reported, boxes = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)
    for match in _over_all_areas(result):
        scores, found, count = _counted(match)
        kept = scores >= threshold
        right[match["image_id"]] += int(np.count_nonzero(kept & found))
        reported[match["image_id"]] += int(kept.sum())
        boxes[match["image_id"]] += count
    return {i: 2 * right[i] / (reported[i] + boxes[i]) if reported[i] + boxes[i] else 1.0 for i in ids}


def confusion(split: Split, predictions: list[dict], threshold: float) -> list[tuple[str, str]]:
    """(actual, predicted) class names, one pair per box and per false alarm, sorted.

    Predictions that score `threshold` or more take, best first, the free true box that they overlap most, of whatever
    class, if IoU is 0.5 or more. What is left over on either side is paired with "background".
    """
    by_picture: dict[int, list[dict]] = {picture.id: [] for picture in split.pictures}
    for prediction in predictions:
        if prediction["score"] >= threshold:
            by_picture[prediction["image_id"]].append(prediction)
    pairs = []
    for picture in split.pictures:
        found = sorted(by_picture[picture.id], key=lambda p: -p["score"])
        for box, prediction in _pair(picture, found):
            actual = split.classes[box.category] if box else BACKGROUND
            pairs.append((actual, split.classes[prediction["category_id"]] if prediction else BACKGROUND))
    return sorted(pairs)


def _pair(picture: Picture, found: list[dict]) -> Iterable[tuple[Box | None, dict | None]]:
    boxes = picture.boxes
    free = set(range(len(boxes)))
    overlaps = _overlaps(found, boxes, crowds=False)
    in_crowds = _overlaps(found, picture.crowds, crowds=True)
    for i, prediction in enumerate(found):
        best = max(free, key=lambda j: (overlaps[i][j], -j), default=None)
        if best is None or overlaps[i][best] < IOU:
            if not any(share >= IOU for share in in_crowds[i]):
                yield None, prediction
        else:
            free.remove(best)
            yield boxes[best], prediction
    for j in sorted(free):
        yield boxes[j], None


def _overlaps(found: list[dict], boxes: tuple[Box, ...], crowds: bool) -> list[list[float]]:
    """IoU of each prediction with each box; with `crowds` the share of the prediction that lies in the box."""
    if not found or not boxes:
        return [[] for _ in found]
    truth = cast(Any, [list(b.xywh) for b in boxes])  # typeshed knows masks alone
    return cast(Any, mask.iou([p["bbox"] for p in found], truth, [int(crowds)] * len(boxes)))


def _matches(result: COCOeval) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores [D], whether each found a box of its class at IoU 0.5 [D], and the number of boxes."""
    scores, right, boxes = zip(*map(_counted, _over_all_areas(result)), strict=True)
    return np.concatenate(scores), np.concatenate(right), sum(boxes)


def _counted(match: dict) -> tuple[np.ndarray, np.ndarray, int]:
    """The same of one picture and class, without regions of many leaves and the detections in them."""
    counts = match["dtIgnore"][0] == 0
    scores = np.array(match["dtScores"])
    return scores[counts], (match["dtMatches"][0] > 0)[counts], int(np.count_nonzero(match["gtIgnore"] == 0))


def _over_all_areas(result: COCOeval) -> list[dict]:
    # evalImgs is flat over [class][area][picture]; the first area is "all", the first IoU threshold 0.5.
    pictures, areas = len(result.params.imgIds), len(result.params.areaRng)
    classes = np.array(result.evalImgs, dtype=object).reshape(-1, areas, pictures)
    return [match for match in classes[:, 0].ravel() if match is not None]
