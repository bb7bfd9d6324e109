"""Results of the train stage besides the model: curves for `dvc plots` and the best epoch's figures.

Nothing in them comes from a clock.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from plantdoc.core import stage
from plantdoc.train.checkpoint import Progress

RESULTS = Path("results/train")


def write(done: Progress) -> None:
    """Write results/train/live and results/train/metrics.json."""
    from dvclive import Live  # pyright: ignore[reportPrivateImportUsage]  # its public name by its documentation

    with stage.replacing(RESULTS / "live") as folder:
        with Live(str(folder), dvcyaml=None, save_dvc_exp=False) as live:
            for row in done.history:
                for name in ("box", "class", "lr"):
                    live.log_metric(f"train/{name}", row[name])
                for name in ("map", "map50"):
                    if f"val_{name}" in row:
                        live.log_metric(f"val/{name}", row[f"val_{name}"])
                live.next_step()
        (folder / "metrics.json").unlink()  # the last epoch's; metrics.json beside has those of the best
    best = done.history[done.best_epoch - 1]
    figures = {
        "val_map": round(best["val_map"], 6),
        "val_map50": round(best["val_map50"], 6),
        "best_epoch": done.best_epoch,
        "epochs": done.epochs,
    }
    with stage.replacing(RESULTS / "metrics.json", folder=False) as path:
        path.write_text(json.dumps(figures, indent=1) + "\n")


def read_curves() -> dict[int, dict[str, float]]:
    """The rows that `write` has written, by epoch from 1."""
    rows: dict[int, dict[str, float]] = {}
    for path in sorted((RESULTS / "live/plots/metrics").glob("*/*.tsv")):
        name = f"val_{path.stem}" if path.parent.name == "val" else path.stem
        with open(path, newline="") as file:
            for line in csv.DictReader(file, delimiter="\t"):
                rows.setdefault(int(line["step"]) + 1, {})[name] = float(line[path.stem])
    return rows
