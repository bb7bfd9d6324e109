"""The drawn sample: right boxes, every class, bytes that follow from the seed alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plantdoc.coco import dataset
from plantdoc.core import hashing
from plantdoc.fetch.sample import generator, leaf_shape, leaf_texture


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    generator.write(folder, seed=42, train=30, test=6)
    return folder


@pytest.fixture(scope="module")
def smaller(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("smaller")
    generator.write(folder, seed=42, train=6, test=2)
    return folder


def test_pictures_are_plain_rgb_jpegs_of_the_size_that_the_annotations_say(written):
    for name, count in (("train", 30), ("test", 6)):
        split = dataset.load(written / name)
        assert split.classes == generator.CLASSES
        assert [p.id for p in split.pictures] == list(range(1, count + 1))
        names = [p.file_name for p in split.pictures]
        assert names == sorted(names) == sorted(p.name for p in (written / name).glob("*.jpg"))
        for picture in split.pictures:
            with Image.open(written / name / picture.file_name) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (picture.width, picture.height))
                assert not image.getexif()


def test_sample_has_all_classes_and_shapes_and_several_leaves(written):
    pictures = dataset.load(written / "train").pictures
    assert {box.category for picture in pictures for box in picture.boxes} == set(range(len(generator.CLASSES)))
    assert {(p.width, p.height) for p in pictures} == set(generator.SIZES)
    assert max(len(p.boxes) for p in pictures) > 3


def test_some_pictures_hold_no_leaf(written):
    empty = [picture for picture in dataset.load(written / "train").pictures if not picture.boxes]
    assert 0 < len(empty) < 6


def test_boxes_are_inside_their_picture_and_not_tiny(written):
    for picture in dataset.load(written / "train").pictures:
        for box in picture.boxes:
            x, y, width, height = box.xywh
            assert x >= 0 and y >= 0 and x + width <= picture.width and y + height <= picture.height
            assert max(width, height) > 0.2 * min(picture.width, picture.height)


def test_a_box_is_the_tight_bound_of_its_leaf():
    checked = 0
    for seed in range(40):
        image = Image.new("RGB", (300, 220), (255, 255, 255))
        (box,) = generator._put_leaves(np.random.default_rng(seed), image, 1)
        if "mildew" in generator.CLASSES[box.category]:
            continue  # its powder is as grey as the shadow
        pixels = np.asarray(image).astype(int)
        coloured = np.ptp(pixels, axis=2) > 25  # the ground and the shadow are grey
        expected = generator._bounds(coloured)
        corners = [(x, y, x + w, y + h) for x, y, w, h in (box.xywh, expected)]
        assert np.abs(np.subtract(*corners)).max() <= 2, (seed, box, expected)
        checked += 1
    assert checked > 25


def test_no_leaf_is_put_where_it_hides_another_or_is_out_of_sight():
    bare, covered = np.full((100, 100), -1, np.int32), np.zeros((100, 100), np.int32)
    small, large = np.ones((60, 60), bool), np.ones((100, 100), bool)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        at = generator._free_corner(rng, bare, large, [])
        if at is not None:
            assert generator._overlap(bare, large, at)[1].sum() >= 6000
        assert (
            generator._free_corner(rng, covered, large, [10000]) is None
        )  # 6,000 px must show, but may not hide so much
        assert generator._free_corner(rng, covered, small, [10000]) is not None
        assert (
            generator._free_corner(rng, np.where(np.arange(100) < 55, 0, bare), small, [10000]) is None
        )  # hidden before


@pytest.mark.parametrize("species", leaf_shape.SPECIES)
def test_diseases_show_on_the_leaf(species):
    def colours(disease: str) -> np.ndarray:
        image, cover = leaf_texture.leaf_patch(np.random.default_rng(3), species, disease, 100)
        return np.asarray(image).astype(int)[np.asarray(cover) == 255]

    def share(pixels: np.ndarray, kind: str) -> float:
        r, g, b = pixels.T
        found = {"rust": r > g + 60, "blight": (r > g + 10) & (r < 150), "mildew": (b > 150) & (r > 150)}[kind]
        return found.mean()

    healthy = colours("healthy")
    for disease in leaf_texture.DISEASES:
        assert share(colours(disease), disease) > share(healthy, disease) + 0.04, disease


def test_a_larger_sample_begins_with_the_smaller_one(written, smaller):
    for i in range(6):
        name = f"train/drawn-{i:05d}.jpg"
        assert (written / name).read_bytes() == (smaller / name).read_bytes()
    assert dataset.load(written / "train").pictures[:6] == dataset.load(smaller / "train").pictures


def test_seeds_and_splits_differ():
    pictures = [np.asarray(generator.draw(*job)[0]) for job in ((1, "train", 0), (2, "train", 0), (1, "test", 0))]
    assert not any(np.array_equal(a, b) for i, a in enumerate(pictures) for b in pictures[:i])


def test_bytes_do_not_depend_on_the_process_or_the_processor(smaller, tmp_path, root):
    """A second process draws the same with another hash seed and with every switchable instruction set switched off."""
    lesser = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA",
        "JSIMD_FORCENONE": "1",
        "PYTHONHASHSEED": "7",
    }
    code = "import sys, pathlib; from plantdoc.fetch.sample import generator"
    code += "; generator.write(pathlib.Path(sys.argv[1]), 42, 6, 2)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, env=os.environ | lesser | {"PYTHONPATH": str(root / "src")}, check=True)
    assert hashing.of_files([tmp_path], tmp_path) == hashing.of_files([smaller], smaller)
