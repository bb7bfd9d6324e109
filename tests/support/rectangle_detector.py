"""A detector whose answers are known: it finds the red, the green and the blue rectangle of a picture.

TensorFlow is imported inside: to collect tests must not start it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import tensorflow as tf

COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


class RectangleDetector:
    """One box around all pixels of each colour, in the form of detector.Detector; one row is unused."""

    def __init__(self, size: int = 128):
        import tensorflow as tf

        self.config = SimpleNamespace(
            image_size=size, classes=tuple(COLOURS), max_detections=4, score_floor=0.001, made_from={}
        )
        self.model = SimpleNamespace(variables=[SimpleNamespace(value=tf.Variable([0.9, 0.8, 0.7], name="scores"))])

    def detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        colours = tf.constant(list(COLOURS.values()), tf.float32)
        near = tf.reduce_all(tf.abs(images[:, :, :, None, :] - colours) < 90, axis=-1)  # [B, S, S, 3 colours]
        columns, rows = tf.reduce_any(near, axis=1), tf.reduce_any(near, axis=2)
        size = float(self.config.image_size)
        at = tf.range(size)[None, :, None]
        low = [tf.reduce_min(tf.where(mask, at, size), axis=1) for mask in (columns, rows)]
        high = [tf.reduce_max(tf.where(mask, at + 1, 0.0), axis=1) for mask in (columns, rows)]
        found = tf.reduce_any(columns, axis=1)
        # The unused row stands first, to show that the server does not rely on its place.
        return {
            "boxes": tf.pad(tf.where(found[:, :, None], tf.stack(low + high, axis=-1), 0.0), [[0, 0], [1, 0], [0, 0]]),
            "scores": tf.pad(tf.where(found, self.model.variables[0].value, 0.0), [[0, 0], [1, 0]]),
            "classes": tf.pad(tf.where(found, [[0, 1, 2]], -1), [[0, 0], [1, 0]], constant_values=-1),
        }


def picture(width: int, height: int, boxes: dict[str, tuple[int, int, int, int]]) -> Image.Image:
    """A dark picture with a rectangle xywh of each colour named."""
    pixels = np.full((height, width, 3), 60, np.uint8)
    for name, (x, y, w, h) in boxes.items():
        pixels[y : y + h, x : x + w] = COLOURS[name]
    return Image.fromarray(pixels)
