"""plantdoc.coco.metrics against figures worked out by hand."""

from __future__ import annotations

import pytest

from plantdoc.coco import metrics
from plantdoc.coco.dataset import Box, Picture, Split
from plantdoc.core.errors import UserError


def split(*pictures: list[tuple[tuple[float, float, float, float], int]], classes=("leaf", "spot")) -> Split:
    """A split of 200 × 200 pictures, each given as [(xywh, category), …]."""
    return Split(
        classes,
        tuple(
            Picture(i, f"{i:02d}.jpg", 200, 200, tuple(Box(*box) for box in boxes))
            for i, boxes in enumerate(pictures, 1)
        ),
    )


def prediction(image_id: int, xywh: tuple[float, float, float, float], category: int, score: float) -> dict:
    return {"image_id": image_id, "category_id": category, "bbox": list(xywh), "score": score}


def test_perfect_predictions_score_one_and_absent_sizes_are_left_out():
    truth = split([((10, 10, 40, 40), 0), ((100, 100, 100, 100), 1)], [((0, 0, 50, 50), 1)])
    found = [prediction(p.id, box.xywh, box.category, 0.9) for p in truth.pictures for box in p.boxes]
    result = metrics.coco_map(truth, found)
    assert result.pop("mar1") == 1.0
    assert "map_small" not in result and "mar_small" not in result
    assert set(result) == {
        "map",
        "map50",
        "map75",
        "map_medium",
        "map_large",
        "mar10",
        "mar100",
        "mar_medium",
        "mar_large",
    }
    assert all(value == pytest.approx(1.0) for value in result.values())


def test_average_precision_by_hand():
    # Three leaves; by score: right, wrong, right, and the third is never found.
    # Precision at recall 1/3 is 1, at 2/3 it is 2/3, beyond it is 0. Of the 101 recall points 0..0.33 (34) get 1,
    # 0.34..0.66 (33) get 2/3, the rest 0.
    truth = split([((0, 0, 50, 50), 0)], [((0, 0, 50, 50), 0)], [((0, 0, 50, 50), 0)])
    found = [
        prediction(1, (0, 0, 50, 50), 0, 0.9),
        prediction(1, (120, 120, 50, 50), 0, 0.8),
        prediction(2, (0, 0, 50, 50), 0, 0.7),
    ]
    result = metrics.coco_map(truth, found)
    assert result["map50"] == pytest.approx((34 + 33 * 2 / 3) / 101, abs=1e-9)
    assert result["map"] == pytest.approx(result["map50"])
    assert result["mar100"] == pytest.approx(2 / 3)


def test_map_averages_over_iou_thresholds():
    # 50 × 50 beside a 50 × 40 box inside it: IoU 0.8, so it counts at 0.50 … 0.80 (7 of 10 thresholds).
    result = metrics.coco_map(split([((0, 0, 50, 50), 0)]), [prediction(1, (0, 0, 50, 40.001), 0, 0.5)])
    assert result["map50"] == result["map75"] == pytest.approx(1.0)
    assert result["map"] == pytest.approx(0.7)


def test_a_right_place_with_a_wrong_class_scores_nothing():
    result = metrics.coco_map(split([((0, 0, 50, 50), 0)]), [prediction(1, (0, 0, 50, 50), 1, 0.9)])
    assert result["map"] == 0.0


def test_no_predictions_score_zero():
    result = metrics.coco_map(split([((0, 0, 50, 50), 0)]), [])
    assert result["map"] == result["map50"] == result["mar100"] == 0.0


def test_per_class_counts_and_figures():
    truth = split(
        [((0, 0, 50, 50), 0), ((100, 100, 50, 50), 0)], [((0, 0, 50, 50), 1)], classes=("leaf", "spot", "stem")
    )
    found = [prediction(1, (0, 0, 50, 50), 0, 0.9), prediction(2, (0, 0, 50, 40.001), 1, 0.9)]
    rows = metrics.per_class(truth, metrics.evaluate(truth, found))
    assert [(r["class"], r["pictures"], r["boxes"]) for r in rows] == [("leaf", 1, 2), ("spot", 1, 1), ("stem", 0, 0)]
    assert rows[0]["ap50"] == pytest.approx(51 / 101)  # half of the leaves: recall points 0..0.5
    assert (rows[1]["ap"], rows[1]["ap50"]) == (pytest.approx(0.7), pytest.approx(1.0))
    assert rows[2]["ap"] is None and rows[2]["ap50"] is None


def test_quiet_and_leaves_its_arguments_alone(capsys):
    found = [prediction(1, (0, 0, 50, 50), 0, 0.9)]
    metrics.coco_map(split([((0, 0, 50, 50), 0)]), found)
    assert found == [prediction(1, (0, 0, 50, 50), 0, 0.9)]
    assert capsys.readouterr().out == ""


def test_a_split_without_boxes_is_a_clear_error():
    with pytest.raises(UserError, match="none of the 2 pictures"):
        metrics.coco_map(split([], []), [])


def test_detections_in_a_region_of_many_leaves_are_neither_right_nor_wrong():
    leaf, region = Box((0, 0, 50, 50), 0), Box((60, 60, 140, 140), 0)
    found = [prediction(1, (0, 0, 50, 50), 0, 0.5), prediction(1, (80, 80, 40, 40), 0, 0.9)]
    bare, marked = (Split(("leaf",), (Picture(1, "1.jpg", 200, 200, (leaf,), crowds),)) for crowds in ((), (region,)))
    assert metrics.coco_map(bare, found)["map50"] == pytest.approx(0.5)
    result = metrics.evaluate(marked, found)
    assert metrics.figures(result)["map50"] == pytest.approx(1.0)
    assert metrics.per_class(marked, result)[0] | {"ap": 1, "ap50": 1} == {
        "class": "leaf", "pictures": 1, "boxes": 1, "ap": 1, "ap50": 1
    }  # fmt: skip
    # Not to find anything there costs nothing.
    assert metrics.coco_map(marked, found[:1])["map50"] == pytest.approx(1.0)


def test_a_split_of_regions_of_many_leaves_alone_cannot_be_scored():
    only = Split(("leaf",), (Picture(1, "1.jpg", 200, 200, (), (Box((0, 0, 50, 50), 0),)),))
    with pytest.raises(UserError, match="has a box, so there is nothing to measure"):
        metrics.evaluate(only, [])
