"""results/cost.json: what the clock says. It is no stage output, so that it never enters dvc.lock."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import psutil

from plantdoc import hashing, stage

PATH = Path("results/cost.json")


def record(name: str, output: str, **figures: float) -> None:
    """Merge a stage's figures into results/cost.json, with the hash of the output they belong to.

    The hash tells a reader whether the figures are of this output: after a run-cache hit they are of an earlier one.
    """
    costs = json.loads(PATH.read_text()) if PATH.exists() else {}
    costs[name] = {key: round(value, 3) for key, value in figures.items()}
    costs[name]["machine"] = f"{platform.machine()}, {psutil.cpu_count()} cores"
    costs[name]["output"] = hashing.of_files([output], root=output if Path(output).is_dir() else Path(output).parent)
    with stage.replacing(PATH, folder=False) as path:
        path.write_text(json.dumps(costs, indent=1, sort_keys=True) + "\n")
