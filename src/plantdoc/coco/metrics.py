"""The figures everybody reports: COCO's average precision and recall, by pycocotools (https://cocodataset.org/#detection-eval)."""

from __future__ import annotations

import contextlib
import io
from typing import Any, cast

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from plantdoc.coco.dataset import Split
from plantdoc.core.errors import UserError

# In the order of COCOeval.stats: precision is averaged over classes and, where no IoU is named, over IoU 0.50:0.95.
# fmt: off
FIGURES = (
    "map", "map50", "map75", "map_small", "map_medium", "map_large",
    "mar1", "mar10", "mar100", "mar_small", "mar_medium", "mar_large",
)
# fmt: on


def evaluate(split: Split, predictions: list[dict]) -> COCOeval:
    """Match predictions with the truth, over all pictures of a split; quiet.

    Args:
        split: the truth.
        predictions: in COCO's results form: `image_id`, `category_id`, `bbox` [x, y, width, height] in pixels of the
            stored picture, `score`. At most 100 per picture and class count.

    Raises:
        UserError: there is no box in the split, so nothing can be scored.
    """
    if not any(picture.boxes for picture in split.pictures):
        raise UserError(
            f"none of the {len(split.pictures)} pictures to score on has a box, so there is nothing to measure: "
            "give this split some labelled pictures (see results/fetch/report.md)"
        )
    results = [
        {**p, "id": i, "area": p["bbox"][2] * p["bbox"][3], "iscrowd": 0} for i, p in enumerate(predictions, start=1)
    ]
    truth = split.to_json()
    # pycocotools prints its progress and offers no way to turn that off.
    with contextlib.redirect_stdout(io.StringIO()):
        result = COCOeval(_indexed(truth), _indexed({**truth, "annotations": results}), iouType="bbox")
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result


def coco_map(split: Split, predictions: list[dict]) -> dict[str, float]:
    """The 12 COCO figures by the names in `FIGURES`, each 0..1; arguments and errors are those of `evaluate`.

    A figure that does not exist (`map_small` where no box is small) is left out; map, map50, map75 always exist.
    """
    return figures(evaluate(split, predictions))


def figures(result: COCOeval) -> dict[str, float]:
    """Figures of an evaluation, as `coco_map` returns them."""
    return {name: float(value) for name, value in zip(FIGURES, result.stats, strict=True) if value >= 0}


def per_class(split: Split, result: COCOeval) -> list[dict]:
    """Per class: `class`, `pictures` that show it, `boxes`, `ap` (50:95), `ap50`; in the order of the classes.

    `ap` and `ap50` are None for a class of which the split has no box.
    """
    precision = result.eval["precision"][:, :, :, 0, 2]  # [IoU, recall, class], all areas, 100 detections
    rows = []
    for category, name in enumerate(split.classes):
        boxes = [sum(box.category == category for box in picture.boxes) for picture in split.pictures]
        rows.append(
            {
                "class": name,
                "pictures": int(np.count_nonzero(boxes)),
                "boxes": sum(boxes),
                "ap": float(precision[:, :, category].mean()) if any(boxes) else None,
                "ap50": float(precision[0, :, category].mean()) if any(boxes) else None,
            }
        )
    return rows


def _indexed(dataset: dict) -> COCO:
    # COCO.loadRes does the same but fails on an empty list.
    coco = COCO()
    coco.dataset = cast(Any, dataset)
    coco.createIndex()
    return coco
