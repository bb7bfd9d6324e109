"""The side of benchmarks/augment_speed.py that works as KerasCV's guides do: layers mapped over ragged batches.

    python benchmarks/peers/kerascv_layers.py PICTURES.json OUT

A tf.data pipeline reads and decodes the pictures, makes ragged batches of them with boxes in KerasCV's dict form, maps
a Sequential of KerasCV layers over these, and writes the squares as tf.train.Examples into one TFRecord file: as JPEG
of the quality that the augment stage has, or as float32 tensors, which is what the layers give. The layers:

    same    jittered resize, rotation, hue, saturation, brightness: what the augment stage does, in the quickest order
    lean    jittered resize, flip, hue, saturation, brightness: no rotation, which the augment stage does
    guide   flip, hue, saturation, brightness, jittered resize: the resize last, as KerasCV's own documentation says

For each line on standard input, like `same jpeg` or `lean tensors`, it goes through the pictures once, on one thread,
writes OUT-same-jpeg and so on, and prints a line of JSON: seconds of processor time, and pictures. Runs in this
project's environment, KerasCV being part of it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

BATCH = 8
FORMAT = "xyxy"


def main() -> None:
    manifest, out = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    # Not plantdoc.detector.tf_setup: it asks for deterministic ops too, which nobody does in such a pipeline.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    pipelines = {}
    for line in sys.stdin:
        layers, store = line.split()
        if (layers, store) not in pipelines:
            pipelines[layers, store] = pipeline(manifest, layers, store)
        before = time.process_time()
        count = write(pipelines[layers, store], Path(f"{out}-{layers}-{store}"), manifest["size"])
        took = {"processor": time.process_time() - before}
        print(json.dumps(took | {"pictures": count}), flush=True)


def pipeline(manifest: dict, which: str, store: str):
    """A tf.data.Dataset of (bytes of a square, its boxes [N, 4] as xyxy in px, its classes [N])."""
    import keras
    import tensorflow as tf
    from keras_cv import layers

    size, quality, jitter = manifest["size"], manifest["quality"], manifest["jitter"]
    flip = layers.RandomFlip(mode="horizontal", bounding_box_format=FORMAT)
    turn = layers.RandomRotation(
        factor=jitter["rotation"] / 360, fill_mode="constant", fill_value=114, bounding_box_format=FORMAT
    )
    resize = layers.JitteredResize(
        target_size=(size, size), scale_factor=tuple(manifest["scale"]), bounding_box_format=FORMAT
    )
    colours = [
        layers.RandomHue(factor=jitter["hue"], value_range=(0, 255)),
        # 0.5 leaves colours alone and 1 is the most there is.
        layers.RandomSaturation(factor=(0.5 - jitter["saturation"] / 2, 0.5 + jitter["saturation"] / 2)),
        layers.RandomBrightness(factor=jitter["brightness"]),
    ]
    orders = {"same": [resize, turn, *colours], "lean": [resize, flip, *colours], "guide": [flip, *colours, resize]}
    augmenter = keras.Sequential(orders[which])

    def read(path, boxes, classes):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        return {"images": tf.cast(image, tf.float32), "bounding_boxes": {"boxes": boxes, "classes": classes}}

    def encoded(batch):
        images = tf.cast(tf.round(tf.clip_by_value(batch["images"], 0, 255)), tf.uint8)

        def one(image):
            return tf.io.encode_jpeg(image, quality=quality, chroma_downsampling=False)

        if store == "jpeg":
            pictures = tf.map_fn(one, images, fn_output_signature=tf.string)
        else:
            pictures = tf.map_fn(tf.io.serialize_tensor, batch["images"], fn_output_signature=tf.string)
        return pictures, batch["bounding_boxes"]["boxes"], batch["bounding_boxes"]["classes"]

    pictures = manifest["pictures"]
    boxes = tf.RaggedTensor.from_row_lengths(
        tf.constant([box for picture in pictures for box in picture["boxes"]], tf.float32, None),
        [len(picture["boxes"]) for picture in pictures],
    )
    classes = tf.ragged.constant([picture["classes"] for picture in pictures], tf.float32)
    data = tf.data.Dataset.from_tensor_slices(([picture["path"] for picture in pictures], boxes, classes))
    data = data.map(read, tf.data.AUTOTUNE).ragged_batch(BATCH)
    data = data.map(augmenter, tf.data.AUTOTUNE).map(encoded, tf.data.AUTOTUNE).unbatch()
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return data.with_options(options).prefetch(tf.data.AUTOTUNE)


def write(data, out: Path, size: int) -> int:
    """Write the squares into one TFRecord file; returns their number."""
    import tensorflow as tf

    count = 0
    with tf.io.TFRecordWriter(str(out)) as writer:
        for picture, boxes, classes in data.as_numpy_iterator():
            real = classes >= 0  # dense boxes are padded
            corners = (boxes[real] / size).T
            features = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture])),
                "image/height": tf.train.Feature(int64_list=tf.train.Int64List(value=[size])),
                "image/width": tf.train.Feature(int64_list=tf.train.Int64List(value=[size])),
                "image/object/class/label": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=classes[real].astype(int))
                ),
            }
            for side, values in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
                features[f"image/object/bbox/{side}"] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
            count += 1
    return count


if __name__ == "__main__":
    main()
