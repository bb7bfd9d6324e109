"""plantdoc.deploy.behaviour: a detector that keeps its head passes, one that loses it in a known way does not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from rectangle_detector import COLOURS, RectangleDetector, picture

from plantdoc.coco.dataset import Box, Picture, Split
from plantdoc.deploy import behaviour, perturbations

LEAST = dict.fromkeys(("mirrored", "light", "shifted", "compressed", "halved", "no_leaf", "two_leaves"), 0.8)
POSITIONS = [(20, 12, 60, 40), (90, 40, 50, 60), (8, 70, 70, 40), (60, 20, 64, 48)]


@pytest.fixture(scope="module")
def leaves(tf, tmp_path_factory) -> tuple:
    """A folder of pictures with one rectangle each, and its split."""
    folder, pictures, names = tmp_path_factory.mktemp("leaves"), [], tuple(COLOURS)
    for number in range(12):
        box, name = POSITIONS[number % 4], number % 3
        picture(160, 128, {names[name]: box}).save(folder / f"{number}.png")
        pictures.append(Picture(number + 1, f"{number}.png", 160, 128, (Box(box, name),)))
    return folder, Split(names, tuple(pictures))


def examined(leaves, detector=None, seed: int = 1, threshold: float = 0.5, **least: float) -> dict:
    from plantdoc.serving import served_model

    folder, split = leaves
    server = served_model.Server(detector or RectangleDetector())
    return behaviour.examine(server.serve, folder, split, threshold, LEAST | least, seed)


class Careful(RectangleDetector):
    """Sees rectangles on grey alone: the drawn pictures without a leaf are full of colours."""

    def detect(self, images):
        import tensorflow as tf

        corner = images[:, :1, :1]
        grey = tf.reduce_max(corner, axis=-1, keepdims=True) - tf.reduce_min(corner, axis=-1, keepdims=True) < 12
        return super().detect(tf.where(grey, images, 0.0))


def test_a_detector_that_keeps_its_head_passes(leaves):
    found = examined(leaves, Careful())
    assert (found["pictures"], found["map50"]) == (12, 1.0)
    for name in ("mirrored", "darker", "brighter", "shifted", "compressed", "halved"):
        assert found[name] == {"map50": 1.0, "kept": 1.0, "least": 0.8, "passed": True}, name
    assert (found["two_leaves"]["of"], found["two_leaves"]["share"]) == (6, 1.0)
    assert found["no_leaf"] == {"of": 20, "share": 1.0, "least": 0.8, "passed": True}
    assert found["passed"]


class Blind(RectangleDetector):
    """Sees nothing in the right half of its square, nothing dark, or but one leaf."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def detect(self, images):
        import tensorflow as tf

        if self.kind == "right":
            images = tf.concat([images[:, :, :64], tf.zeros_like(images[:, :, 64:])], axis=2)
        if self.kind == "dark":
            images = tf.where(tf.reduce_max(images, axis=(1, 2, 3), keepdims=True) < 180, 0.0, images)
        found = super().detect(images)
        if self.kind == "second":
            found["classes"] = tf.where(
                tf.cumsum(tf.cast(found["classes"] >= 0, tf.int32), axis=1) > 1, -1, found["classes"]
            )
        return found


@pytest.mark.parametrize(
    ("kind", "fails"),
    [
        ("right", {"mirrored"}),
        pytest.param("dark", {"darker"}, marks=pytest.mark.full),
        pytest.param("second", {"two_leaves"}, marks=pytest.mark.full),
    ],
)
def test_what_a_detector_cannot_see_is_told(leaves, kind, fails):
    if kind == "right":  # all leaves on the left, where it sees
        folder, split = leaves
        kept = tuple(p for p in split.pictures if p.boxes[0].xywh[0] + p.boxes[0].xywh[2] <= 80)
        leaves = folder, Split(split.classes, kept)
    found = examined(leaves, Blind(kind), no_leaf=0.0)
    failed = {name for name, test in found.items() if isinstance(test, dict) and not test["passed"]}
    assert fails <= failed and not found["passed"]
    if kind != "right":  # what is moved by six per cent leaves the half it sees as well
        assert failed == fails


def test_a_detector_that_sees_leaves_everywhere_fails_where_there_is_none(leaves, tf):
    class Everywhere(RectangleDetector):
        def detect(self, images):
            return super().detect(tf.concat([images[:, :120], tf.ones_like(images[:, 120:]) * [230.0, 20, 20]], axis=1))

    found = examined(leaves, Everywhere())
    assert found["no_leaf"] == {"of": 20, "share": 0.0, "least": 0.8, "passed": False}


def test_what_was_not_found_to_begin_with_is_not_measured(leaves, tf):
    class Nothing(RectangleDetector):
        def detect(self, images):
            return super().detect(tf.zeros_like(images))

    found = examined(leaves, Nothing())
    assert found["map50"] == 0.0
    assert found["mirrored"] == {"map50": 0.0, "kept": None, "least": 0.8, "passed": True}
    assert found["two_leaves"] == {"of": 0, "share": None, "least": 0.8, "passed": True}


def test_the_result_follows_from_the_seed(leaves):
    assert examined(leaves, seed=1) == examined(leaves, seed=1)
    one, other = (list(perturbations.without_leaf(seed)) for seed in (1, 2))
    assert any(np.asarray(a).tobytes() != np.asarray(b).tobytes() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("size", [(160, 128), (161, 127), (33, 500)])
@pytest.mark.parametrize("change", perturbations.CHANGES, ids=lambda change: change.name)
def test_a_box_finds_its_way_back(change, size):
    width, height = size
    box = (width // 4, height // 3, width // 3, height // 4)
    changed = change.change(picture(width, height, {"red": box}))
    mask = np.abs(np.asarray(changed, int) - COLOURS["red"]).max(axis=-1) < 100
    ys, xs = np.nonzero(mask)
    there = (xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min())
    np.testing.assert_allclose(change.back(there, width, height), box, atol=2.1)


def test_the_pictures_without_a_leaf_are_of_five_kinds():
    pictures = list(perturbations.without_leaf(7))
    assert len(pictures) == 20 and {each.size for each in pictures} == {(256, 256)}
    assert all(isinstance(each, Image.Image) and each.mode == "RGB" for each in pictures)
