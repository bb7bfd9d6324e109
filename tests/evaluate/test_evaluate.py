"""What src/evaluate.py leaves in a pipeline that has run, and in process what it says of known answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import evaluated_repo
import pytest
import rectangle_detector
import small_repo
from PIL import Image

from plantdoc.coco import dataset
from plantdoc.coco.dataset import Box, Picture, Split
from plantdoc.core.errors import UserError


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("[!.]*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.full
def test_another_process_writes_the_same_bytes(tmp_path):
    folder = small_repo.finished(tmp_path / "repository")
    made = contents(folder / "results/evaluate")
    evaluated_repo.run(folder, "evaluate", PYTHONHASHSEED="2")
    assert contents(folder / "results/evaluate") == made


@pytest.mark.slow
def test_the_stage_writes_all_its_outputs(tmp_path):
    folder = small_repo.finished(tmp_path / "repository")
    made = contents(folder / "results/evaluate")
    assert set(made) == {
        "metrics.json",
        "predictions.json",
        *(f"plots/{name}" for name in ("precision_recall.json", "confusion.csv", "per_class.csv")),
        *(f"pictures/{kind}-1.jpg" for kind in ("best", "worst", "random")),
    }
    metrics, rows = json.loads(made["metrics.json"]), json.loads(made["predictions.json"])
    split = dataset.load(folder / "data/raw/test")
    assert metrics["pictures"] == len(split.pictures)
    assert 0 <= metrics["map50_low"] <= metrics["map50"] <= metrics["map50_high"] <= 1
    assert None not in metrics.values()
    sizes = {picture.id: (picture.width, picture.height) for picture in split.pictures}
    assert {row["image_id"] for row in rows} <= set(sizes) and rows
    for row in rows:
        x, y, w, h = row["bbox"]
        width, height = sizes[row["image_id"]]
        assert x >= 0 and y >= 0 and w >= 0 and h >= 0 and x + w <= width + 0.002 and y + h <= height + 0.002
    cost = json.loads((folder / "results/cost.json").read_text())["evaluate"]
    assert cost["seconds_per_picture"] > 0 and len(cost["output"]) == 64


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """What evaluate reads but the detector, as the current directory."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(evaluated_repo.make(tmp_path))
    return tmp_path


@pytest.mark.parametrize("empty", ["val", "test"])
def test_a_split_without_boxes_stops_with_one_message(folder, empty):
    import evaluate

    split = dataset.load(f"data/raw/{empty}")
    bare = Split(split.classes, tuple(Picture(p.id, p.file_name, p.width, p.height) for p in split.pictures))
    dataset.save(bare, f"data/raw/{empty}")
    (folder / "results/evaluate").mkdir(parents=True)
    (folder / "results/evaluate/metrics.json").write_text("earlier")
    with pytest.raises(UserError, match=f"data/raw/{empty} has .* no box"):
        evaluate.main()
    assert (folder / "results/evaluate/metrics.json").read_text() == "earlier"


def test_no_detector_stops_with_one_message(folder, tf):
    import evaluate

    with pytest.raises(UserError, match="dvc repro train"):
        evaluate.main()


@pytest.fixture
def known(folder, monkeypatch, tf):
    """evaluate.main in this process on the detector of rectangles; returns (folder, main)."""
    import evaluate
    from plantdoc.detector import detector

    class Sorted(rectangle_detector.RectangleDetector):
        """Its classes in the order of the truth's."""

        def detect(self, images):
            found = super().detect(images)
            return {**found, "classes": tf.gather([-1, 2, 1, 0], found["classes"] + 1)}

        def __init__(self):
            super().__init__()
            self.config.classes = evaluated_repo.CLASSES

    monkeypatch.setattr(detector, "load", lambda folder: Sorted())
    return folder, evaluate.main


def metrics(folder: Path) -> dict:
    return json.loads((folder / "results/evaluate/metrics.json").read_text())


def test_known_rectangles_score_high_in_pixels_of_the_picture(known):
    folder, main = known
    main()
    figures = metrics(folder)
    assert figures["map50"] > 0.9 and figures["precision"] > 0.9 and figures["recall"] > 0.9
    assert figures["threshold"] == pytest.approx(0.7)  # the lowest score that this detector gives
    assert figures["boxes"] == sum(len(p.boxes) for p in dataset.load("data/raw/test").pictures)
    with open("results/evaluate/plots/per_class.csv") as file:
        rows = list(csv.DictReader(file))
    assert [set(row) for row in rows] == [{"class", "pictures", "boxes", "ap", "ap50"}] * 3
    assert [float(row["ap50"]) for row in rows] == sorted((float(row["ap50"]) for row in rows), reverse=True)
    points = json.loads(Path("results/evaluate/plots/precision_recall.json").read_text())
    assert len(points) == 101 and {"recall", "precision", "precision: red"} <= set(points[0])
    assert sum(p["precision"] for p in points) / 101 == pytest.approx(figures["map50"], abs=1e-5)
    with open("results/evaluate/plots/confusion.csv") as file:
        pairs = [(row["actual"], row["predicted"]) for row in csv.DictReader(file)]
    assert len(pairs) >= figures["boxes"] and pairs == sorted(pairs) and ("red", "red") in pairs
    for name in ("best-1", "worst-2", "random-1"):
        assert max(Image.open(f"results/evaluate/pictures/{name}.jpg").size) > 400


def test_the_threshold_is_chosen_on_val_alone(known):
    folder, main = known
    main()
    before = metrics(folder)
    # Move every box of test away: its scores fall, but what was chosen must not change.
    split = dataset.load("data/raw/test")
    away = [
        Picture(p.id, p.file_name, p.width, p.height, tuple(Box((0.0, 0.0, 5.0, 5.0), b.category) for b in p.boxes))
        for p in split.pictures
    ]
    dataset.save(Split(split.classes, tuple(away)), "data/raw/test")
    main()
    after = metrics(folder)
    assert after["map50"] < 0.1 < before["map50"] and after["threshold"] == before["threshold"]
    # Leave only green, of score 0.8, in val: reds score higher, blues lower, so the threshold moves up.
    split = dataset.load("data/raw/val")
    green = [
        Picture(
            p.id,
            p.file_name,
            p.width,
            p.height,
            tuple(b for b in p.boxes if evaluated_repo.CLASSES[b.category] == "green"),
        )
        for p in split.pictures
    ]
    dataset.save(Split(split.classes, tuple(green)), "data/raw/val")
    main()
    assert metrics(folder)["threshold"] == pytest.approx(0.8)


def test_the_order_of_files_and_pictures_does_not_matter_to_the_scores(known):
    folder, main = known
    main()
    before = metrics(folder)
    split = dataset.load("data/raw/test")
    dataset.save(Split(split.classes, split.pictures[::-1]), "data/raw/test")
    main()
    assert metrics(folder) == before


def test_other_classes_than_the_detector_knows_are_a_clear_error(known):
    _, main = known
    for name in ("val", "test"):
        split = dataset.load(f"data/raw/{name}")
        dataset.save(Split(("blue", "green", "scarlet"), split.pictures), f"data/raw/{name}")
    with pytest.raises(UserError, match="knows other classes"):
        main()
