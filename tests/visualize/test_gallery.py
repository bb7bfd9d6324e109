"""plantdoc.visualize.gallery: which pictures are shown, and what is on them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from plantdoc.coco.dataset import Box, Picture, Split
from plantdoc.visualize import gallery


def split(count: int) -> Split:
    return Split(("leaf",), tuple(Picture(i, f"{i:02d}.png", 100, 50) for i in range(1, count + 1)))


def test_best_and_worst_go_by_f1_then_by_name_and_none_is_shown_twice():
    f1 = {1: 0.5, 2: 1.0, 3: 0.0, 4: 1.0, 5: 0.0, 6: 0.5, 7: 0.5, 8: 0.5}
    chosen = {name: picture.id for name, picture in gallery.choose(split(8), f1, 2, seed=1).items()}
    assert (chosen["best-1"], chosen["best-2"], chosen["worst-1"], chosen["worst-2"]) == (2, 4, 3, 5)
    assert {chosen["random-1"], chosen["random-2"]} < {1, 6, 7, 8}


def test_few_pictures_are_shared_out():
    f1 = {1: 0.5, 2: 1.0, 3: 0.0}
    chosen = gallery.choose(split(3), f1, 2, seed=1)
    assert {name: picture.id for name, picture in chosen.items()} == {"best-1": 2, "best-2": 1, "worst-1": 3}
    assert gallery.choose(split(3), f1, 0, seed=1) == {}


def test_random_ones_follow_the_seed_and_not_the_order():
    f1 = dict.fromkeys(range(1, 41), 0.5)
    pictures = split(40)
    backwards = Split(pictures.classes, pictures.pictures[::-1])
    chosen = [gallery.choose(s, f1, 3, seed) for s, seed in ((pictures, 1), (backwards, 1), (pictures, 2))]
    assert chosen[0] == chosen[1] != chosen[2]


def test_truth_is_left_and_what_passes_the_threshold_is_right(tmp_path):
    Image.new("RGB", (800, 400), (10, 10, 10)).save(tmp_path / "a.png")
    picture = Picture(1, "a.png", 800, 400, (Box((100.0, 100.0, 100.0, 100.0), 0),))
    found = [
        {"image_id": 1, "category_id": 0, "bbox": [400.0, 100.0, 300.0, 200.0], "score": 0.5},
        {"image_id": 1, "category_id": 0, "bbox": [50.0, 300.0, 100.0, 50.0], "score": 0.4},
    ]
    drawn = gallery.draw(picture, tmp_path, ("leaf",), found, 0.45, "title")
    bare = gallery.draw(Picture(1, "a.png", 800, 400), tmp_path, ("leaf",), [], 0.45, "title")
    # Captions differ below; the two pictures, 640 px wide each, stand above them.
    changed = np.argwhere((np.asarray(drawn) != np.asarray(bare)).any(axis=2)[:340])
    xs = np.unique(changed[:, 1])
    left, right = xs[xs < 640], xs[xs > 650]
    assert 80 <= left.min() <= 90 and 155 <= left.max() <= 175  # 100..200 px of 800, at 640
    assert right.min() >= 650 + 300, "the weak one is not drawn"
    assert 1200 <= right.max() <= 1220
