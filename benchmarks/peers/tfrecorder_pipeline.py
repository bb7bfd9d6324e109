"""The side of benchmarks/augment_speed.py that works as TFRecorder 2.0 does: Beam's DirectRunner, base64 of raw pixels.

    .venv-peers/tfrecorder/bin/python benchmarks/peers/tfrecorder_pipeline.py PICTURES.json OUT

A pipeline of Apache Beam opens each picture, makes the square that its user would have made before, takes the raw
pixels as base64 and writes tf.train.Examples with TFRecorder's keys by Beam's own sink, gzipped (TFRecorder's default)
to OUT-gzip-… or plain to OUT-plain-…. No augmentation, and no TensorFlow Transform, by which TFRecorder looks at every
example once more: it does less than TFRecorder, and less than the augment stage.

Why not TFRecorder itself: it asks for TensorFlow 2.3.1 and NumPy < 1.19, for which there are no wheels beyond Python
3.8. There it imports only with libraries of December 2020 and with two packages that write the same files (avro and
avro-python3) installed in the right order, which no lock can say. Made to run in this way, it wrote 409,778 bytes a
picture of 320 px plain and 258,012 gzipped (120 squares of PlantDoc), which is what this script is held against.

For each line on standard input, `gzip` or `plain`, it goes through the pictures once and prints a line of JSON: seconds
of processor time, and pictures. Runs in the environment of benchmarks/peers/tfrecorder.txt.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image


def main() -> None:
    manifest, out = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for line in sys.stdin:
        before = time.process_time()
        run(manifest, out, line.strip())
        took = {"processor": time.process_time() - before}
        print(json.dumps(took | {"pictures": len(manifest["pictures"])}), flush=True)


def run(manifest: dict, out: str, way: str) -> None:
    """Write the pictures of PICTURES.json into one TFRecord file."""
    size = manifest["size"]
    with beam.Pipeline(options=PipelineOptions([], direct_num_workers=1)) as pipeline:
        _ = (
            pipeline
            | beam.Create([(picture["path"], picture["classes"]) for picture in manifest["pictures"]])
            | beam.MapTuple(lambda path, classes: serialised(path, classes, size))
            | beam.io.WriteToTFRecord(
                f"{out}-{way}",
                file_name_suffix=".tfrecord.gz" if way == "gzip" else ".tfrecord",
                compression_type="gzip" if way == "gzip" else "uncompressed",
            )
        )


def serialised(path: str, classes: list[int], size: int) -> bytes:
    """A tf.train.Example with the keys that TFRecorder writes; the label is that of the first box."""
    image = padded_square(path, size)
    pixels = base64.b64encode(image.tobytes(), altchars=b"-_")
    integers = {"image_height": size, "image_width": size, "image_channels": 3, "label": (classes or [0])[0]}
    texts = {"image_name": Path(path).name.encode(), "split": b"TRAIN", "image": pixels}
    features = {key: tf.train.Feature(int64_list=tf.train.Int64List(value=[v])) for key, v in integers.items()}
    features |= {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for key, v in texts.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def padded_square(path: str, size: int) -> Image.Image:
    """The picture, its longer side `size` px, on a grey square."""
    with Image.open(path) as image:
        scale = size / max(image.size)
        sides = [max(1, round(side * scale)) for side in image.size]
        canvas = Image.new("RGB", (size, size), (114,) * 3)
        canvas.paste(image.convert("RGB").resize(sides, Image.Resampling.BILINEAR))
    return canvas


if __name__ == "__main__":
    main()
