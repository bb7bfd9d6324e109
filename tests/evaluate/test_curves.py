"""plantdoc.evaluate.curves on cases small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from plantdoc.coco import metrics
from plantdoc.coco.dataset import Box, Picture, Split
from plantdoc.evaluate import curves

CLASSES = ("leaf", "spot", "unseen")
HERE, THERE, NOWHERE = (0.0, 0.0, 50.0, 50.0), (100.0, 100.0, 50.0, 50.0), (0.0, 150.0, 20.0, 20.0)


def split(*pictures: list[tuple[tuple, int]]) -> Split:
    return Split(
        CLASSES,
        tuple(Picture(i, f"{i}.jpg", 200, 200, tuple(Box(*b) for b in boxes)) for i, boxes in enumerate(pictures, 1)),
    )


def found(*rows: tuple[int, tuple, int, float]) -> list[dict]:
    return [{"image_id": i, "bbox": list(xywh), "category_id": c, "score": s} for i, xywh, c, s in rows]


TRUTH = split([(HERE, 0), (THERE, 1)], [(HERE, 0)], [])
FOUND = found(
    (1, HERE, 0, 0.9),  # right
    (1, THERE, 0, 0.8),  # right place, wrong class
    (2, HERE, 0, 0.7),  # right
    (1, THERE, 1, 0.6),  # right
    (3, HERE, 0, 0.5),  # nothing is there
    (2, NOWHERE, 1, 0.4),  # nothing is there
)


def test_operating_threshold_is_where_f1_peaks():
    # F1 by threshold: 0.9 → 2·1/(1+3), 0.8 → 2/5, 0.7 → 4/6, 0.6 → 6/7, 0.5 → 6/8, 0.4 → 6/9.
    result = metrics.evaluate(TRUTH, FOUND)
    assert curves.operating_threshold(result) == 0.6
    assert curves.at_threshold(result, 0.6) == {"precision": 3 / 4, "recall": 1.0}
    assert curves.at_threshold(result, 0.85) == {"precision": 1.0, "recall": pytest.approx(1 / 3)}
    assert curves.at_threshold(result, 0.95) == {"recall": 0.0}


def test_a_threshold_takes_all_predictions_of_equal_score():
    # One right and two wrong ones at 0.5: taken apart, 0.5 would look perfect.
    truth = split([(HERE, 0)], [(HERE, 0)])
    predictions = found((1, HERE, 0, 0.5), (1, THERE, 0, 0.5), (1, NOWHERE, 0, 0.5), (2, HERE, 0, 0.4))
    result = metrics.evaluate(truth, predictions)
    assert curves.operating_threshold(result) == 0.4
    assert curves.at_threshold(result, 0.5) == {"precision": pytest.approx(1 / 3), "recall": 0.5}


def test_nothing_found_gives_a_threshold_that_nothing_passes():
    assert curves.operating_threshold(metrics.evaluate(TRUTH, [])) == 1.0
    assert curves.operating_threshold(metrics.evaluate(TRUTH, found((3, HERE, 0, 0.5)))) == 1.0


def test_f1_of_pictures():
    result = metrics.evaluate(TRUTH, FOUND)
    assert curves.f1_of_pictures(result, 0.6) == {1: pytest.approx(4 / 5), 2: 1.0, 3: 1.0}
    assert curves.f1_of_pictures(result, 0.5) == {1: pytest.approx(4 / 5), 2: 1.0, 3: 0.0}
    assert curves.f1_of_pictures(result, 0.95) == {1: 0.0, 2: 0.0, 3: 1.0}


def test_confusion_pairs_by_place_whatever_the_class():
    assert curves.confusion(TRUTH, FOUND, 0.5) == sorted(
        [
            ("leaf", "leaf"),
            ("spot", "leaf"),  # the better-scored wrong class takes the box
            ("background", "spot"),  # so the right one, weaker, is left over
            ("leaf", "leaf"),
            ("background", "leaf"),
        ]
    )
    assert curves.confusion(TRUTH, FOUND, 0.95) == [("leaf", "background")] * 2 + [("spot", "background")]


def test_confusion_wants_half_of_the_union():
    truth = split([(HERE, 0)])
    assert curves.confusion(truth, found((1, (0, 0, 50, 26), 0, 0.9)), 0.5) == [("leaf", "leaf")]
    assert curves.confusion(truth, found((1, (0, 0, 50, 24), 0, 0.9)), 0.5) == [
        ("background", "leaf"),
        ("leaf", "background"),
    ]


def test_confusion_takes_the_box_that_overlaps_most():
    truth = split([(HERE, 0), ((0.0, 0.0, 50.0, 60.0), 1)])
    assert curves.confusion(truth, found((1, (0, 0, 50, 58), 2, 0.9)), 0.5) == [
        ("leaf", "background"),
        ("spot", "unseen"),
    ]


def test_precision_recall_averages_to_map50():
    result = metrics.evaluate(TRUTH, FOUND)
    recall, by_class = curves.precision_recall(TRUTH, result)
    assert recall.tolist() == pytest.approx(np.linspace(0, 1, 101))
    assert list(by_class) == ["leaf", "spot"], "a class without boxes has no curve"
    assert np.mean(list(by_class.values())) == pytest.approx(metrics.figures(result)["map50"])
    # Leaves by score: right, wrong, right; so precision is 1 up to recall 0.5 and 2/3 beyond.
    assert by_class["leaf"].tolist() == pytest.approx([1.0] * 51 + [2 / 3] * 50)


def test_detections_in_a_region_of_many_leaves_are_neither_right_nor_wrong():
    region = Picture(1, "1.jpg", 200, 200, (Box(HERE, 0),), crowds=(Box((60.0, 60.0, 140.0, 140.0), 0),))
    predictions = found((1, HERE, 0, 0.9), (1, THERE, 0, 0.95), (1, (120.0, 120.0, 40.0, 40.0), 0, 0.8))
    truth = Split(CLASSES, (region,))
    result = metrics.evaluate(truth, predictions)
    assert curves.operating_threshold(result) == 0.9
    assert curves.at_threshold(result, 0.5) == {"precision": 1.0, "recall": 1.0}
    assert curves.f1_of_pictures(result, 0.5) == {1: 1.0}
    assert curves.confusion(truth, predictions, 0.5) == [("leaf", "leaf")]
    # Outside of it a detection is wrong, as anywhere.
    outside = [*predictions, *found((1, NOWHERE, 0, 0.7))]
    assert curves.at_threshold(metrics.evaluate(truth, outside), 0.5) == {"precision": 0.5, "recall": 1.0}
    assert curves.confusion(truth, outside, 0.5) == [("background", "leaf"), ("leaf", "leaf")]
