"""Mosaic: training pictures made of four (YOLOv4, Bochkovskiy et al., arXiv:2004.10934), as ops on a batch."""

from __future__ import annotations

import tensorflow as tf

# Of a box in a mosaic, as in Ultralytics YOLO. The share is low on purpose: a tenth of a leaf that fills its picture
# still fills a quarter, and would be taught as background.
_MIN_VISIBLE, _MIN_SIDE = 0.1, 2.0  # share of its area; px
_CENTRE = 0.3, 0.7  # where the four pictures of a mosaic may meet, in sides
_MIN_SCALE = 0.5  # of a picture in a mosaic


def mosaicked(
    images: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, chosen: tf.Tensor, draw: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pictures of `chosen` (bool [B]) made of four: themselves, top left, and the next three of the batch.

    The four meet at a random point between 0.3 and 0.7 of the sides. Each shows a random crop, at a scale between 0.5
    (or what fills its quarter) and 1. Boxes are clipped to their quarter; those of which less than 10 % or 2 px
    remain go.

    Args:
        images: uint8 [B, S, S, 3].
        boxes: float32 [B, M, 4], xyxy in px.
        classes: int32 [B, M].
        draw: float32 [B, 14], uniform in 0..1: the meeting point, a scale and a crop for each quarter.

    Returns:
        images float32 [B, S, S, 3], boxes and classes as given; a mosaic of more than M boxes keeps the first M.
    """
    batch, side, rows = images.shape[0], images.shape[1], boxes.shape[1]
    low, high = _CENTRE
    meet = tf.cast(tf.round((low + draw[:, None, :2] * (high - low)) * side), tf.int32)
    # Per quarter, in reading order, [B, 4, 2] as x and y: where it starts and how far it goes, in px of the mosaic.
    second = tf.constant([[0, 0], [1, 0], [0, 1], [1, 1]])
    starts, spans = second * meet, tf.where(second > 0, side - meet, meet)
    starts_px, spans_px = tf.cast(starts, tf.float32), tf.cast(spans, tf.float32)
    least = tf.maximum(tf.reduce_max(spans_px, -1) / side, _MIN_SCALE)
    wanted = (least + draw[:, 2:6] * (1 - least))[..., None]
    # Of the source, in whole px: how much is shown, [B, 4, 2], and where that starts.
    shown = tf.minimum(tf.round(spans_px / wanted), side)
    crops = tf.round((side - shown) * tf.reshape(draw[:, 6:14], [-1, 4, 2]))
    scales = spans_px / shown
    sources = (tf.range(batch)[:, None] + tf.range(4)) % batch  # [B, 4]

    def twice(points: tf.Tensor) -> tf.Tensor:
        return tf.tile(points, [1, 1, 2])[:, :, None]  # [B, 4, 1, 4], to go with boxes

    moved = tf.gather(boxes, sources) * twice(scales) + twice(starts_px - crops * scales)
    clipped = tf.clip_by_value(moved, twice(starts_px), twice(starts_px + spans_px))
    labels = tf.gather(classes, sources)  # [B, 4, M]
    sides, whole = clipped[..., 2:] - clipped[..., :2], moved[..., 2:] - moved[..., :2]
    kept = (
        (labels >= 0)
        & (tf.reduce_prod(sides, -1) >= _MIN_VISIBLE * tf.reduce_prod(whole, -1))
        & (tf.reduce_min(sides, -1) >= _MIN_SIDE)
    )
    clipped = tf.reshape(tf.where(kept[..., None], clipped, -1.0), [-1, 4 * rows, 4])
    labels = tf.reshape(tf.where(kept, labels, -1), [-1, 4 * rows])
    first = tf.argsort(tf.cast(labels < 0, tf.int32), stable=True)[:, :rows]
    return (
        _drawn(images, chosen, sources, spans, tf.cast(crops, tf.int32), tf.cast(shown, tf.int32)),
        tf.where(chosen[:, None, None], tf.gather(clipped, first, batch_dims=1), boxes),
        tf.where(chosen[:, None], tf.gather(labels, first, batch_dims=1), classes),
    )


def _drawn(
    images: tf.Tensor, chosen: tf.Tensor, sources: tf.Tensor, spans: tf.Tensor, crops: tf.Tensor, shown: tf.Tensor
) -> tf.Tensor:
    def quarter(i: tf.Tensor, q: int) -> tf.Tensor:
        (x, y), (width, height) = tf.unstack(crops[i, q]), tf.unstack(shown[i, q])
        crop = images[sources[i, q], y : y + height, x : x + width]
        return tf.image.resize(crop, tf.reverse(spans[i, q], [0]))

    def mosaic(i: tf.Tensor) -> tf.Tensor:
        halves = [tf.concat([quarter(i, q), quarter(i, q + 1)], axis=1) for q in (0, 2)]
        return tf.ensure_shape(tf.concat(halves, axis=0), images.shape[1:])

    def picture(i: tf.Tensor) -> tf.Tensor:
        return tf.cond(chosen[i], lambda: mosaic(i), lambda: tf.cast(images[i], tf.float32))

    return tf.map_fn(picture, tf.range(images.shape[0]), fn_output_signature=tf.float32)
