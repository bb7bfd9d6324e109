"""Non-maximum suppression."""

from __future__ import annotations

import tensorflow as tf


def suppress(boxes: tf.Tensor, scores: tf.Tensor, *, iou: float, score_floor: float, most: int) -> dict[str, tf.Tensor]:
    """Keep the best of overlapping boxes, per class: one leaf may carry two diseases, and AP needs both candidates.

    Args:
        boxes: [B, A, 4], xyxy in pixels of the square.
        scores: [B, A, classes].
        iou: overlap above which the weaker box goes.
        score_floor: boxes of a lower score go.
        most: rows of a picture, N.

    Returns:
        Best first: `boxes` [B, N, 4], `scores` [B, N], `classes` [B, N] int32; unused rows are 0, 0 and -1.
    """
    kept = tf.image.combined_non_max_suppression(
        boxes[:, :, None, :],
        scores,
        max_output_size_per_class=most,
        max_total_size=most,
        iou_threshold=iou,
        score_threshold=score_floor,
        clip_boxes=False,
    )
    used = tf.sequence_mask(kept.valid_detections, most)
    return {
        "boxes": kept.nmsed_boxes,
        "scores": kept.nmsed_scores,
        "classes": tf.where(used, tf.cast(kept.nmsed_classes, tf.int32), -1),
    }
