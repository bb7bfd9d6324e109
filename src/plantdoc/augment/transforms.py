"""From a picture of any size to a square one, with its boxes: letterboxed, or as a random variant.

Pure functions of the picture, its boxes and a random generator. Boxes are float [N, 4], xyxy in px.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from plantdoc.augment.augment_params import Augment
from plantdoc.core.padding import GREY

_MIN_SIDE = 2.0


def letterbox(image: Image.Image, boxes: np.ndarray, size: int) -> tuple[Image.Image, np.ndarray]:
    """Scale the longer side to `size`, put the picture at the top left and fill the rest with grey.

    It must agree with `plantdoc.serving.served_model.letterbox`, by which the detector sees what it was trained on:
    tests/serving/test_served_model.py (`test_letterboxes_agree`) holds both to one level of grey.

    Returns:
        the RGB square, and the boxes times `size / max(width, height)`.
    """
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    square = Image.new("RGB", (size, size), (GREY,) * 3)
    square.paste(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    return square, np.asarray(boxes, np.float64).reshape(-1, 4) * scale


def variant(
    image: Image.Image, boxes: np.ndarray, config: Augment, random: np.random.Generator
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """A random variant of a picture: jittered resize and crop, rotation, hue, saturation and brightness.

    The pixels are resampled once, straight from the picture to the square. A JPEG that is not decoded yet is decoded at
    a lower resolution where that is enough.

    Returns:
        the RGB square of `config.size` px; the boxes [K, 4] that remain, clipped to it; and their places [K] among
        the given ones. A box remains if at least `config.min_visible` of its area does, and 2 px of either side.
    """
    # Every draw is made whatever the settings are, so that a change of one leaves the others' values alone.
    scale, aspect, left, top, angle, brightness, saturation, hue = random.uniform(-1, 1, 8)
    width, height = image.size
    ratio = math.sqrt(1 + config.aspect * aspect)
    scale = (1 + config.scale * scale) * config.size / max(width, height)
    scale_x, scale_y = scale * ratio, scale / ratio
    # Where the scaled picture is smaller than the square it lies anywhere inside; where it is larger, anywhere around.
    left = (1 + left) / 2 * (config.size - width * scale_x)
    top = (1 + top) / 2 * (config.size - height * scale_y)
    matrix = affine(scale_x, scale_y, left, top, math.radians(config.rotation * angle), config.size / 2)

    square, inside = warp(image, matrix, config.size)
    square = square.convert(
        "RGB",
        colour_matrix(1 + config.brightness * brightness, 1 + config.saturation * saturation, config.hue * hue),
    )
    padded = Image.new("RGB", square.size, (GREY,) * 3)
    padded.paste(square, mask=inside)

    moved = transform_boxes(boxes, matrix)
    clipped = moved.clip(0, config.size)
    area, visible = _area(moved), _area(clipped)
    sides = clipped[:, 2:] - clipped[:, :2]
    kept = np.flatnonzero((visible >= config.min_visible * area) & (sides.min(axis=1) >= _MIN_SIDE))
    return padded, clipped[kept], kept


def affine(scale_x: float, scale_y: float, left: float, top: float, angle: float, centre: float) -> np.ndarray:
    """The map from picture to square, float [2, 3]: scale, move to (left, top), turn by `angle` around the centre.

    `angle` in radians, clockwise as seen; `centre` in px of the square, both ways.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    offset = turn @ (np.array([left, top]) - centre) + centre
    return np.column_stack([turn * [scale_x, scale_y], offset])


def warp(image: Image.Image, matrix: np.ndarray, size: int) -> tuple[Image.Image, Image.Image]:
    """Draw `image` through an affine map onto a square.

    Pillow's bilinear transform looks at four pixels only, whatever the scale, so pictures are first averaged over
    whole blocks. Against a supersampled drawing of PlantDoc pictures this errs less than resizing to the final scale
    and then turning (2.5 against 3.1 grey levels RMS, over scales from 0.4 to 1.15), in two thirds of the time.

    Returns:
        the RGB square, and a mask of mode "1" of where the picture covers it.
    """
    width, height = image.size
    shrink = 1 / np.linalg.norm(matrix[:, :2], axis=0)
    # Only JPEGs that are still files do this: a decoder that leaves out frequencies is several times as fast.
    reduced = image.draft("RGB", (math.ceil(width / shrink[0]), math.ceil(height / shrink[1])))
    done = width / reduced[1][2] if reduced else 1.0
    image = image.convert("RGB")
    across, down = (max(1, int(s / done + 1e-6)) for s in shrink)
    if max(across, down) > 1:
        image = image.reduce((across, down))
    # Pillow asks the other way round: which point of the picture is seen at a point of the square.
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    inverse /= np.array([[done * across], [done * down]])
    data = tuple(float(v) for v in inverse.ravel())
    square = image.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    covered = Image.new("1", image.size, 1)
    return square, covered.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.NEAREST)


def transform_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Boxes after an affine map, not clipped.

    The corners of a turned box stick out of the object, and a box around them grows with every degree: by 16 % each
    way for a square at 10 degrees. Leaves are closer to ellipses than to rectangles, so what is bounded is the turned
    ellipse that fills the box. Without rotation both are the same.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    halves = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (matrix[:, :2] ** 2).T)
    return np.hstack([centres - halves, centres + halves])


def colour_matrix(brightness: float, saturation: float, hue: float) -> tuple[float, ...]:
    """The 12 numbers of a 3 x 4 colour matrix for `Image.convert`: first hue, then saturation, then brightness.

    `saturation` 0 is grey and 1 leaves colours alone; `hue` in turns of the colour circle. Hue and saturation are the
    matrices of W3C Filter Effects (`hueRotate`, `saturate`), which leave luma and greys alone.
    """
    luma = np.tile([0.213, 0.715, 0.072], (3, 1))
    cos, sin = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    quarter = np.array([[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]])
    rotate = luma + cos * (np.eye(3) - luma) + sin * quarter
    saturate = luma + saturation * (np.eye(3) - luma)
    matrix = brightness * saturate @ rotate
    return tuple(float(v) for v in np.column_stack([matrix, np.zeros(3)]).ravel())


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
