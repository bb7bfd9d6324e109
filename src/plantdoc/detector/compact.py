"""A small detector for training on CPUs: all boxes hang on one map of points 16 px apart.

At 320 px it has 0.47 billion multiply-adds a picture, counted, against 1.09 of YOLOv8-XS. The picture shrinks to a
quarter in the first convolution. There is one map of boxes instead of three: PlantDoc's leaves are large (half of them
over 80 px of 320, one in twelve below 32), and YOLOF (Chen et al. 2021, arXiv:2103.09460) found that what a detector
needs of a pyramid is its assignment more than its maps. All convolutions are dense, with plain ReLUs.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from plantdoc.detector.network import TaskAligned, prior_class_logits

# Channels of the maps at 1/4 to 1/32 of the picture, and blocks in the last three.
SIZES = {
    "xs": ((32, 64, 128, 256), (1, 2, 1)),
    "s": ((48, 96, 192, 384), (1, 2, 1)),
    "m": ((64, 128, 256, 512), (1, 3, 2)),
    "l": ((96, 192, 384, 768), (2, 4, 2)),
    "xl": ((128, 256, 512, 1024), (2, 6, 3)),
}
STRIDE = 16
BINS = 16  # a side of a box lies up to 15 strides from its point, as a distribution over so many bins


class Compact(TaskAligned):
    """One level, two branches of two convolutions, box sides as distributions (Li et al. 2020, arXiv:2006.04388)."""

    def __init__(
        self,
        pyramid: keras.Model,
        backbone: keras.Model,
        size: str,
        image_size: int,
        classes: int,
        overlap_loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ):
        (_, _, width, _), _ = SIZES[size]
        levels = [pyramid.get_layer(pyramid.pyramid_level_inputs[f"P{level}"]).output for level in (4, 5)]
        near, far = keras.Model(pyramid.input, levels, name="levels")(pyramid.input)
        far = keras.layers.UpSampling2D(2, name="neck_up")(_conv(far, width, 1, "neck_reduce"))
        x = _stack(keras.layers.Concatenate(name="neck_levels")([far, near]), width, 1, "neck")
        boxes = _conv(_conv(x, 64, 3, "box_1"), 64, 3, "box_2")
        marks = _conv(_conv(x, width * 3 // 4, 3, "class_1"), width * 3 // 4, 3, "class_2")
        (logit,) = prior_class_logits(image_size, (STRIDE,), classes)
        sides = keras.layers.Conv2D(4 * BINS, 1, bias_initializer="ones", name="box_out")(boxes)
        kinds = keras.layers.Conv2D(classes, 1, bias_initializer=keras.initializers.Constant(logit), name="class_out")(
            marks
        )
        points = (image_size // STRIDE) ** 2
        outputs = {
            "boxes": keras.layers.Reshape((points, 4, BINS), name="boxes")(sides),
            "classes": keras.layers.Reshape((points, classes), name="classes")(kinds),
        }
        model = keras.Model(pyramid.input, outputs, name="compact")
        super().__init__(model, backbone, image_size, classes, (STRIDE,), overlap_loss)

    def decode(self, outputs: dict) -> tuple[tf.Tensor, tf.Tensor]:
        sides = tf.linalg.matvec(tf.nn.softmax(outputs["boxes"]), tf.range(BINS, dtype=tf.float32)) * STRIDE
        corners = tf.concat([self.anchors - sides[..., :2], self.anchors + sides[..., 2:]], axis=-1)
        return corners, tf.sigmoid(outputs["classes"])


def backbone(size: str, shape: tuple[int, int, int]) -> keras.Model:
    """Pictures [B, S, S, 3] (0..255) to maps at 1/8, 1/16 and 1/32 of them."""
    channels, depths = SIZES[size]
    picture = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(picture)
    x = _conv(x, channels[0], 4, "stem", strides=4)
    levels = {}
    for level, (width, depth) in enumerate(zip(channels[1:], depths, strict=True), start=3):
        x = _stack(_conv(x, width, 3, f"p{level}_down", strides=2), width, depth, f"p{level}", residual=True)
        levels[f"P{level}"] = f"p{level}_out_act"
    x = _pooled(x, channels[-1], "p5_pool")
    levels["P5"] = "p5_pool_out_act"
    model = keras.Model(picture, x, name="compact_backbone")
    model.pyramid_level_inputs = levels
    return model


def _conv(x: keras.KerasTensor, width: int, kernel: int, name: str, strides: int = 1) -> keras.KerasTensor:
    x = keras.layers.Conv2D(width, kernel, strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.Activation("relu", name=f"{name}_act")(x)


def _stack(x: keras.KerasTensor, width: int, depth: int, name: str, residual: bool = False) -> keras.KerasTensor:
    """A cross-stage partial block as in YOLOv8: half of the channels through `depth` pairs of convolutions."""
    half = width // 2
    x = _conv(x, width, 1, f"{name}_in")
    parts = [x[..., :half], x[..., half:]]
    for i in range(depth):
        y = _conv(_conv(parts[-1], half, 3, f"{name}_{i}a"), half, 3, f"{name}_{i}b")
        parts.append(parts[-1] + y if residual else y)
    return _conv(keras.layers.Concatenate(name=f"{name}_join")(parts), width, 1, f"{name}_out")


def _pooled(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Spatial pyramid pooling, fast form: maxima over 5, 9 and 13 points beside the map itself."""
    parts = [_conv(x, width // 2, 1, f"{name}_in")]
    for _ in range(3):
        parts.append(keras.layers.MaxPooling2D(5, 1, "same")(parts[-1]))
    return _conv(keras.layers.Concatenate(name=f"{name}_join")(parts), width, 1, f"{name}_out")
