"""One run of quality.py: a side trained for some minutes with a seed, and what it then finds in val.

A run is a dict, as it stands in results/benchmarks/quality.json.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import measure
import yolo_cli

sys.path.insert(0, str(measure.ROOT / "scripts"))

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import recipe

from plantdoc.coco import dataset, metrics
from plantdoc.core import hashing, params
from plantdoc.evaluate import bootstrap

OURS, THEIRS = "ours", "ultralytics"
MARKS = measure.ROOT / "benchmarks/quality"
LOCKS = ("requirements.txt", "requirements-train.txt", "requirements-gpu.txt")
SNAPSHOT = ("src", "scripts", "benchmarks", "params.yaml", "dvc.yaml", *LOCKS)  # what our side runs on
CORES, SAMPLES = 2, 1000


def identity(side: str, minutes: int, seed: int, raw: Path, size: int) -> dict:
    """What tells a run from others: it counts as long as all of this is the same."""
    if side == OURS:
        settings = dict(recipe.leaves(params.read(file(minutes)))) if file(minutes).exists() else {}
    else:
        settings = {"model": yolo_cli.MODEL, "imgsz": size, "time": minutes / 60}
    pictures = hashing.of_files([raw / f"{part}/annotations.json" for part in ("train", "val")], root=raw)
    return {"side": side, "minutes": minutes, "seed": seed, "params": settings, "pictures": pictures[:16]}


def file(minutes: int | str) -> Path:
    """Our params for a mark, in the form of recipes/."""
    return MARKS / f"{minutes}.yaml"


def counts(run: dict, wanted: dict) -> bool:
    """Whether a run is one of those wanted, and was in time."""
    return not run["over"] and all(run[key] == value for key, value in wanted.items())


def name(run: dict) -> tuple[str, int, int]:
    """What a run is of; a later one of the same name takes its place."""
    return run["side"], run["minutes"], run["seed"]


def make(wanted: dict, raw: Path) -> dict:
    """Make the run that `identity` names."""
    return wanted | (ours if wanted["side"] == OURS else theirs)(wanted, raw)


def ours(wanted: dict, raw: Path) -> dict:
    """Augment and train in a copy of the repository, then ask the detector about val."""
    with tempfile.TemporaryDirectory() as folder:
        work = copy(Path(folder), raw)
        code = hashing.of_files([work / "src", work / "params.yaml"], root=work)[:16]
        settings = wanted["params"] | {"seed": wanted["seed"], "train.threads": CORES, "runner.kind": "local"}
        recipe.apply(settings, work / "params.yaml")
        quiet = {"WANDB_MODE": "disabled", "PYTHONDONTWRITEBYTECODE": "1"}
        steps = [
            yolo_cli.timed([sys.executable, f"src/{step}.py"], work, work / f"{step}.log", quiet)
            for step in ("augment", "train")
        ]
        out = work / "found.json.gz"
        yolo_cli.timed(
            [sys.executable, "benchmarks/detect.py", "data/raw/val", str(out)], work, work / "detect.log", quiet
        )
        trained = json.loads((work / "results/train/metrics.json").read_text())
        found = json.loads(gzip.decompress(out.read_bytes()))
    about = {"epochs": trained["epochs"], "best epoch": trained["best_epoch"], "code": code}
    return scored(wanted, raw, found, steps) | about | {"about": measure.about()}


def copy(work: Path, raw: Path) -> Path:
    """A workspace with the code as it is now and the pictures as a link."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z", *SNAPSHOT],
        cwd=measure.ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for each in filter(None, listed.stdout.split("\0")):
        if (measure.ROOT / each).is_file():
            (work / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(measure.ROOT / each, work / each)
    (work / "data").mkdir()
    (work / "data/raw").symlink_to(raw)
    return work


def theirs(wanted: dict, raw: Path) -> dict:
    """Train by Ultralytics' command line, and have it tell what it finds in val."""
    with tempfile.TemporaryDirectory() as folder:
        work, size = Path(folder), wanted["params"]["imgsz"]
        data = yolo_cli.dataset(raw, work / "data")
        ran, results = yolo_cli.train(work, data, size, wanted["seed"], time=wanted["params"]["time"])
        rows = yolo_cli.epochs(results)
        best = max(range(len(rows)), key=lambda i: rows[i]["metrics/mAP50-95(B)"])
        found = yolo_cli.validate(work, data, results / "weights/best.pt", size)
    about = {"epochs": len(rows), "best epoch": best + 1, "code": None}
    # Its minutes are those that it was given: what it takes beyond them is no fault.
    return scored(wanted, raw, found, [ran]) | about | {"over": False, "about": measure.about([yolo_cli.PEER])}


def scored(wanted: dict, raw: Path, found: list[dict], steps: list[yolo_cli.Ran]) -> dict:
    """The scores of a run on val, with intervals over pictures, and what it took."""
    result = metrics.evaluate(dataset.load(raw / "val"), found)
    minutes = sum(step.seconds for step in steps) / 60
    return {
        "wall minutes": round(minutes, 4),
        "cpu minutes": round(sum(step.processor for step in steps) / 60, 4),
        "peak MB": round(max(step.memory for step in steps)),
        "over": minutes > wanted["minutes"],
        **{key: round(value, 4) for key, value in metrics.figures(result).items() if key in ("map", "map50")},
        **{key: round(value, 4) for key, value in bootstrap.intervals(result, SAMPLES, seed=0).items()},
    }
