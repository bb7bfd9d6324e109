"""plantdoc.evaluate.bootstrap against pycocotools run on pictures that are really repeated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from plantdoc.coco import metrics
from plantdoc.coco.dataset import Box, Picture, Split
from plantdoc.evaluate import bootstrap

CLASSES = ("leaf", "spot", "never seen", "never found")


def case(pictures: int = 40, seed: int = 0) -> tuple[Split, list[dict]]:
    """Random leaves; predictions around them (some of them wrong, some missing) and out of nowhere."""
    rng = np.random.default_rng(seed)
    split, found = [], []
    for i in range(1, pictures + 1):
        boxes = []
        for _ in range(rng.integers(0, 5)):
            xywh = (*rng.uniform(0, 120, 2), *rng.uniform(10, 80, 2))
            category = int(rng.choice([0, 1, 1, 3]))
            boxes.append(Box(tuple(map(float, xywh)), category))
            if rng.random() < 0.8 and category != 3:
                near = np.array(xywh) + rng.normal(0, 4, 4)
                found.append((i, near, int(rng.choice([category, category, category, 0]))))
        found += [(i, (*rng.uniform(0, 120, 2), 30, 30), int(rng.integers(0, 3))) for _ in range(rng.integers(0, 4))]
        split.append(Picture(i, f"{i}.jpg", 200, 200, tuple(boxes)))
    predictions = [
        {"image_id": i, "category_id": c, "bbox": list(map(float, xywh)), "score": float(rng.random())}
        for i, xywh, c in found
    ]
    return Split(CLASSES, tuple(split)), predictions


def repeated(split: Split, predictions: list[dict], times: np.ndarray) -> tuple[Split, list[dict]]:
    """The split with picture i standing in it times[i] times, under new ids."""
    pictures, found = [], []
    for picture, n in zip(split.pictures, times, strict=True):
        for _ in range(n):
            new = len(pictures) + 1
            pictures.append(Picture(new, picture.file_name, picture.width, picture.height, picture.boxes))
            found += [{**p, "image_id": new} for p in predictions if p["image_id"] == picture.id]
    return Split(split.classes, tuple(pictures)), found


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_one_give_pycocotools_own_figures(seed):
    split, predictions = case(seed=seed)
    result = metrics.evaluate(split, predictions)
    expected = metrics.figures(result)
    overall, at50 = bootstrap.resampled(result, np.ones((1, len(split.pictures)), int))
    assert 0 < expected["map"] < expected["map50"] < 1
    assert overall[0] == pytest.approx(expected["map"], abs=1e-9)
    assert at50[0] == pytest.approx(expected["map50"], abs=1e-9)


def test_regions_of_many_leaves_are_left_out_as_by_pycocotools():
    split, predictions = case()
    crowded = Split(
        split.classes,
        tuple(dataclasses.replace(p, boxes=p.boxes[1:], crowds=p.boxes[:1]) for p in split.pictures),
    )
    result = metrics.evaluate(crowded, predictions)
    figures = metrics.figures(result)
    assert figures["map50"] != pytest.approx(metrics.coco_map(split, predictions)["map50"])
    scores = bootstrap.resampled(result, np.ones((1, len(crowded.pictures)), int))
    assert [float(s[0]) for s in scores] == pytest.approx([figures["map"], figures["map50"]], abs=1e-9)


def test_weights_equal_pictures_that_are_really_repeated():
    split, predictions = case()
    weights = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), size=5)
    overall, at50 = bootstrap.resampled(metrics.evaluate(split, predictions), weights)
    for sample, times in enumerate(weights):
        expected = metrics.coco_map(*repeated(split, predictions, times))
        assert overall[sample] == pytest.approx(expected["map"], abs=1e-9)
        assert at50[sample] == pytest.approx(expected["map50"], abs=1e-9)


def test_intervals_hold_the_score_and_shrink_with_more_pictures():
    widths = []
    for pictures in (30, 300):
        split, predictions = case(pictures)
        result = metrics.evaluate(split, predictions)
        bounds, score = bootstrap.intervals(result, 200, seed=7), metrics.figures(result)
        assert bounds["map_low"] < score["map"] < bounds["map_high"]
        assert bounds["map50_low"] < score["map50"] < bounds["map50_high"]
        widths.append(bounds["map50_high"] - bounds["map50_low"])
    assert 0.15 < widths[1] / widths[0] < 0.6  # about 1 / sqrt(10)


def test_intervals_hold_the_score_of_a_poor_detector():
    # Many classes and scores that mean nothing: each repeated picture lifts the peaks of the precision curve.
    rng = np.random.default_rng(0)
    pictures, found = [], []
    for i in range(1, 151):
        truth = [Box((*map(float, rng.uniform(0, 300, 2)), 80.0, 90.0), int(rng.integers(0, 28))) for _ in range(3)]
        pictures.append(Picture(i, f"{i}.jpg", 400, 400, tuple(truth)))
        for j in range(60):
            box = truth[j % 3]
            category = box.category if j < 20 else int(rng.integers(0, 28))
            near = [float(side + rng.normal() * 5) for side in box.xywh]
            found.append({"image_id": i, "category_id": category, "bbox": near, "score": float(rng.random())})
    result = metrics.evaluate(Split(tuple(map(str, range(28))), tuple(pictures)), found)
    score, bounds = metrics.figures(result)["map"], bootstrap.intervals(result, 200, seed=0)
    weights = rng.multinomial(150, np.full(150, 1 / 150), size=200)
    assert np.mean(bootstrap.resampled(result, weights)[0] > score) > 0.95, "the case shows what centring is for"
    assert bounds["map_low"] < score < bounds["map_high"]


def test_intervals_follow_the_seed():
    result = metrics.evaluate(*case())
    assert bootstrap.intervals(result, 100, seed=1) == bootstrap.intervals(result, 100, seed=1)
    assert bootstrap.intervals(result, 100, seed=1) != bootstrap.intervals(result, 100, seed=2)
    assert bootstrap.intervals(result, 0, seed=1) == {}


def test_samples_without_boxes_are_left_out():
    leaf = Box((0.0, 0.0, 50.0, 50.0), 0)
    split = Split(("leaf",), (Picture(1, "a", 200, 200, (leaf,)), Picture(2, "b", 200, 200)))
    result = metrics.evaluate(split, [{"image_id": 1, "category_id": 0, "bbox": [0, 0, 50, 50], "score": 0.5}])
    overall, _ = bootstrap.resampled(result, np.array([[0, 2], [1, 1]]))
    assert np.isnan(overall[0]) and overall[1] == pytest.approx(1.0)
    assert bootstrap.intervals(result, 50, seed=0)["map_low"] == pytest.approx(1.0)


def test_no_detections_at_all():
    split, _ = case()
    assert set(bootstrap.intervals(metrics.evaluate(split, []), 10, seed=0).values()) == {0.0}
