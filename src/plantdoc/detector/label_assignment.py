"""Assignment of leaves to anchors: task-aligned (TOOD, Feng et al. 2021, arXiv:2108.07755), as in YOLOv8."""

from __future__ import annotations

import tensorflow as tf

CANDIDATES = 10  # anchors per leaf
SCORE_POWER, OVERLAP_POWER = 0.5, 6.0


def task_aligned(
    scores: tf.Tensor, boxes: tf.Tensor, anchors: tf.Tensor, truth: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Give each true box the anchors inside it that already predict it best, by score and overlap together.

    Overlap is the plain IoU. KerasCV's own encoder takes the complete IoU, which is negative for bad boxes, to the
    sixth power: an anchor at -0.5 then beats one at 0.3, and the first epochs teach the wrong anchors.

    Args:
        scores: predicted, 0..1, [B, A, classes].
        boxes: predicted, xyxy in px, [B, A, 4].
        anchors: centres as x, y in px, [A, 2].
        truth: xyxy in px, [B, M, 4]; anything in padding rows.
        labels: int32 [B, M]; -1 in padding rows.

    Returns:
        For each anchor the box it shall predict [B, A, 4], the scores it shall give [B, A, classes] (the quality of
        the match at the true class, else 0), and whether it has a box at all [B, A]. No gradient flows through them.
    """
    classes = scores.shape[-1]
    of_label = tf.transpose(tf.gather(scores, tf.maximum(labels, 0), axis=2, batch_dims=1), [0, 2, 1])  # [B, M, A]
    overlap = iou(truth[:, :, None], boxes[:, None])
    x, y = anchors[:, 0], anchors[:, 1]
    x1, y1, x2, y2 = tf.unstack(truth[:, :, None], axis=-1)
    allowed = (x > x1) & (x < x2) & (y > y1) & (y < y2) & (labels >= 0)[:, :, None]
    fit = tf.where(allowed, of_label**SCORE_POWER * overlap**OVERLAP_POWER, 0.0)

    worst = tf.math.top_k(fit, min(CANDIDATES, len(anchors))).values[..., -1:]
    chosen = (fit >= worst) & (fit > 0)
    # An anchor that several leaves chose goes to the one it overlaps most.
    owner = tf.argmax(tf.where(chosen, overlap, -1.0), axis=1, output_type=tf.int32)  # [B, A]
    chosen &= tf.one_hot(owner, tf.shape(truth)[1], axis=1, on_value=True, off_value=False, dtype=tf.bool)
    positive = tf.reduce_any(chosen, axis=1)

    # The best anchor of a leaf shall score that leaf's best overlap, the others their share of it.
    fit = tf.where(chosen, fit, 0.0)
    best_fit = tf.reduce_max(fit, axis=-1, keepdims=True)
    best_overlap = tf.reduce_max(tf.where(chosen, overlap, 0.0), axis=-1, keepdims=True)
    quality = tf.reduce_max(tf.math.divide_no_nan(fit, best_fit) * best_overlap, axis=1)
    wanted = tf.one_hot(tf.gather(labels, owner, batch_dims=1), classes) * quality[..., None]
    return tuple(map(tf.stop_gradient, (tf.gather(truth, owner, batch_dims=1), wanted, positive)))


def iou(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Intersection over union of boxes [..., 4], xyxy, broadcast against each other; 0 where both are empty."""
    low = tf.maximum(a[..., :2], b[..., :2])
    high = tf.minimum(a[..., 2:], b[..., 2:])
    both = tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)
    areas = (tf.reduce_prod(tf.maximum(box[..., 2:] - box[..., :2], 0.0), axis=-1) for box in (a, b))
    return tf.math.divide_no_nan(both, sum(areas) - both)
