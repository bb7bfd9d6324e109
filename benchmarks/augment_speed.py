"""The augment stage against the ways that others turn pictures into TFRecords, on one core, and against its floor.

    python benchmarks/augment_speed.py                        300 pictures of data/raw at 320 px, 5 rounds
    python benchmarks/augment_speed.py --source DIR --size 416  pictures of another folder made by the fetch stage
    python benchmarks/augment_speed.py --pictures 40 --rounds 1  a look, in a minute
    python benchmarks/augment_speed.py --only kerascv floor   without the others, and without the peers' environments

Sides, each a process of one thread on the same core, in turns; what counts is processor time, so a picture's second is
that of a core. Start-up, imports, tracing and a first pass do not count.

    ours                what a worker of src/augment.py does: one variant of each picture, into a shard
    KerasCV             layers over ragged batches in tf.data, see benchmarks/peers/kerascv_layers.py: in the order of
                        KerasCV's guide, on which the target is; then what a careful reader makes of it, the resize
                        first: with the operations of ours, without the rotation, and stored as tensors
    TFRecorder's way    Beam and base64 of raw pixels, see benchmarks/peers/tfrecorder_pipeline.py; nothing is augmented
    decode, encode      the floor: Pillow's decoder as ours uses it, Pillow's encoder on squares, and both

and the whole stage, 4 variants of each, by two processes on two cores, which is told by the clock. Needs the peers'
environments (`make bench-peers`). About 7 minutes on two cores. Writes results/benchmarks/augment_speed.json.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import augment_methods
import measure
from PIL import Image, ImageFile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import augment
from plantdoc.augment import augment_params, transforms
from plantdoc.core import params, stage
from plantdoc.core.errors import UserError
from plantdoc.records import shards, tfrecord

COPIES = 4  # variants of each picture when the whole stage runs
WHOLE = "ours, whole stage, 2 processes"
# Where the time of ours goes: the functions that do each step. What one of them calls counts for the inner one alone.
STEPS = {
    "decode": [(Image, "open"), (ImageFile.ImageFile, "load")],
    "warp": [(transforms, "warp")],
    "colour": [(transforms, "colour_matrix"), (Image.Image, "convert"), (Image.Image, "paste")],
    "encode": [(Image.Image, "save")],
    "record": [(shards.Record, "serialise")],
    "checksum": [(tfrecord, "frame")],
}


def main() -> None:
    arguments = parse()
    settings = params.load(augment_params.Params)
    config = settings.augment.model_copy(update={"size": arguments.size or settings.augment.size, "copies": COPIES})
    with tempfile.TemporaryDirectory(prefix="augment-") as made, contextlib.ExitStack() as ends:
        folder = Path(made)
        classes, found = augment.read_sources(arguments.source, "train")
        work = augment_methods.Work(
            arguments.source, folder, config, settings.seed, classes, found[: arguments.pictures]
        )
        if not work.pictures:
            raise UserError(f"{arguments.source} holds no training pictures")
        sides: dict[str, augment_methods.Side] = {"ours": lambda: augment_methods.ours(work)}
        if "kerascv" in arguments.only:
            sides |= augment_methods.kerascv(work, ends, arguments.core)
        if "tfrecorder" in arguments.only:
            sides |= augment_methods.tfrecorder(work, ends, arguments.core)
        if "floor" in arguments.only:
            sides |= augment_methods.floor(work)
        with augment_methods.pinned(arguments.core):
            for side in sides.values():
                side()
            rounds = measure.in_turns(sides, arguments.rounds)
            shares = profile(work)
        if "whole" in arguments.only:
            rounds |= measure.in_turns({WHOLE: lambda: augment_methods.build(work)}, arguments.rounds)
        rows = table(rounds)
        held = inside(folder / "ours")
    peers = ["tfrecorder"] if "tfrecorder" in arguments.only else []
    about = {"size": config.size, "pictures": len(work.pictures), "profile_of_ours": shares, "rounds": rounds}
    measure.write("augment_speed", rows, targets(rows, held), peers, **about)
    print("ours:", ", ".join(f"{step} {share:.0%}" for step, share in shares.items()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("data/raw"), help="folder made by the fetch stage")
    parser.add_argument("--size", type=int, default=320, help="px, side of the squares; 0: augment.size of params.yaml")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    groups = ("kerascv", "tfrecorder", "floor", "whole")
    parser.add_argument("--only", nargs="+", choices=groups, default=groups, help="what to hold ours against")
    parser.add_argument("--core", type=int, default=0, help="all sides run on it")
    return parser.parse_args()


def profile(work: augment_methods.Work) -> dict[str, float]:
    """The share of its time that each step of ours takes; `rest` is random numbers, boxes and writing."""
    seconds, inner = dict.fromkeys(STEPS, 0.0), [0.0]

    def watched(step: str, function: Callable) -> Callable:
        def call(*arguments, **options):
            inner.append(0.0)
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                took = time.perf_counter() - started
                seconds[step] += took - inner.pop()
                inner[-1] += took

        return call

    with contextlib.ExitStack() as ends:
        for step, places in STEPS.items():
            for owner, name in places:
                function = getattr(owner, name)
                ends.callback(setattr, owner, name, function)
                setattr(owner, name, watched(step, function))
        started = time.perf_counter()
        augment_methods.ours(work)
        whole = time.perf_counter() - started
    shares = seconds | {"rest": whole - sum(seconds.values())}
    return {step: round(took / whole, 3) for step, took in shares.items()}


def table(rounds: dict[str, list[measure.Row]]) -> list[measure.Row]:
    """A line per side: its medians, and how it compares with ours, as the ratio of medians."""
    found = {name: measure.medians(rows) for name, rows in rounds.items()}
    mine = found["ours"]
    rows = []
    for name, row in found.items():
        written = row["bytes/picture"]
        rows.append(
            {"side": name}
            | row
            | {
                "time, ours = 1": row["ms/picture"] / mine["ms/picture"],
                "bytes, ours = 1": written and written / mine["bytes/picture"],
            }
        )
    return rows


def targets(rows: list[measure.Row], held: float) -> list[dict]:
    """What was to hold; `held` is the bytes of the JPEGs inside our records, per picture."""
    row = {each["side"]: each for each in rows}
    found, theirs = [], "KerasCV, guide's order"
    if theirs in row:
        ratio = row[theirs]["time, ours = 1"]
        found.append(measure.target(f"pictures a core, ours against {theirs}", ratio, at_least=4))
    mine = row["ours"]["bytes/picture"]
    found.append(measure.target("bytes of our TFRecords against those of the JPEGs in them", mine / held, at_most=1.3))
    return found + [
        measure.target(f"bytes of ours against {name}", mine / row[name]["bytes/picture"], at_most=0.1)
        for name in augment_methods.BEAM
        if name in row
    ]


def inside(folder: Path) -> float:
    """The mean size of the JPEGs in a folder's shards, bytes."""
    sizes = [len(record.jpeg) for path in folder.iterdir() for record in shards.read(path)]
    return sum(sizes) / len(sizes)


if __name__ == "__main__":
    stage.run(main)
