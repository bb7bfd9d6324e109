"""The networks behind the one module that knows KerasCV: shapes, losses, and that they can learn."""

from __future__ import annotations

import numpy as np
import pytest

S, CLASSES = 64, 3
KINDS = [
    pytest.param("yolov8", "yolov8", marks=pytest.mark.full),
    pytest.param("retinanet", "yolov8", marks=pytest.mark.full),
    pytest.param("compact", "compact", marks=pytest.mark.slow),
]


def batch(tf):
    """One bright square on grey per picture, its class by its colour, and padding rows."""
    images = np.full((3, S, S, 3), 114, np.float32)
    boxes, labels = np.full((3, 4, 4), -1, np.float32), np.full((3, 4), -1, np.float32)
    for i in range(3):
        x, y = 4 + 10 * i, 20 - 5 * i
        images[i, y : y + 32, x : x + 32] = np.eye(3)[i] * 255
        boxes[i, 0], labels[i, 0] = (x, y, x + 32, y + 32), i
    return tf.constant(images), tf.constant(boxes), tf.constant(labels)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two boxes xyxy."""
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


@pytest.mark.full(35)
@pytest.mark.parametrize(("family", "backbone"), KINDS)
def test_overfits_one_batch_and_finds_its_boxes(tf, family, backbone):
    """What comes out 80 steps later differs from CPU to CPU: only what must hold on each is asserted."""
    import keras

    from plantdoc.detector.detector import Config, Detector

    keras.utils.set_random_seed(1)
    detector = Detector(Config(family, backbone, "xs", S, ("a", "b", "c"), 0.001, 0.6, 20))
    network, variables = detector.network, detector.model.trainable_variables
    images, boxes, labels = batch(tf)
    optimizer = keras.optimizers.Adam(2e-3)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            terms = network.losses(images, boxes, labels, network(images, training=True))
            loss = tf.add_n(list(terms.values()))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return terms

    first = step()
    for _ in range(79):
        terms = step()
    assert set(terms) == {"box", "class"}
    assert float(terms["class"]) < float(first["class"]) / 3
    # Batch normalisation's running means are far from converged by now: look with the batch's own statistics.
    found, scores = network.decode(network(images, training=True))
    overlaps = []
    for i in range(3):
        anchor, label = np.unravel_index(np.argmax(scores[i]), scores[i].shape)
        assert label == i
        overlaps.append(overlap(*(np.asarray(box) for box in (found[i, anchor], boxes[i, 0]))))
    assert np.mean(overlaps) > 0.4  # it begins with 0.02


@pytest.mark.slow
@pytest.mark.parametrize("family", ["yolov8", "retinanet", "compact"])
def test_losses_ignore_padding_and_survive_pictures_without_boxes(tf, family):
    from plantdoc.detector import kerascv

    network = kerascv.build(family, "yolov8", "xs", S, CLASSES)
    images, boxes, labels = batch(tf)
    outputs = network(images, training=False)
    padded = network.losses(images, boxes, labels, outputs)
    trimmed = network.losses(images, boxes[:, :1], labels[:, :1], outputs)
    for name, value in padded.items():
        assert float(value) == pytest.approx(float(trimmed[name]), rel=1e-5)
    empty = network.losses(images, tf.fill(boxes.shape, -1.0), tf.fill(labels.shape, -1.0), outputs)
    assert float(empty["box"]) == 0
    assert np.isfinite(float(empty["class"]))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["yolov8", "retinanet", "compact"])
def test_pretrained_weights_are_for_the_backbone_without_what_the_pyramid_adds(tf, family):
    from plantdoc.detector import kerascv

    network = kerascv.build(family, "mobilenet_v2", "xs", S, CLASSES)
    assert network.backbone.name.startswith("mobilenetv2")
    assert not [layer.name for layer in network.backbone.layers if layer.name.startswith("lateral_")]
    shared = {id(variable) for variable in network.model.variables}
    assert {id(variable) for variable in network.backbone.trainable_variables} & shared


@pytest.mark.slow
def test_half_precision_keeps_losses_and_boxes_in_float32(tf):
    from plantdoc.detector import kerascv

    network = kerascv.build("yolov8", "yolov8", "xs", S, CLASSES, precision="mixed_bfloat16")
    images, boxes, labels = batch(tf)
    outputs = network(images, training=True)
    assert {value.dtype for value in outputs.values()} == {tf.float32}
    assert all(np.isfinite(float(value)) for value in network.losses(images, boxes, labels, outputs).values())


def test_a_preset_that_does_not_exist_is_named_with_those_that_do():
    from plantdoc.core.errors import UserError
    from plantdoc.detector import kerascv

    with pytest.raises(UserError, match="yolo_v8_xs_backbone_coco"):
        kerascv.build("yolov8", "yolov8", "xs", S, CLASSES, preset="yolo_v9")
    with pytest.raises(UserError, match="have no ImageNet weights"):
        kerascv.build("yolov8", "yolov8", "xs", S, CLASSES, preset="imagenet")


@pytest.mark.full
@pytest.mark.parametrize(
    ("backbone", "preset", "where"),
    [("yolov8", "yolo_v8_xs_backbone_coco", "Kaggle"), ("mobilenet_v2", "imagenet", "MobileNetV2's ImageNet weights")],
)
def test_a_preset_that_cannot_be_downloaded_says_what_was_not_reached(
    backbone, preset, where, monkeypatch, tmp_path, tf
):
    from plantdoc.core.errors import UserError
    from plantdoc.detector import kerascv

    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(UserError, match=f"model.weights = {preset}: could not download .*{where}"):
        kerascv.build("yolov8", backbone, "xs", S, CLASSES, preset=preset)
