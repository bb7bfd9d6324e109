"""Pictures become squares: boxes stay on what they mark, pixels are right, and KerasCV agrees."""

from __future__ import annotations

import io
import math

import coloured_pictures
import numpy as np
import pytest
from PIL import Image

from plantdoc.augment import transforms


def generator(key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


def test_letterbox_keeps_aspect_ratio_and_pads_right_and_below():
    image = coloured_pictures.picture(300, 150, {0: (30, 60, 120, 150)}, "rectangle")
    square, boxes = transforms.letterbox(image, np.array([[30, 60, 120, 150]]), 100)
    np.testing.assert_allclose(boxes, [[10, 20, 40, 50]])
    np.testing.assert_allclose(coloured_pictures.found(square, 0), boxes[0], atol=0.5)
    pixels = np.asarray(square)
    assert pixels.shape == (100, 100, 3)
    assert (pixels[50:] == 114).all()
    assert (pixels[:49, :9] == 60).all()


@pytest.mark.parametrize("key", range(20))
def test_boxes_of_variants_lie_on_the_painted_ellipses(root, key):
    image, boxes, colours = leaves(key, "ellipse")
    square, moved, kept = transforms.variant(
        image, boxes, coloured_pictures.settings(root, rotation=30.0), generator(key)
    )
    for box, place in zip(moved, kept, strict=True):
        seen = coloured_pictures.found(square, colours[place])
        if box.min() > 0 and box.max() < 128:
            np.testing.assert_allclose(seen, box, atol=1.5)
        else:  # of an ellipse that is cut off, the corner of the box may show nothing
            assert (seen[:2] >= box[:2] - 1.5).all()
            assert (seen[2:] <= box[2:] + 1.5).all()


@pytest.mark.parametrize("key", range(20))
def test_boxes_of_variants_are_cut_where_the_picture_is(root, key):
    image, boxes, colours = leaves(key, "rectangle")
    config = coloured_pictures.settings(root, rotation=0.0, min_visible=0.0)
    square, moved, kept = transforms.variant(image, boxes, config, generator(key))
    for box, place in zip(moved, kept, strict=True):
        np.testing.assert_allclose(coloured_pictures.found(square, colours[place]), box, atol=1.0)
    for place in set(range(len(boxes))) - set(kept):
        seen = coloured_pictures.found(square, colours[place])
        assert seen is None or (seen[2:] - seen[:2]).min() <= 3


def leaves(key: int, kind: str) -> tuple[Image.Image, np.ndarray, list[int]]:
    width, height = ((400, 300), (300, 400), (120, 90))[key % 3]
    placed = coloured_pictures.shapes(np.random.default_rng(key), width, height, [0, 1, 2, 3])
    return coloured_pictures.picture(width, height, placed, kind), np.array(list(placed.values())), list(placed)


def test_a_box_goes_when_less_of_it_remains_than_min_visible(root):
    image = Image.new("RGB", (128, 128))
    boxes = np.array([[x, y, x + 24, y + 24] for x in range(0, 104, 8) for y in range(0, 104, 8)], float)
    changes = {"rotation": 0.0, "aspect": 0.0, "scale": 0.9}
    for key in range(5):
        every = transforms.variant(
            image, boxes, coloured_pictures.settings(root, min_visible=0.0, **changes), generator(key)
        )
        strict = transforms.variant(
            image, boxes, coloured_pictures.settings(root, min_visible=0.5, **changes), generator(key)
        )
        whole = max((every[1][:, 2:] - every[1][:, :2]).prod(axis=1))
        share = (every[1][:, 2:] - every[1][:, :2]).prod(axis=1) / whole
        assert set(strict[2]) == set(every[2][share >= 0.5 - 1e-9])
        assert 0 < len(strict[2]) <= len(every[2])


def test_a_variant_smaller_than_the_square_lies_inside_and_a_larger_one_fills_it(root):
    config = coloured_pictures.settings(root, scale=0.0, aspect=0.5, rotation=0.0, min_visible=0.0)
    filled = []
    for key in range(20):
        whole = np.array([[0, 0, 300, 100]])
        _, ((x1, y1, x2, y2),), _ = transforms.variant(Image.new("RGB", (300, 100)), whole, config, generator(key))
        filled.append(bool(np.isclose(x2 - x1, 128)))
        # Aspect jitter leaves the area alone, of which nothing is cut off where a side is shorter than the square.
        assert filled[-1] or np.isclose((x2 - x1) * (y2 - y1), 128 * 128 / 3)
    assert 5 < sum(filled) < 15


def test_variants_are_a_pure_function_of_the_generator(root):
    image, boxes, _ = leaves(0, "ellipse")
    config = coloured_pictures.settings(root, brightness=0.3, saturation=0.4, hue=0.1)
    first, second = (transforms.variant(image, boxes, config, generator(5)) for _ in range(2))
    other = transforms.variant(image, boxes, config, generator(6))
    assert first[0].tobytes() == second[0].tobytes() != other[0].tobytes()
    np.testing.assert_array_equal(first[1], second[1])


def test_padding_is_grey_whatever_happens_to_the_colours(root):
    config = coloured_pictures.settings(root, brightness=0.9, hue=0.5, saturation=0.9, scale=0.9)
    image = Image.new("RGB", (100, 100), (200, 100, 50))
    for key in range(10):
        pixels = np.asarray(transforms.variant(image, np.zeros((0, 4)), config, generator(key))[0]).reshape(-1, 3)
        colours, counts = np.unique(pixels, axis=0, return_counts=True)
        big = colours[counts > 200]
        assert len(big) <= 2
        assert len(big) < 2 or [114] * 3 in big.tolist()


def test_a_jpeg_decoded_at_a_lower_resolution_gives_the_same_square(root):
    width, height = 1999, 1503
    y, x = np.mgrid[:height, :width]
    waves = np.stack([128 + 100 * np.sin(x / 90 + i) * np.cos(y / 70) for i in range(3)], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(waves).save(buffer, "JPEG", quality=95)
    config = coloured_pictures.settings(root)
    for key in range(5):
        from_file, whole = Image.open(buffer), Image.open(buffer)
        whole.load()
        squares = [
            np.asarray(transforms.variant(image, np.zeros((0, 4)), config, generator(key))[0], float)
            for image in (from_file, whole)
        ]
        assert from_file.size < whole.size
        away = np.abs(squares[0] - squares[1])
        # Half a pixel of shift would be 3 levels; edges may differ where the last block of pixels is a part of one.
        assert away.mean() < 1
        assert np.percentile(away, 99) < 6


def test_colours_greys_stay_and_neutral_settings_change_nothing():
    np.testing.assert_allclose(np.reshape(transforms.colour_matrix(1, 1, 0), (3, 4)), np.eye(3, 4), atol=1e-9)
    turned = np.reshape(transforms.colour_matrix(1, 1.7, 0.3), (3, 4))
    np.testing.assert_allclose(turned @ [100, 100, 100, 1], [100, 100, 100])
    grey = np.reshape(transforms.colour_matrix(1.2, 0, 0), (3, 4)) @ [50, 100, 150, 1]
    np.testing.assert_allclose(grey, 1.2 * (0.213 * 50 + 0.715 * 100 + 0.072 * 150))
    third = np.reshape(transforms.colour_matrix(1, 1, 1 / 3), (3, 4)) @ [200, 0, 0, 1]
    assert third.argmax() == 1, "a third of a turn makes red green"


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A smooth picture, float32 [1, 200, 300, 3], so that filters without antialiasing may be compared."""
    y, x = np.mgrid[:200, :300]
    waves = [128 + 90 * np.sin(x / 40 + i) * np.cos(y / 30 + 2 * i) for i in range(3)]
    return np.stack(waves, -1).astype(np.uint8).astype(np.float32)[None]


@pytest.mark.slow
class TestAgainstKerasCV:
    """The same picture through KerasCV's layers, their random numbers replaced by ours or held fixed."""

    boxes = np.array([[[40.0, 30, 160, 100], [200, 60, 290, 200], [5, 150, 60, 195]]])

    def inputs(self, image: np.ndarray) -> dict:
        return {"images": image, "bounding_boxes": {"boxes": self.boxes, "classes": np.zeros((1, 3))}}

    def test_letterbox_is_its_resizing(self, image, keras_cv):
        layer = keras_cv.layers.Resizing(240, 240, pad_to_aspect_ratio=True, bounding_box_format="xyxy")
        theirs = layer(self.inputs(image))
        square, boxes = transforms.letterbox(Image.fromarray(image[0].astype(np.uint8)), self.boxes[0], 240)
        np.testing.assert_allclose(boxes, theirs["bounding_boxes"]["boxes"].to_tensor()[0], atol=0.5)
        ours, theirs = np.asarray(square, float), np.asarray(theirs["images"][0])
        assert np.abs(ours[:160] - theirs[:160]).mean() < 1

    @pytest.mark.parametrize("factor", [0.5, 0.8, 1.4])
    def test_warp_is_its_jittered_resize(self, image, factor, keras_cv):
        layer = keras_cv.layers.JitteredResize((160, 160), (factor, factor), bounding_box_format="xyxy", seed=1)
        made = layer.get_random_transformation_batch(1, images=image)
        theirs = np.asarray(layer.augment_images(image, made)[0])
        scale_y, scale_x = np.asarray(made["image_scales"])[0]
        top, left = np.asarray(made["offsets"])[0]
        matrix = transforms.affine(scale_x, scale_y, -left, -top, 0, 80)
        square, inside = transforms.warp(Image.fromarray(image[0].astype(np.uint8)), matrix, 160)
        covered = np.asarray(inside) > 0
        assert np.abs(np.asarray(square, float) - theirs)[covered].mean() < 1.5
        assert (theirs[~covered] == 0).all()
        marked = layer.augment_bounding_boxes(
            {"boxes": self.boxes.astype(np.float32), "classes": np.zeros((1, 3))}, made, raw_images=image
        )
        visible = np.asarray(marked["classes"][0]) >= 0
        ours = transforms.transform_boxes(self.boxes[0], matrix).clip(0, 160)
        np.testing.assert_allclose(ours[visible], np.asarray(marked["boxes"][0])[visible], atol=0.5)

    def test_rotation_is_its_rotation_with_tighter_boxes(self, image, keras_cv):
        turn = 0.04  # of a full circle, counter-clockwise
        layer = keras_cv.layers.RandomRotation((turn, turn), fill_mode="constant", bounding_box_format="xyxy")
        theirs = layer(self.inputs(image[:, :, :200]))
        matrix = transforms.affine(1, 1, 0, 0, -2 * math.pi * turn, 100)
        square, inside = transforms.warp(Image.fromarray(image[0, :, :200].astype(np.uint8)), matrix, 200)
        away = np.abs(np.asarray(square, float) - np.asarray(theirs["images"][0]))
        assert away[np.asarray(inside) > 0].mean() < 1.5
        boxes = transforms.transform_boxes(self.boxes[0, :1], matrix)[0]
        loose = np.asarray(theirs["bounding_boxes"]["boxes"].to_tensor()[0, 0])
        assert (boxes[:2] >= loose[:2]).all()
        assert (boxes[2:] <= loose[2:]).all()
        np.testing.assert_allclose((boxes[:2] + boxes[2:]) / 2, (loose[:2] + loose[2:]) / 2, atol=0.5)

    @pytest.mark.parametrize("factor", [0.6, 0.8, 1.2, 1.4])
    def test_saturation_goes_the_way_of_its_random_saturation(self, image, factor, keras_cv):
        layer = keras_cv.layers.RandomSaturation((factor / (1 + factor),) * 2)
        self.assert_alike(np.asarray(layer(image / 255)[0]) * 255, image[0], transforms.colour_matrix(1, factor, 0))

    @pytest.mark.parametrize("sign", [-1, 1])
    def test_hue_goes_the_way_of_its_random_hue(self, image, sign, keras_cv):
        import tensorflow as tf

        layer = keras_cv.layers.RandomHue((0.0, 0.0), (0, 255))
        theirs = layer.augment_images(tf.constant(image), tf.constant([sign * 0.03]))[0]
        self.assert_alike(np.asarray(theirs), image[0], transforms.colour_matrix(1, 1, sign * 0.03))

    @staticmethod
    def assert_alike(theirs: np.ndarray, image: np.ndarray, matrix: tuple[float, ...]) -> None:
        """KerasCV works in HSV, which keeps the largest channel, we keep luma: alike after lightness is taken away."""
        ours = np.asarray(Image.fromarray(image.astype(np.uint8)).convert("RGB", matrix), float)
        mine, yours = (change - change.mean(-1, keepdims=True) for change in (ours - image, theirs - image))
        assert np.corrcoef(mine.ravel(), yours.ravel())[0, 1] > 0.9
        assert np.abs(mine - yours).mean() < 6
        assert 0.6 < np.abs(mine).mean() / np.abs(yours).mean() < 1.7
