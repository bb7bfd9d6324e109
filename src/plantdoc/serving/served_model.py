"""The served model: from the bytes of a picture file to boxes in its pixels, all in one TensorFlow graph."""

from __future__ import annotations

import tensorflow as tf

from plantdoc.core.padding import GREY
from plantdoc.decoder.exif import LYING


class Server(tf.Module):
    """The serving function of a detector; `tf.saved_model.save` exports it with its weights.

    Args:
        detector: a plantdoc.detector.detector.Detector, or anything with its `config`, `model` and `detect`.
    """

    def __init__(self, detector):
        super().__init__(name="server")
        self._size = detector.config.image_size
        self._classes = tf.constant(detector.config.classes)
        self._detect = detector.detect
        # Tracked as bare variables: a tracked Keras model would put its training functions into the SavedModel too.
        self._weights = [variable.value for variable in detector.model.variables]

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "image_bytes"),
            tf.TensorSpec([None], tf.int32, "orientation"),
        ],
        autograph=False,
    )
    def serve(self, image_bytes: tf.Tensor, orientation: tf.Tensor) -> dict[str, tf.Tensor]:
        """Find leaves.

        Args:
            image_bytes: string [B], each an encoded picture (JPEG, PNG, BMP, or the first frame of a GIF), any size.
            orientation: int32 [B], EXIF orientation 1..8; anything else counts as 1, upright.

        Returns:
            Best first, N = config.max_detections rows a picture: `boxes` float32 [B, N, 4], xywh in pixels of the
            picture as displayed (turned upright), clipped to it; `scores` float32 [B, N]; `class_ids` int32 [B, N];
            `class_names` string [B, N]. Unused rows are 0, 0, -1 and "".
        """
        squares, sizes, scales = tf.map_fn(
            lambda one: letterbox(decode(one[0]), one[1], self._size),
            (image_bytes, orientation),
            fn_output_signature=(
                tf.TensorSpec([self._size, self._size, 3], tf.float32),
                tf.TensorSpec([2], tf.float32),
                tf.TensorSpec([2], tf.float32),
            ),
        )
        found = self._detect(squares)
        # Both edges are clipped alike, so a box wholly in the padding becomes empty; it is no detection.
        edges = tf.reshape(found["boxes"], [tf.shape(squares)[0], -1, 2, 2]) / scales[:, None, None, :]
        edges = tf.clip_by_value(edges, 0.0, sizes[:, None, None, :])
        sides = edges[:, :, 1] - edges[:, :, 0]
        used = (found["classes"] >= 0) & tf.reduce_all(sides > 0, axis=-1)
        order = tf.argsort(tf.cast(~used, tf.int32), axis=1, stable=True)
        used, boxes, scores, classes = (
            tf.gather(values, order, axis=1, batch_dims=1)
            for values in (used, tf.concat([edges[:, :, 0], sides], axis=-1), found["scores"], found["classes"])
        )
        return {
            "boxes": tf.where(used[:, :, None], boxes, 0.0),
            "scores": tf.where(used, scores, 0.0),
            "class_ids": tf.where(used, classes, -1),
            "class_names": tf.where(used, tf.gather(self._classes, tf.maximum(classes, 0)), ""),
        }


def decode(data: tf.Tensor) -> tf.Tensor:
    """Encoded picture (string []) to RGB uint8 [h, w, 3], as Pillow's `convert("RGB")` would."""
    return tf.cond(
        tf.io.is_jpeg(data),
        # The default method differs from Pillow's by up to 8 levels, and decode_image cannot choose.
        lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )


def turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turn a picture [h, w, 3] upright by its EXIF orientation (int32 []), as Pillow's `ImageOps.exif_transpose`."""
    image = tf.cond(_one_of(orientation, LYING), lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(_one_of(orientation, (2, 3, 6, 7)), lambda: tf.reverse(image, [1]), lambda: image)
    return tf.cond(_one_of(orientation, (3, 4, 7, 8)), lambda: tf.reverse(image, [0]), lambda: image)


def letterbox(image: tf.Tensor, orientation: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Fit a picture into a square, upright: its longer side becomes `size`, it lies top-left, the rest is grey.

    It must agree with `plantdoc.augment.transforms.letterbox`, which made the pictures of the training:
    tests/serving/test_served_model.py (`test_letterboxes_agree`) holds both to one level of grey.

    Args:
        image: uint8 [h, w, 3].
        orientation: EXIF orientation, int32 [].
        size: px, side of the square.

    Returns:
        The square float32 [size, size, 3], whole numbers 0..255; the picture's (width, height) as displayed, float32
        [2]; and what to divide x and y in the square by to get the picture's pixels, float32 [2].
    """
    stored = tf.shape(image)[:2]
    fitted = tf.round(tf.cast(stored * size, tf.float64) / tf.cast(tf.reduce_max(stored), tf.float64))
    fitted = tf.maximum(tf.cast(fitted, tf.int32), 1)
    small = tf.image.resize(image, fitted, method="bilinear", antialias=True)
    # Turned when it is small, since turning 12 megapixels costs.
    small = turn(tf.clip_by_value(tf.round(small), 0.0, 255.0), orientation)
    height, width = tf.unstack(tf.shape(small)[:2])
    square = tf.pad(small, [[0, size - height], [0, size - width], [0, 0]], constant_values=float(GREY))
    shown = tf.cast(tf.where(_one_of(orientation, LYING), stored, tf.reverse(stored, [0])), tf.float32)
    scale = tf.cast(tf.stack([width, height]), tf.float32) / shown
    return tf.ensure_shape(square, [size, size, 3]), shown, scale


def _one_of(orientation: tf.Tensor, values: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_any(tf.equal(orientation, values))
