"""Quality for time: mAP@50 on val after the same wall time of training from scratch, ours and Ultralytics YOLOv8n.

    python benchmarks/quality.py --minutes 30 60 --seeds 1 2 3            all of it: about 10 hours on 2 quiet cores
    python benchmarks/quality.py --minutes 30 --seeds 1 --side ours       one run: 33 minutes
    python benchmarks/quality.py --minutes --seeds                        no run, the table of those there are

Both sides get data/raw/train, choose their best epoch on data/raw/val, and are scored there by pycocotools; test is not
touched. They run one at a time on the same two cores. Each run that is not yet in results/benchmarks/quality.json is
made and written there when it is over, so that the command can be ended and given again at any time; a run counts as
there while benchmarks/quality/<minutes>.yaml, the pictures, seed and side are the same (--again makes it in any case).

Ours: params.yaml with benchmarks/quality/<minutes>.yaml on top, in a folder of its own; the clock runs over
`src/augment.py` and `src/train.py`, and a run over its minutes does not count. Ultralytics: `yolo detect train` with
its defaults and `time=`, which bounds training; starting and its last validation come on top and are given to it.
A run's interval is of 95 %, by a bootstrap over pictures; that of a side goes from the lowest end over its seeds to the
highest. Ours is above when its lowest end is above Ultralytics' highest.
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
from quality_run import CORES, OURS, THEIRS, counts, file, identity, make, name

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import processes, stage
from plantdoc.core.errors import UserError


def main() -> None:
    processes.end_on_terminate()
    arguments = parse()
    if hasattr(os, "sched_setaffinity"):  # with all that is started from here
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    raw, over = arguments.source.resolve(), []
    for minutes in arguments.minutes if OURS in arguments.side else []:
        if not file(minutes).exists():
            raise UserError(f"{file(minutes)} is missing: it holds our params for {minutes} minutes")
    with processes.only_one(measure.ROOT / ".dvc/tmp/plantdoc/quality.lock", "this benchmark"):
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
    rows, targets = [], []
    for minutes in sorted({run["minutes"] for run in runs}):
        row, found = {"minutes": minutes}, {}
        for side in (OURS, THEIRS):
            at = [run for run in runs if (run["side"], run["minutes"]) == (side, minutes)]
            of = [run for run in at if counts(run, identity(side, minutes, run["seed"], raw, size))]
            if len(codes := {run["code"] for run in of}) > 1:
                print(f"runs of {minutes} minutes differ in code or params.yaml: {', '.join(codes)}", file=sys.stderr)
            if of:
                found[side] = summary(of)
            mean, low, high, wall = found.get(side, [None] * 4)
            row |= {f"{side}: seeds": len(of), f"{side}: mAP@50": mean}
            row |= {f"{side}: 95 %": f"{low:.3f} to {high:.3f}" if of else None, f"{side}: wall minutes": wall}
        rows.append(row | {"difference": found[OURS][0] - found[THEIRS][0] if len(found) == 2 else None})
        if len(found) == 2:
            what = f"mAP@50 after {minutes} minutes: lowest end of ours less highest end of Ultralytics'"
            targets.append(measure.target(what, found[OURS][1] - found[THEIRS][2], at_least=0.0))
    runs = sorted(runs, key=lambda run: (run["minutes"], run["side"], run["seed"]))
    measure.write("quality", rows, targets, about=about(runs), runs=runs)


def summary(runs: list[dict]) -> tuple[float, float, float, float]:
    """Mean mAP@50, the lowest and highest end of its intervals, and mean minutes, of a side's runs."""
    mean = statistics.mean(run["map50"] for run in runs)
    low, high = min(run["map50_low"] for run in runs), max(run["map50_high"] for run in runs)
    return mean, low, high, statistics.mean(run["wall minutes"] for run in runs)


def about(runs: list[dict]) -> dict[str, str]:
    """When, on what, and with which versions the runs were made."""
    names = dict.fromkeys(key for run in runs for key in run["about"])
    return {key: " and ".join(sorted({run["about"][key] for run in runs if key in run["about"]})) for key in names}


if __name__ == "__main__":
    stage.run(main)
