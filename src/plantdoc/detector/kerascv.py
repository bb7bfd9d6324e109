"""KerasCV, all of it that we use. KerasCV is frozen upstream: whoever replaces it rewrites this file and no other."""

from __future__ import annotations

import logging
from collections.abc import Callable

import keras
import keras_cv
import numpy as np
import tensorflow as tf

from plantdoc.core.errors import UserError
from plantdoc.detector import compact, keras_private
from plantdoc.detector.network import Network, TaskAligned, per_replica, prior_class_logits

log = logging.getLogger("plantdoc")

# Channels and block depths of stacks 1 to 4, and depth of the neck, as in KerasCV's yolo_v8_*_backbone presets.
YOLO_SIZES = {
    "xs": ((32, 64, 128, 256), (1, 2, 2, 1), 1),
    "s": ((64, 128, 256, 512), (1, 2, 2, 1), 1),
    "m": ((96, 192, 384, 576), (2, 4, 4, 2), 2),
    "l": ((128, 256, 512, 512), (3, 6, 6, 3), 3),
    "xl": ((160, 320, 640, 640), (3, 6, 6, 3), 3),
}
STRIDES = (8, 16, 32)


class _Raw:
    """A KerasCV prediction decoder that suppresses nothing, so that `decode_predictions` hands out all boxes."""

    bounding_box_format = "xyxy"

    def __init__(self, from_logits: bool):
        self.from_logits = from_logits

    def __call__(self, boxes: tf.Tensor, scores: tf.Tensor, **_) -> dict:
        return {"boxes": boxes, "scores": tf.sigmoid(scores) if self.from_logits else scores}


class _KerasCV(Network):
    """A detector of KerasCV on a feature pyramid.

    KerasCV takes one model as "backbone": `pyramid`, which has the three scales that the neck wants. Pretrained weights
    are for `backbone`, which is the same model, or a part of it where the pyramid adds layers.
    """

    def decode(self, outputs: dict) -> tuple[tf.Tensor, tf.Tensor]:
        frame = tf.zeros((1, self.image_size, self.image_size, 3))  # KerasCV reads nothing of it but its shape
        decoded = self.model.decode_predictions(outputs, frame)
        return decoded["boxes"], decoded["scores"]


class YoloV8(_KerasCV, TaskAligned):
    """YOLOv8 as KerasCV builds it.

    Three things differ from KerasCV's own training. It averages the cross-entropy over the classes, which with 30 of
    them makes the class loss 30 times weaker than its weight was tuned for: here it is summed. It starts every class
    at probability 0.5: here it starts low. And its assignment lets bad boxes win (see
    plantdoc/detector/label_assignment.py).
    """

    def __init__(self, pyramid: keras.Model, backbone: keras.Model, depth: int, image_size: int, classes: int):
        model = keras_cv.models.YOLOV8Detector(
            backbone=pyramid,
            num_classes=classes,
            bounding_box_format="xyxy",
            fpn_depth=depth,
            prediction_decoder=_Raw(from_logits=False),
        )
        super().__init__(model, backbone, image_size, classes, STRIDES, overlap_loss())
        for level, logit in enumerate(prior_class_logits(image_size, STRIDES, classes), start=1):
            bias = model.get_layer(f"yolo_v8_head_{level}_class_3_conv").bias
            bias.assign(np.full(bias.shape, logit, np.float32))


class RetinaNet(_KerasCV):
    """RetinaNet with anchors, focal loss and smooth L1 (Lin et al. 2017, arXiv:1708.02002)."""

    def __init__(self, pyramid: keras.Model, backbone: keras.Model, image_size: int, classes: int):
        model = keras_cv.models.RetinaNet(
            backbone=pyramid,
            num_classes=classes,
            bounding_box_format="xyxy",
            prediction_decoder=_Raw(from_logits=True),
        )
        super().__init__(model, backbone, image_size, classes)
        self.focal = keras_cv.losses.FocalLoss(from_logits=True, reduction="sum")
        self.smooth_l1 = keras_cv.losses.SmoothL1Loss(l1_cutoff=1.0, reduction="sum")

    def losses(self, images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, outputs: dict) -> dict[str, tf.Tensor]:
        targets, classes = self.model.label_encoder(images, {"boxes": boxes, "classes": labels})
        positive = tf.cast(classes > -1.0, tf.float32)
        counted = tf.cast(tf.not_equal(classes, -2.0), tf.float32)  # -2 marks anchors that are neither leaf nor not
        normaliser = per_replica(tf.reduce_sum(positive))
        one_hot = tf.one_hot(tf.cast(classes, tf.int32), self.classes)
        return {
            "box": self.smooth_l1(targets, outputs["box"], sample_weight=positive / normaliser),
            "class": self.focal(one_hot, outputs["classification"], sample_weight=counted / normaliser),
        }


