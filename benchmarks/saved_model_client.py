"""A bundle's SavedModel asked directly, by a process that does nothing else: benchmarks/serve_speed.py starts it.

    python benchmarks/saved_model_client.py FOLDER PICTURES --batch 8 --seconds 8  calls in a row, how long each took
    python benchmarks/saved_model_client.py FOLDER PICTURES --batch 8 --parts  where the time of a call goes

FOLDER holds the SavedModel, PICTURES photos. Prints JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import load

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import stage
from plantdoc.detector import tf_setup
from plantdoc.serving.handler import response, uploaded_image

CALLS = 30  # of each part
MOST_PIXELS = 64_000_000


def main() -> None:
    arguments = parse()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it misses a fingerprint, which the bundle leaves out
    with tf_setup.muted():
        import tensorflow as tf

        # As the local server sets them.
        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
        tf.config.list_logical_devices()
    loaded = tf.saved_model.load(str(arguments.folder))  # a signature alone does not hold its variables
    signature = loaded.signatures["serving_default"]
    photos = [file.read_bytes() for file in load.photo_files(arguments.pictures)]
    batches = (
        list(itertools.islice(endless, arguments.batch)) for endless in itertools.repeat(itertools.cycle(photos))
    )
    found = parts(signature, batches) if arguments.parts else calls(signature, batches, arguments.seconds)
    print(json.dumps(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--parts", action="store_true")
    return parser.parse_args()


def calls(signature, batches: Iterator[list[bytes]], seconds: float) -> dict:
    """Seconds of each call, and processor seconds of all; a fifth of the time before does not count."""
    _ask(signature, batches, seconds * load.WARM)
    cpu, started = time.process_time(), time.perf_counter()
    took = _ask(signature, batches, seconds)
    return {"calls": took, "seconds": time.perf_counter() - started, "processor": time.process_time() - cpu}


def parts(signature, batches: Iterator[list[bytes]]) -> dict[str, float]:
    """Milliseconds a picture of each part of an answer, in the fastest of many calls.

    The graph is cut where the pictures have become squares and where boxes and scores go into the non-maximum
    suppression, and asked up to there; a part is the difference. The cuts need the variables as constants, and the
    network is then some percent faster than as served.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    flat = convert_variables_to_constants_v2(signature, lower_control_flow=False)
    operations = flat.graph.get_operations()
    (suppression,) = (each for each in operations if each.type == "CombinedNonMaxSuppression")
    squares = next(
        each.outputs[0]
        for each in operations
        if each.type == "TensorListStack" and len(each.outputs[0].shape) == 4 and each.outputs[0].shape[-1] == 3
    )
    wanted = {"squares": [squares], "candidates": list(suppression.inputs[:2]), "all": list(flat.outputs)}
    cuts = {name: flat.prune(flat.inputs, fetches) for name, fetches in wanted.items()}
    took: dict[str, list[float]] = {name: [] for name in (*cuts, "check", "served", "answer")}

    def clocked(name: str, step: Callable, *arguments, **named):
        started = time.perf_counter()
        result = step(*arguments, **named)
        took[name].append(1000 * (time.perf_counter() - started))
        return result

    for batch in itertools.islice(batches, CALLS):
        tensors = {tf.string: tf.constant(batch), tf.int32: tf.constant([1] * len(batch))}
        for name, cut in cuts.items():
            clocked(name, cut, *(tensors[each.dtype] for each in flat.inputs))
        photos = clocked("check", _checked, batch)
        found = clocked("served", signature, image_bytes=tensors[tf.string], orientation=tensors[tf.int32])
        clocked("answer", _answered, found, photos)
    least = {name: min(values) / len(batch) for name, values in took.items()}
    return {
        "check of the header": least["check"],
        "decode and resize": least["squares"],
        "network": least["candidates"] - least["squares"],
        "suppression and boxes": least["all"] - least["candidates"],
        "answer as JSON": least["answer"],
        "call as served": least["served"],
    }


def _ask(signature, batches: Iterator[list[bytes]], seconds: float) -> list[float]:
    import tensorflow as tf

    took, until = [], time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        batch = next(batches)
        found = signature(image_bytes=tf.constant(batch), orientation=tf.constant([1] * len(batch)))
        {key: value.numpy() for key, value in found.items()}
        took.append(time.perf_counter() - started)
    return took


def _checked(batch: list[bytes]) -> list[uploaded_image.UploadedImage]:
    return [uploaded_image.read(each, MOST_PIXELS) for each in batch]


def _answered(found: dict, photos: list[uploaded_image.UploadedImage]) -> list[str]:
    columns = {key: found[key].numpy().tolist() for key in ("boxes", "scores", "class_ids", "class_names")}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for row in rows:
        row["class_names"] = [name.decode() for name in row["class_names"]]
    return [json.dumps(response.of_one(*each, 0.2, None)) for each in zip(photos, rows, strict=True)]


if __name__ == "__main__":
    stage.run(main)
