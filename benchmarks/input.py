"""The training input against what the model consumes: which of the two waits for the other.

    python benchmarks/input.py                      data/tfrecords and params.yaml of this workspace, 5 rounds
    python benchmarks/input.py --records DIR        TFRecords of another folder made by the augment stage
    python benchmarks/input.py --rounds 1 --seconds 2

In turns, with the threads that `train.threads` says, on the cores that this process may use:

    input               batches of plantdoc/train/input_pipeline.py alone: read, decoded, flipped, made into mosaics,
                        put together, cast
    input, no mosaic    the same as it is in the last epochs (train.plain_epochs)
    model               training steps of `model` and `train` of params.yaml on one batch that lies in memory
    both                training steps on the input, as src/train.py does it

On a CPU input and model share the cores, so `both` is slower than `model` even where nothing waits; the processor time
of a picture says what the input takes away. On a GPU they do not. The model starts with random weights and a learning
rate of 0, which changes no time. About 4 minutes on two cores. Writes results/benchmarks/input.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import measure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import params, stage
from plantdoc.detector import tf_setup
from plantdoc.train import train_params

WARM = 3  # batches that do not count, of each side and round


@dataclass(frozen=True)
class Side:
    """`batches(n)` gives n batches, `use` goes through them."""

    batches: Callable[[int], Iterable[dict]]
    use: Callable[[Iterable[dict]], None]
    steps: int
    batch_size: int

    def __call__(self) -> measure.Row:
        batches = iter(self.batches(WARM + self.steps))
        self.use(islice(batches, WARM))  # an epoch's first batches wait for a window of records to be shuffled
        wall, processor = time.perf_counter(), time.process_time()
        self.use(batches)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        count = self.steps * self.batch_size
        return {"pictures/s": count / wall, "ms of a core/picture": 1000 * processor / count}


def main() -> None:
    arguments = parse()
    settings = params.load(train_params.Params)
    tf_setup.configure(settings.train.threads, settings.seed)
    import tensorflow as tf

    from plantdoc.train import input_pipeline

    config, meta = settings.train, input_pipeline.meta(arguments.records)
    strategy, precision = tf_setup.devices(config.precision)
    trainer = build(settings, meta, strategy, precision)

    def fed(mosaic: float) -> Callable[[int], Iterable[dict]]:
        return lambda count: islice(endless(arguments.records, settings, mosaic), count)

    def train(batches: Iterable[dict]) -> None:
        trainer.train_one_epoch(batches, lambda _: None)

    one = next(iter(fed(config.mosaic)(1)))
    train([one] * WARM)  # traces and compiles
    per_step = timed(lambda: train([one] * WARM)) / WARM
    per_batch = timed(lambda: draw(fed(config.mosaic)(4 * WARM))) / (4 * WARM)
    steps = {
        "model": max(WARM, round(arguments.seconds / per_step)),
        "input": max(WARM, round(arguments.seconds / per_batch)),
    }
    size = config.batch_size
    sides = {
        "input": Side(fed(config.mosaic), draw, steps["input"], size),
        "input, no mosaic": Side(fed(0.0), draw, steps["input"], size),
        "model": Side(lambda count: [one] * count, train, steps["model"], size),
        "both": Side(fed(config.mosaic), train, steps["model"], size),
    }
    rounds = measure.in_turns(sides, arguments.rounds)
    found = {name: measure.medians(rows) for name, rows in rounds.items()}
    model = found["model"]["pictures/s"]
    rows = [{"side": name} | row | {"model = 1": row["pictures/s"] / model} for name, row in found.items()]
    gpus = tf.config.list_physical_devices("GPU")
    names = [str(tf.config.experimental.get_device_details(gpu).get("device_name")) for gpu in gpus]
    measure.write(
        "input",
        rows,
        [measure.target("pictures/s, input against model", rows[0]["model = 1"], at_least=2)],
        model=f"{settings.model.family} {settings.model.backbone} {settings.model.size}, {meta.size} px, batches of "
        f"{size}, {precision}, {config.threads} threads",
        device=", ".join(names) or "CPU alone; on a GPU it is unmeasured",
        rounds=rounds,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=Path("data/tfrecords"), help="made by the augment stage")
    parser.add_argument("--seconds", type=float, default=8.0, help="about so long for each side and round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def build(settings: train_params.Params, meta, strategy, precision: str):
    """A plantdoc.train.trainer.Trainer as src/train.py makes it, but for weights and learning rate."""
    from plantdoc.detector import detector
    from plantdoc.train.lr_schedule import WarmupCosine
    from plantdoc.train.trainer import Trainer

    with strategy.scope():
        form = detector.Config.of(settings.model, meta.size, meta.classes, {})
        model = detector.Detector(form, None, precision)
    return Trainer(model, settings.train, WarmupCosine(0.0, settings.train.batch_size, 0, 1), strategy)


def endless(folder: Path, settings: train_params.Params, mosaic: float) -> Iterable[dict]:
    """The batches of one epoch after another."""
    from plantdoc.train import input_pipeline

    config, epoch = settings.train, 0
    while True:
        yield from input_pipeline.train(
            folder, epoch, seed=settings.seed, batch_size=config.batch_size, flip=config.flip, mosaic=mosaic
        )
        epoch += 1


def draw(batches: Iterable[dict]) -> None:
    """Take all batches and leave them."""
    for _ in batches:
        pass


def timed(work: Callable[[], None]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    stage.run(main)
