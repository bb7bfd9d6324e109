"""Training: pictures per second, peak memory and share of the processor's peak of a step, ours and YOLOv8n's.

    python benchmarks/train_speed.py                             22 minutes on 2 quiet cores
    python benchmarks/train_speed.py --models yolov8/yolov8/xs   one model against Ultralytics', about 10 minutes

Every measurement is a process of its own on the same two cores, in turns. Ours: the trainer of src/train.py on fixed
batches of data/tfrecords (benchmarks/train_step.py). Ultralytics: `yolo detect train` with all its pictures in memory
and its augmentation off, so that nearly nothing but the step is left; what counts is its second epoch. As it comes it
leaves a core free, so it is measured with a thread for each core as well. All in float32, from scratch, of 16 pictures.
Memory is the peak of the process, libraries included. A step is counted as three forward passes; the peak is that of a
product of 4096 x 4096 matrices in the same minutes. A forward pass has the FLOPs that TensorFlow's profiler counts, or
that `yolo` says, at the size of the pictures.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
import typing
from pathlib import Path

import measure
import yolo_cli

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import stage
from plantdoc.detector import model_params
from plantdoc.records import shards

DEFAULT = "compact/compact/xs"  # of ours, the one meant for CPUs
TOO_SLOW = ("retinanet/yolov8/s",)
YOLO, EACH, PEAK = "Ultralytics YOLOv8n", "Ultralytics YOLOv8n, a thread per core", "matmul"
CORES, BATCH = 2, 16
PLAIN = {"mosaic": 0, "close_mosaic": 0, "hsv_h": 0, "hsv_s": 0, "hsv_v": 0, "translate": 0, "scale": 0, "fliplr": 0}


def main() -> None:
    arguments = parse()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    source = arguments.source.resolve()
    size = shards.meta(source / "tfrecords").size
    theirs = {
        name: functools.partial(ultralytics, source / "raw", size, arguments.steps, threads)
        for name, threads in ((YOLO, None), (EACH, CORES))
    }
    sides = {each: functools.partial(ours, each, source / "tfrecords", arguments.steps) for each in arguments.models}
    first = {name: sides.pop(name) for name in (DEFAULT,) if name in sides}
    found = measure.in_turns({PEAK: peak, **theirs, **first}, arguments.rounds)
    found |= measure.in_turns(sides, arguments.other_rounds)
    best = measure.medians(found.pop(PEAK))["GFLOP/s"]
    rows = [row(name, each, found[YOLO], best) for name, each in found.items()]
    targets, more = [], {}
    if DEFAULT in found:
        rate = {each["model"]: each["pictures/s"] for each in rows}
        for name, how in ((YOLO, "as it comes"), (EACH, "a thread per core")):
            what = f"pictures/s of {DEFAULT} against YOLOv8n's, {how}"
            targets.append(measure.target(what, rate[DEFAULT] / rate[name], at_least=2.0))
        more["shares"] = asked(DEFAULT, str(source / "tfrecords"), "--shares", f"--steps={arguments.steps}")[0]
    more |= {"peak GFLOP/s": best, "px": size, "batch": BATCH, "cores": CORES, "rounds": found}
    measure.write("train_speed", rows, targets, peers=[yolo_cli.PEER], **more)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=models(), metavar="FAMILY/BACKBONE/SIZE")
    parser.add_argument(
        "--source", type=Path, default=Path("data"), help="folder with raw and tfrecords; default: data"
    )
    parser.add_argument("--steps", type=int, default=10, help="that count, in each measurement")
    parser.add_argument("--rounds", type=int, default=5, help=f"of Ultralytics and {DEFAULT}")
    parser.add_argument("--other-rounds", type=int, default=2, help="of the other models")
    return parser.parse_args()


def models() -> list[str]:
    """Each family on its own backbone, else on yolov8's, in the two smallest sizes; and yolov8 on mobilenet_v2."""
    fields = model_params.Model.model_fields
    kinds = {key: typing.get_args(fields[key].annotation) for key in ("family", "backbone", "size")}
    found = [
        f"{family}/{family if family in kinds['backbone'] else 'yolov8'}/{size}"
        for family in kinds["family"]
        for size in kinds["size"][:2]
    ]
    return [each for each in dict.fromkeys([DEFAULT, *found, "yolov8/mobilenet_v2/xs"]) if each not in TOO_SLOW]


def ours(model: str, tfrecords: Path, steps: int) -> measure.Row:
    """A measurement of one of our models."""
    found, memory = asked(model, str(tfrecords), f"--steps={steps}", f"--batch={BATCH}")
    return {
        "pictures/s": BATCH / found["seconds/step"],
        "peak MB": memory,
        "GFLOPs per picture": 3 * found["GFLOPs forward"],
    }


def peak() -> measure.Row:
    return asked("matmul")[0]


def asked(*arguments: str) -> tuple[dict, float]:
    """What benchmarks/train_step.py prints, and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).with_name("train_step.py")), f"--threads={CORES}", *arguments]
        ran = yolo_cli.timed(command, measure.ROOT, Path(folder, "step.log"))
    line = next(line for line in reversed(ran.said.splitlines()) if line.startswith("{"))
    return json.loads(line), ran.memory


def ultralytics(raw: Path, size: int, steps: int, threads: int | None) -> measure.Row:
    """A measurement of Ultralytics YOLOv8n: its second epoch of three, since it validates after the last."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = yolo_cli.dataset(raw, work / "data", {"train": steps * BATCH, "val": 1})
        settings = {"epochs": 3, "batch": BATCH, "val": False, "save": False, "cache": "ram", **PLAIN}
        ran, results = yolo_cli.train(work, data, size, 1, threads=threads, **settings)
        first, second, _ = yolo_cli.epochs(results)
        pictures = len(list((work / "data/images/train").iterdir()))
    forward = yolo_cli.gflops(ran.said) * (size / 640) ** 2
    seconds = second["time"] - first["time"]
    return {"pictures/s": pictures / seconds, "peak MB": ran.memory, "GFLOPs per picture": 3 * forward}


def row(name: str, found: list[measure.Row], theirs: list[measure.Row], best: float) -> measure.Row:
    figures = measure.medians(found)
    return {
        "model": name,
        **figures,
        "share of peak": figures["pictures/s"] * figures["GFLOPs per picture"] / best,
        "against YOLOv8n": figures["pictures/s"] / measure.medians(theirs)["pictures/s"],
        "rounds": len(found),
    }


if __name__ == "__main__":
    stage.run(main)
