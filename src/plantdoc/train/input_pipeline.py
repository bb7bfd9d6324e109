"""Input pipeline of training and validation: batches from the TFRecords, as tf.data.

A training epoch is a pure function of (records, seed, epoch): all draws are stateless, so that a training that was
killed goes on with the very pictures it would have seen. Fresh each epoch are the order, flips and mosaic: they are
cheap on squares of the final size. What needs the full-resolution picture was done by the augment stage.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import tensorflow as tf

from plantdoc.coco import dataset
from plantdoc.records import shards
from plantdoc.records.shards import Meta, meta
from plantdoc.train.mosaic import mosaicked

__all__ = ["Meta", "meta", "parse", "steps", "train", "val", "val_truth"]

MAX_BOXES = 100
_WINDOW = 2048  # records in memory from which batches are drawn

_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/source_id": tf.io.FixedLenFeature([], tf.string),
    "image/object/class/label": tf.io.VarLenFeature(tf.int64),
} | {f"image/object/bbox/{side}": tf.io.VarLenFeature(tf.float32) for side in ("xmin", "ymin", "xmax", "ymax")}


def steps(about: Meta, batch_size: int) -> int:
    """Batches in an epoch of `train`."""
    return max(1, about.counts["train"] // batch_size)


def train(
    folder: Path | str,
    epoch: int,
    *,
    seed: int,
    batch_size: int,
    flip: float,
    mosaic: float,
    half: bool = False,
    max_boxes: int = MAX_BOXES,
    about: Meta | None = None,
) -> tf.data.Dataset:
    """The batches of one epoch, `epoch` counting from 0.

    The last pictures that fill no batch are left out; where all of them fill none, they are repeated.

    Args:
        flip: probability of a left-right flip, per picture.
        mosaic: probability that a picture is made of four: itself and three others of its batch.
        half: pictures have half the size of their records, which is half the work of decoding them, too.
        max_boxes: boxes beyond this number in a picture are left out.
        about: what `meta(folder)` returns, read here where it is left out.

    Yields:
        images: float32 [batch_size, S, S, 3], 0..255.
        boxes: float32 [batch_size, max_boxes, 4], xyxy in px, padded with -1.
        classes: int32 [batch_size, max_boxes], padded with -1.
    """
    about = about or meta(folder)
    key = int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:4]) >> 1

    def uniform(shape: list[int] | tf.Tensor, position: tf.Tensor, use: int) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, (tf.constant(key, tf.int64), position * 3 + use))

    def shuffled(position: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
        return tf.gather(window, tf.argsort(uniform(tf.shape(window), position, 0), stable=True))

    def example(position: tf.Tensor, line: tf.Tensor) -> dict:
        picture = parse(line, about.size, shrink=2 if half else 1)
        picture = tf.cond(uniform([], position, 1) < flip, lambda: flipped(picture), lambda: picture)
        return padded(picture, max_boxes)

    def with_mosaic(position: tf.Tensor, batch: dict) -> dict:
        images, boxes, classes = batch["images"], batch["boxes"], batch["classes"]
        if mosaic > 0:
            draw = uniform([batch_size, 15], position, 2)
            images, boxes, classes = mosaicked(images, boxes, classes, draw[:, 0] < mosaic, draw[:, 1:])
        return {"images": tf.cast(images, tf.float32), "boxes": boxes, "classes": classes}

    files = about.files["train"][epoch % about.copies]
    lines = tf.data.TFRecordDataset(_paths(folder, files))
    lines = lines.batch(_WINDOW).enumerate().map(shuffled).unbatch()
    if about.counts["train"] < batch_size:
        lines = lines.repeat().take(batch_size)
    batches = lines.enumerate().map(example, tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True)
    return _ordered(batches.enumerate().map(with_mosaic, tf.data.AUTOTUNE))


def val(folder: Path | str, batch_size: int, about: Meta | None = None) -> tf.data.Dataset:
    """All val pictures in the order of the file, in batches as those of `train` plus `source_id` (string [B]).

    The last batch may be shorter. `about` is as for `train`.
    """
    about = about or meta(folder)

    def example(line: tf.Tensor) -> dict:
        picture = padded(parse(line, about.size), MAX_BOXES)
        return picture | {"images": tf.cast(picture["images"], tf.float32)}

    lines = tf.data.TFRecordDataset(_paths(folder, about.files["val"]))
    return _ordered(lines.map(example, tf.data.AUTOTUNE).batch(batch_size))


def val_truth(folder: Path | str, about: Meta | None = None) -> dataset.Split:
    """The val pictures in the order of `val`, with all boxes, in px of the squares; ids count from 1.

    `about` is as for `train`.
    """
    about = about or meta(folder)
    pictures = []
    for file in about.files["val"]:
        for record in shards.read(Path(folder) / file):
            boxes = tuple(
                dataset.Box((float(x1), float(y1), float(x2 - x1), float(y2 - y1)), int(label))
                for (x1, y1, x2, y2), label in zip(record.boxes, record.classes, strict=True)
            )
            pictures.append(dataset.Picture(len(pictures) + 1, record.source_id, about.size, about.size, boxes))
    return dataset.Split(about.classes, tuple(pictures))


def parse(line: tf.Tensor, size: int, shrink: int = 1) -> dict[str, tf.Tensor]:
    """A serialised record: image uint8 [size, size, 3], boxes float32 [N, 4] (xyxy, px), classes int32 [N], its id.

    `size` is that of the record; with `shrink` = 2 the image is decoded to half of it, and the boxes are of that.
    """
    found = tf.io.parse_single_example(line, _FEATURES)
    # The decoder's faster default differs from Pillow's pixels by up to 8 levels.
    image = tf.io.decode_jpeg(found["image/encoded"], channels=3, ratio=shrink, dct_method="INTEGER_ACCURATE")
    size //= shrink
    sides = [tf.sparse.to_dense(found[f"image/object/bbox/{side}"]) for side in ("xmin", "ymin", "xmax", "ymax")]
    return {
        "image": tf.ensure_shape(image, [size, size, 3]),
        "boxes": tf.stack(sides, axis=-1) * size,
        "classes": tf.cast(tf.sparse.to_dense(found["image/object/class/label"]), tf.int32),
        "source_id": found["image/source_id"],
    }


def padded(picture: dict[str, tf.Tensor], max_boxes: int) -> dict[str, tf.Tensor]:
    """A parsed picture, ready for a batch: `images`, `boxes` and `classes` at `max_boxes` rows, `source_id`."""
    boxes, classes = picture["boxes"][:max_boxes], picture["classes"][:max_boxes]
    missing = max_boxes - tf.shape(classes)[0]
    return {
        "images": picture["image"],
        "boxes": tf.ensure_shape(tf.pad(boxes, [[0, missing], [0, 0]], constant_values=-1), [max_boxes, 4]),
        "classes": tf.ensure_shape(tf.pad(classes, [[0, missing]], constant_values=-1), [max_boxes]),
        "source_id": picture["source_id"],
    }


def flipped(picture: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A parsed picture mirrored left to right."""
    side = float(picture["image"].shape[1])
    x1, y1, x2, y2 = tf.unstack(picture["boxes"], axis=-1)
    boxes = tf.stack([side - x2, y1, side - x1, y2], axis=-1)
    return picture | {"image": tf.reverse(picture["image"], [1]), "boxes": boxes}


def _paths(folder: Path | str, files: tuple[str, ...]) -> tf.Tensor:
    return tf.constant([str(Path(folder) / file) for file in files], tf.string, [len(files)])


def _ordered(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)
