"""Quality for time: mAP@50 on val after the same wall time of training from scratch, ours and Ultralytics YOLOv8n.

    python benchmarks/quality.py --minutes 30 60 --seeds 1 2 3            all of it: about 10 hours on 2 quiet cores
    python benchmarks/quality.py --minutes 30 --seeds 1 --side ours       one run: 33 minutes
    python benchmarks/quality.py --minutes --seeds                        no run, the table of those there are

Both sides get data/raw/train, choose their best epoch on data/raw/val, and are scored there by pycocotools; test is not
touched. They run one at a time on the same two cores. Each run that is not yet in results/benchmarks/quality.json is
made and written there when it is over, so that the command can be ended and given again at any time; a run counts as
there while benchmarks/quality/<minutes>.yaml, the pictures, seed and side are the same (--again makes it in any case).
Its predictions stay in .dvc/tmp/plantdoc/quality, for the bootstrap.

Ours: params.yaml with benchmarks/quality/<minutes>.yaml on top, in a folder of its own; the clock runs over
`src/augment.py` and `src/train.py`, and a run over its minutes does not count. Ultralytics: `yolo detect train` with
its defaults and `time=`, which bounds training; starting and its last validation come on top and are given to it.
The intervals are of 95 %, over pictures (the same draws for both) and seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
from pathlib import Path

import measure
import paired
import yolo
from trained import CORES, KEPT, OURS, THEIRS, counts, file, identity, make, name, predictions

from plantdoc import coco, guard, stage
from plantdoc.errors import UserError


def main() -> None:
    guard.end_on_terminate()
    arguments = parse()
    if hasattr(os, "sched_setaffinity"):  # with all that is started from here
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    raw, over = arguments.source.resolve(), []
    for minutes in arguments.minutes if OURS in arguments.side else []:
        if not file(minutes).exists():
            raise UserError(f"{file(minutes)} is missing: it holds our params for {minutes} minutes")
    with guard.only_one(KEPT / "lock", "this benchmark"):
        runs = read()
        wanted = [
            identity(side, minutes, seed, raw, arguments.size)
            for seed, minutes, side in itertools.product(arguments.seeds, arguments.minutes, arguments.side)
        ]
        lacking = [each for each in wanted if arguments.again or not any(counts(run, each) for run in runs)]
        for each in lacking:
            what = f"{each['side']}, {each['minutes']} minutes, seed {each['seed']}"
            print(what, file=sys.stderr, flush=True)
            run = make(each, raw)
            if run["over"]:
                over.append(f"{what}: {run['wall minutes']:.1f} minutes")
            runs = [other for other in runs if name(other) != name(run)] + [run]
            report(runs, raw, arguments.size)
        if not runs:
            raise UserError("there is no run yet to make a table of: name --minutes and --seeds")
        if not lacking:
            report(runs, raw, arguments.size)
    if over:
        raise UserError(f"over time, so not counted: {'; '.join(over)}: lower train.epochs in {file('<minutes>')}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs="*", default=[30, 60], help="default: 30 60")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3], help="default: 1 2 3")
    parser.add_argument("--side", choices=(OURS, THEIRS), nargs="+", default=[OURS, THEIRS], help="default: both")
    parser.add_argument("--source", type=Path, default=Path("data/raw"), help="default: data/raw")
    parser.add_argument("--size", type=int, default=320, help="px, of Ultralytics' input; default: 320")
    parser.add_argument("--again", action="store_true", help="also make runs that are there")
    return parser.parse_args()


def read() -> list[dict]:
    """The runs in results/benchmarks/quality.json."""
    written = measure.RESULTS / "quality.json"
    return json.loads(written.read_text())["runs"] if written.exists() else []


def report(runs: list[dict], raw: Path, size: int) -> None:
    """Write all runs, with a row per mark over those that count."""
    truth, rows, targets = coco.load(raw / "val"), [], []
    for minutes in sorted({run["minutes"] for run in runs}):
        sides = {}
        for side in (OURS, THEIRS):
            at = [run for run in runs if (run["side"], run["minutes"]) == (side, minutes)]
            sides[side] = [run for run in at if counts(run, identity(side, minutes, run["seed"], raw, size))]
        if len(codes := {run["code"] for run in sides[OURS]}) > 1:
            print(f"our runs of {minutes} minutes differ in code or params.yaml: {', '.join(codes)}", file=sys.stderr)
        found = {side: [paired.resampled(truth, predictions(run)) for run in of] for side, of in sides.items()}
        compared = paired.compare(found[OURS], found[THEIRS])
        row = {"minutes": minutes}
        for side, of in sides.items():
            row |= {f"{side}: seeds": len(of), f"{side}: mAP@50": compared[side][0] if of else None}
            row |= {f"{side}: 95 %": span(compared[side])}
            row |= {f"{side}: wall minutes": statistics.mean(run["wall minutes"] for run in of) if of else None}
        rows.append(row | {"difference": compared["difference"][0], "difference: 95 %": span(compared["difference"])})
        if all(sides.values()):
            what = f"mAP@50 of ours less Ultralytics' after {minutes} minutes, lower end of 95 %"
            targets.append(measure.target(what, compared["difference"][1], at_least=0.0))
    peers = [yolo.PEER] if any(run["side"] == THEIRS for run in runs) else []
    runs = sorted(runs, key=lambda run: (run["minutes"], run["side"], run["seed"]))
    measure.write("quality", rows, targets, peers=peers, runs=runs, samples=paired.SAMPLES)


def span(figures: tuple[float | None, ...]) -> str | None:
    return None if figures[0] is None else f"{figures[1]:.3f} to {figures[2]:.3f}"


if __name__ == "__main__":
    stage.run(main)