def build(
    family: str,
    backbone: str,
    size: str,
    image_size: int,
    classes: int,
    preset: str | None = None,
    precision: str = "float32",
) -> Network:
    """A freshly initialised network; with `preset`, its backbone's weights are downloaded.

    `precision` is Keras's dtype policy of the layers; losses and decoding are in float32 always.

    Raises:
        UserError: the combination does not exist, or the preset cannot be had.
    """
    shape = (image_size, image_size, 3)
    keras.mixed_precision.set_global_policy(precision)
    try:
        core = _backbone(backbone, size, shape, preset)
        channels, _, neck = YOLO_SIZES[size]
        pyramid = _with_laterals(core, channels[1:]) if backbone == "mobilenet_v2" else core
        if family == "retinanet":
            network: Network = RetinaNet(pyramid, core, image_size, classes)
        elif family == "compact":
            network = compact.Compact(pyramid, core, size, image_size, classes, overlap_loss())
        else:
            network = YoloV8(pyramid, core, neck, image_size, classes)
    finally:
        # KerasCV makes layers while it decodes, too; those must not be made in half precision.
        keras.mixed_precision.set_global_policy("float32")
    if family == "retinanet":
        network.model.label_encoder.dtype_policy = keras.DTypePolicy("float32")
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        keras_private.check()
        for layer in network.model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True  # statistics of the whole batch, not of one device's part of it
    return network


def _backbone(name: str, size: str, shape: tuple[int, int, int], preset: str | None) -> keras.Model:
    if name == "mobilenet_v2" and preset in (None, "imagenet"):
        return _mobilenet_v2(shape, preset)
    if preset:
        return _preset(name, preset, shape)
    if name == "compact":
        return compact.backbone(size, shape)
    if name == "yolov8":
        channels, depths, _ = YOLO_SIZES[size]
        return keras_cv.models.YOLOV8Backbone(
            stackwise_channels=list(channels), stackwise_depth=list(depths), include_rescaling=True, input_shape=shape
        )
    return keras_cv.models.ResNetV2Backbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
        input_shape=shape,
    )


def _mobilenet_v2(shape: tuple[int, int, int], preset: str | None) -> keras.Model:
    try:
        return keras.applications.MobileNetV2(weights=preset, include_top=False, input_shape=shape)
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise UserError(
            f"model.weights = {preset}: could not download MobileNetV2's ImageNet weights ({error}); "
            "go online, or name a file that holds them"
        ) from error


def _preset(backbone: str, preset: str, shape: tuple[int, int, int]) -> keras.Model:
    kinds = {"yolov8": keras_cv.models.YOLOV8Backbone, "resnet_v2": keras_cv.models.ResNetV2Backbone}
    if backbone not in kinds:
        raise UserError(f"model.weights = {preset}: {backbone} has no such preset; use none, imagenet or a file")
    if preset == "imagenet":
        if backbone == "yolov8":
            raise UserError(
                "model.weights = imagenet: the yolov8 backbones have no ImageNet weights; "
                "use a preset such as yolo_v8_m_backbone_coco, or model.backbone = resnet_v2 or mobilenet_v2"
            )
        preset = "resnet50_v2_imagenet"
    known = kinds[backbone].presets_with_weights
    if preset not in known:
        raise UserError(f"model.weights = {preset}: no file of that name, and no preset; presets: {', '.join(known)}")
    try:
        return kinds[backbone].from_preset(preset, input_shape=shape)
    except Exception as error:  # kagglehub and requests raise many kinds; all mean that the download failed
        raise UserError(
            f"model.weights = {preset}: could not download it from Kaggle ({type(error).__name__}: {error}); "
            "go online, or name a file that holds the weights"
        ) from error


def _with_laterals(core: keras.Model, channels: tuple[int, int, int]) -> keras.Model:
    """MobileNetV2 with its three scales brought to the neck's widths by 1x1 convolutions.

    Taken after the inverted residuals (32, 96 and 320 channels), where the network is narrow, the neck stays cheap.
    """
    inputs = keras.Input(core.input_shape[1:])
    taps = [core.get_layer(name).output for name in ("block_5_add", "block_12_add", "block_16_project_BN")]
    features = keras.Model(core.input, taps, name="mobilenet_v2_features")(
        keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    )
    outputs = []
    for level, (feature, width) in enumerate(zip(features, channels, strict=True), start=3):
        x = keras.layers.Conv2D(width, 1, use_bias=False, name=f"lateral_p{level}_conv")(feature)
        x = keras.layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"lateral_p{level}_bn")(x)
        outputs.append(keras.layers.Activation("swish", name=f"lateral_p{level}")(x))
    model = keras.Model(inputs, outputs, name="mobilenet_v2_backbone")
    model.pyramid_level_inputs = {f"P{level}": f"lateral_p{level}" for level in (3, 4, 5)}
    return model


def overlap_loss() -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Complete-IoU loss of true and predicted boxes [B, A, 4], xyxy: [B, A] (Zheng et al. 2020, arXiv:1911.08287)."""
    return keras_cv.losses.CIoULoss(bounding_box_format="xyxy", reduction=None)
