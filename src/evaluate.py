"""Score the detector on the test pictures, as it will be served: `dvc repro evaluate`.

Reads data/raw (the original pictures, not the TFRecords) and models/detector. The operating threshold, the score with
the best F1, is chosen on val; test is for reporting alone. Writes to results/evaluate:
metrics.json (COCO's figures with 95 % intervals, threshold, precision and recall), plots/ (for `dvc plots show`),
predictions.json (COCO results form) and pictures/ (truth and predictions side by side).

Costs about 0.03 s a picture of test and val on two cores, and a few seconds for the rest.
"""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np

from plantdoc.coco import dataset, metrics
from plantdoc.core import cost, params, stage
from plantdoc.core.errors import UserError
from plantdoc.detector import tf_setup
from plantdoc.evaluate import bootstrap, curves, evaluate_params
from plantdoc.tracking import wandb_run
from plantdoc.visualize import gallery

VAL, TEST, SOURCE, MODEL = "data/raw/val", "data/raw/test", "data/raw/source.json", "models/detector"
METRICS, PLOTS = "results/evaluate/metrics.json", "results/evaluate/plots"
PREDICTIONS, PICTURES = "results/evaluate/predictions.json", "results/evaluate/pictures"


def main() -> None:
    started = time.monotonic()
    settings = params.load(evaluate_params.Params)
    val, test = split_with_boxes(VAL), split_with_boxes(TEST)
    tf_setup.configure(settings.train.threads, settings.seed)

    from plantdoc.detector import detector
    from plantdoc.serving import predictions, served_model

    model = detector.load(MODEL)
    server = served_model.Server(model)
    found_on_val = predictions.predict(server.serve, VAL, val.pictures, val.classes)
    tested = time.monotonic()
    found = predictions.predict(server.serve, TEST, test.pictures, test.classes)
    seconds = (time.monotonic() - tested) / len(test.pictures)

    threshold = curves.operating_threshold(metrics.evaluate(val, found_on_val))
    result = metrics.evaluate(test, found)
    figures = {
        **metrics.figures(result),
        **bootstrap.intervals(result, settings.evaluate.bootstrap, settings.seed),
        **curves.at_threshold(result, threshold),
        "threshold": threshold,
        "pictures": len(test.pictures),
        "boxes": sum(len(picture.boxes) for picture in test.pictures),
    }
    f1 = curves.f1_of_pictures(result, threshold)
    chosen = gallery.choose(test, f1, settings.evaluate.pictures, settings.seed)

    with stage.replacing(PLOTS) as folder:
        write_plots(folder, test, result, curves.confusion(test, found, threshold))
    with stage.replacing(PICTURES) as folder:
        draw_pictures(folder, chosen, test, found, f1, threshold)
    with stage.replacing(PREDICTIONS, folder=False) as path:
        write_rows(path, found)
    with stage.replacing(METRICS, folder=False) as path:
        path.write_text(json.dumps(rounded(figures), indent=1, sort_keys=True) + "\n")
    cost.record("evaluate", PREDICTIONS, seconds_per_picture=seconds, minutes=(time.monotonic() - started) / 60)
    with wandb_run.run("evaluate", model.config.made_from) as tracker:
        tracker.scores(rounded(figures))
        tracker.pictures(test, TEST, found)
        tracker.model(MODEL)


def split_with_boxes(folder: str) -> dataset.Split:
    """The split in `folder`; a UserError if no box is in it."""
    split = dataset.load(folder)
    if not any(picture.boxes for picture in split.pictures):
        what = "to choose the operating threshold on" if folder == VAL else "to score on"
        raise UserError(
            f"{folder} has {len(split.pictures)} pictures and no box, so there is nothing {what}: "
            "give the source labelled pictures for it (results/fetch/report.md says what was dropped), "
            + ("or raise fetch.val_fraction" if folder == VAL else "in its test part")
        )
    return split


def write_plots(folder: Path, test: dataset.Split, result, pairs: list[tuple[str, str]]) -> None:
    """The files that dvc.yaml lists under `plots`."""
    recall, by_class = curves.precision_recall(test, result)
    mean = np.mean(list(by_class.values()), axis=0)
    rows = [
        rounded({"recall": recall[i], "precision": mean[i]} | {f"precision: {n}": c[i] for n, c in by_class.items()})
        for i in range(len(recall))
    ]
    write_rows(folder / "precision_recall.json", rows)
    write_csv(folder / "confusion.csv", [{"actual": a, "predicted": p} for a, p in pairs], ("actual", "predicted"))
    per_class = sorted(metrics.per_class(test, result), key=lambda row: (-(row["ap50"] or 0), row["class"]))
    write_csv(folder / "per_class.csv", map(rounded, per_class), ("class", "pictures", "boxes", "ap", "ap50"))


def draw_pictures(
    folder: Path, chosen: dict, test: dataset.Split, found: list[dict], f1: dict, threshold: float
) -> None:
    """One JPEG per chosen picture, named by why it was chosen."""
    note = json.loads(Path(SOURCE).read_text(encoding="utf-8"))["note"]
    for name, picture in chosen.items():
        title = f"{picture.file_name}: F1 {f1[picture.id]:.2f}" + (f" ({note})" if note else "")
        rows = [row for row in found if row["image_id"] == picture.id]
        gallery.draw(picture, TEST, test.classes, rows, threshold, title).save(folder / f"{name}.jpg", quality=88)


def rounded(figures: dict) -> dict:
    """Floats to six places: beyond them is noise, not score."""
    return {key: round(float(v), 6) if isinstance(v, float) else v for key, v in figures.items()}


def write_rows(path: Path, rows: list[dict]) -> None:
    """A JSON list with one row a line, so that git and people can read it."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def write_csv(path: Path, rows, columns: tuple[str, ...]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    stage.run(main)
