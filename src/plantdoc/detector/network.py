"""Interface of a detector network: a Keras model, its loss terms, and its boxes and scores before NMS.

Boxes are `xyxy` in pixels of the square input picture everywhere here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from plantdoc.detector.label_assignment import task_aligned


class Network:
    """A detector network over square pictures.

    `model` maps pictures [B, S, S, 3] (float32, 0..255) to raw outputs; `backbone` is the part that pretrained weights
    are for.
    """

    def __init__(self, model: keras.Model, backbone: keras.Model, image_size: int, classes: int):
        self.model, self.backbone, self.image_size, self.classes = model, backbone, image_size, classes

    def __call__(self, images: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """Raw outputs for pictures, in float32 also where the network computes in half precision."""
        inputs = {"images": images} if isinstance(self.model.input, dict) else images
        return {name: tf.cast(value, tf.float32) for name, value in self.model(inputs, training=training).items()}

    def decode(self, outputs: dict) -> tuple[tf.Tensor, tf.Tensor]:
        """Raw outputs to all candidates: boxes [B, A, 4] and scores [B, A, classes] in 0..1."""
        raise NotImplementedError

    def losses(self, images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, outputs: dict) -> dict[str, tf.Tensor]:
        """Scalar loss terms `box` and `class` of a batch: boxes [B, M, 4] and labels [B, M], both padded with -1.

        On several devices each has its part of the batch, and the mean of their terms is that of the whole batch.
        """
        raise NotImplementedError


class TaskAligned(Network):
    """A network without anchor boxes: task-aligned assignment, complete-IoU box loss, binary cross-entropy.

    Args:
        strides: px between the points of each level that a box may hang on, in the order of the outputs.
        overlap_loss: complete-IoU loss of true and predicted boxes [B, A, 4]: [B, A].
    """

    BOX_WEIGHT, CLASS_WEIGHT = 7.5, 0.5

    def __init__(
        self,
        model: keras.Model,
        backbone: keras.Model,
        image_size: int,
        classes: int,
        strides: tuple[int, ...],
        overlap_loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ):
        super().__init__(model, backbone, image_size, classes)
        self.anchors = tf.constant(centres(image_size, strides), tf.float32)
        self.overlap_loss = overlap_loss

    def losses(self, images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, outputs: dict) -> dict[str, tf.Tensor]:
        predicted, scores = self.decode(outputs)
        targets, wanted, positive = task_aligned(scores, predicted, self.anchors, boxes, tf.cast(labels, tf.int32))
        normaliser = per_replica(tf.reduce_sum(wanted))
        # Anchors without a target get a box equal to their own, so that no gradient comes from a meaningless pair.
        targets = tf.where(positive[..., None], targets, tf.stop_gradient(predicted))
        box = tf.reduce_sum(self.overlap_loss(targets, predicted) * tf.reduce_sum(wanted, axis=-1)) / normaliser
        entropy = keras.ops.binary_crossentropy(wanted, scores)
        return {"box": self.BOX_WEIGHT * box, "class": self.CLASS_WEIGHT * tf.reduce_sum(entropy) / normaliser}


def per_replica(count: tf.Tensor) -> tf.Tensor:
    """Divisor of a sum over this device's part of the batch: the count in the whole batch, per device."""
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return tf.maximum(count, 1.0)
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
    return tf.maximum(total, 1.0) / strategy.num_replicas_in_sync


def centres(image_size: int, strides: tuple[int, ...]) -> np.ndarray:
    """Anchor points [A, 2] as x, y in pixels, row by row, level by level."""
    levels = []
    for stride in strides:
        ticks = np.arange(stride / 2, image_size, stride, dtype=np.float32)
        xs, ys = np.meshgrid(ticks, ticks)
        levels.append(np.stack([xs.ravel(), ys.ravel()], axis=-1))
    return np.concatenate(levels)


def prior_class_logits(image_size: int, strides: tuple[int, ...], classes: int) -> list[float]:
    """Per level, the class logit to begin with: five objects a picture, as YOLOv8's authors have it.

    At the usual probability of 0.5 the first epochs would be spent on unlearning.
    """
    return [math.log(5 / classes / (image_size / stride) ** 2) for stride in strides]
