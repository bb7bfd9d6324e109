"""plantdoc.coco.dataset: what is written is what is read."""

from __future__ import annotations

import json

from augment import read_sources
from plantdoc.coco import dataset
from plantdoc.coco.dataset import Box, Picture, Split

ONE_LEAF, SPOT, REGION = Box((1.0, 2.0, 30.5, 40.0), 0), Box((5.0, 6.0, 7.0, 8.0), 1), Box((50.0, 0.0, 40.0, 60.0), 0)
SPLIT = Split(
    ("leaf", "spot"),
    (
        Picture(1, "a.jpg", 96, 64, (ONE_LEAF, SPOT), (REGION,)),
        Picture(2, "b.jpg", 96, 64),
        Picture(3, "c.jpg", 96, 64, (), (REGION, REGION)),
        Picture(4, "d.jpg", 96, 64, (SPOT,)),
    ),
)


def test_what_is_written_is_read_with_regions_of_many_leaves_apart(tmp_path):
    dataset.save(SPLIT, tmp_path)
    assert dataset.load(tmp_path) == SPLIT
    annotations = json.loads((tmp_path / "annotations.json").read_text())["annotations"]
    assert [(a["id"], a["image_id"], a["iscrowd"]) for a in annotations] == [
        (1, 1, 0), (2, 1, 0), (3, 1, 1), (4, 3, 1), (5, 3, 1), (6, 4, 0)
    ]  # fmt: skip


def test_regions_of_many_leaves_are_not_augmented(tmp_path):
    (tmp_path / "train").mkdir()
    dataset.save(SPLIT, tmp_path / "train")
    classes, sources = read_sources(tmp_path, "train")
    assert classes == ("leaf", "spot")
    assert [len(source.boxes) for source in sources] == [2 * 20, 0, 0, 20]  # five numbers of four bytes for each box
