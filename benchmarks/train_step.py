"""One measurement of train_speed.py, in a process of its own; prints a line of JSON.

    python benchmarks/train_step.py yolov8/yolov8/xs data/tfrecords --steps 10      a training step of ours
    python benchmarks/train_step.py yolov8/yolov8/xs data/tfrecords --shares        where its time goes
    python benchmarks/train_step.py matmul                                          what the processor can do

The detector is built as src/train.py builds it, random, in float32 if --precision does not say otherwise, and steps on
fixed batches of real pictures that are in memory already. Costs half a minute, most of it for imports and tracing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import params, stage
from plantdoc.detector import tf_setup
from plantdoc.train import train_params

PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"
WARM, LEAST, LONGEST = 3, 3, 15.0  # steps that do not count, since the first one traces; that count at least; seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="family/backbone/size, or matmul")
    parser.add_argument("records", nargs="?", type=Path, default=Path("data/tfrecords"))
    parser.add_argument("--steps", type=int, default=10, help=f"that count; fewer where they take over {LONGEST:.0f} s")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32", help="as train.precision")
    parser.add_argument("--shares", action="store_true")
    arguments = parser.parse_args()
    tf_setup.configure(arguments.threads, seed=1)
    if arguments.what == "matmul":
        print(json.dumps({"GFLOP/s": matmul()}))
        return
    count = WARM + arguments.steps
    trainer, batches = made(*arguments.what.split("/"), arguments.records, arguments.batch, count, arguments.precision)
    if arguments.shares:
        print(json.dumps(shares(trainer, batches)))
        return
    times = [time.perf_counter()]
    trainer.train_one_epoch(in_time(batches, times), lambda _: times.append(time.perf_counter()))
    steps = [after - before for before, after in itertools.pairwise(times)][WARM:]
    figures = {"seconds/step": statistics.median(steps), "GFLOPs forward": flops(trainer.detector) / 1e9}
    print(json.dumps(figures))


def made(family: str, backbone: str, size: str, records: Path, batch: int, steps: int, precision: str):
    """A trainer as src/train.py makes one, and batches of the first epoch as they come from the training input."""
    from plantdoc.detector import detector
    from plantdoc.train import input_pipeline
    from plantdoc.train.lr_schedule import WarmupCosine
    from plantdoc.train.trainer import Trainer

    values = params.read(PARAMS)
    values["model"] |= {"family": family, "backbone": backbone, "size": size, "weights": "none"}
    values["train"] |= {"batch_size": batch, "frozen": 0.0, "precision": precision}
    settings = params.check(train_params.Params, values, PARAMS)
    strategy, precision = tf_setup.devices(settings.train.precision)
    about = input_pipeline.meta(records)
    form = detector.Config.of(settings.model, about.size, about.classes, {})
    rate = WarmupCosine(
        settings.lr,
        batch,
        input_pipeline.steps(about, batch),
        settings.train.epochs * input_pipeline.steps(about, batch),
    )
    trainer = Trainer(detector.Detector(form, None, precision), settings.train, rate, strategy)
    config = settings.train
    found = input_pipeline.train(records, 0, seed=1, batch_size=batch, flip=config.flip, mosaic=config.mosaic)
    few = list(found.take(4))  # memory is measured, too
    return trainer, list(itertools.islice(itertools.cycle(few), steps))


def in_time(batches: list[dict], times: list[float]) -> Iterator[dict]:
    """The batches, until those that count have taken long enough; `times` is when each step so far was over."""
    for number, batch in enumerate(batches):
        if number >= WARM + LEAST and times[-1] - times[WARM] > LONGEST:
            return
        yield batch


def flops(detector) -> int:
    """Of a forward pass of one picture, two per multiply and add; batch normalisation, losses and NMS left out."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    side = detector.config.image_size
    forward = tf.function(lambda images: detector.network(images, training=False))
    frozen = convert_variables_to_constants_v2(
        forward.get_concrete_function(tf.TensorSpec([1, side, side, 3], tf.float32))
    )
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output()
    return profiler.profile(frozen.graph, options=options.build()).total_float_ops


def matmul(side: int = 4096, times: int = 5) -> float:
    """GFLOP/s of the product of two large float32 matrices, the best of some."""
    import tensorflow as tf

    a = tf.random.stateless_uniform([side, side], (1, 2))
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        tf.linalg.matmul(a, a).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds) / 1e9


def shares(trainer, batches: list[dict]) -> dict[str, float]:
    """The parts of a step in its whole time, 0..1: each is what it takes more with this part than without it."""
    import tensorflow as tf

    network, variables = trainer.detector.network, trainer.detector.model.trainable_variables

    def forward(batch: dict) -> tf.Tensor:
        outputs = network(batch["images"], training=True)
        return tf.add_n([tf.reduce_sum(value) for value in outputs.values()])

    def loss(batch: dict) -> tf.Tensor:
        outputs = network(batch["images"], training=True)
        most = tf.reduce_max(tf.reduce_sum(tf.cast(batch["classes"] >= 0, tf.int32), axis=1))
        boxes, classes = batch["boxes"][:, :most], tf.cast(batch["classes"][:, :most], tf.float32)
        return tf.add_n(list(network.losses(batch["images"], boxes, classes, outputs).values()))

    def gradient(batch: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(batch)
        return tf.linalg.global_norm(tape.gradient(value, [v.value for v in variables]))

    calls = [tf.function(part, reduce_retracing=True) for part in (forward, loss, gradient)]
    calls.append(lambda batch: trainer.train_one_epoch([batch], lambda _: None))
    found: list[list[float]] = [[] for _ in calls]
    for batch in batches:  # in turns, since the minutes of a shared machine differ
        for call, seconds in zip(calls, found, strict=True):
            started = time.perf_counter()
            call(batch)  # on a CPU a function's end is that of its work
            seconds.append(time.perf_counter() - started)
    took = [0.0, *(statistics.median(seconds[WARM:]) for seconds in found)]
    names = ("forward", "assignment and losses", "backward", "optimizer and average")
    return {part: round((b - a) / took[-1], 3) for part, (a, b) in zip(names, itertools.pairwise(took), strict=True)}


if __name__ == "__main__":
    stage.run(main)
