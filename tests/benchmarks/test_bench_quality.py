"""benchmarks/quality.py: what counts as a run, what is compared, and Ultralytics driven by its command line."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import fake_repo
import fake_ultralytics
import pytest
import small_repo
from PIL import Image

from plantdoc.coco import dataset, metrics
from plantdoc.detector import model_params

CLASSES = ("apple scab", "corn rust")
# In the place of `yolo`: a results.csv of two epochs, and in val what the label files hold, as its JSON has it.
YOLO = """#!{python}
import json, sys
from pathlib import Path
settings = dict(pair.split("=", 1) for pair in sys.argv[3:])
out = Path(settings["project"], settings["name"])
out.mkdir(parents=True, exist_ok=True)
Path(settings["project"], "asked.txt").write_text(" ".join(sys.argv[1:]))
if sys.argv[2] == "train":
    (out / "results.csv").write_text("epoch,time,metrics/mAP50-95(B)\\n1,2.5,0.2\\n2,4.0,0.1\\n")
else:
    rows = []
    for file in Path(settings["data"]).parent.glob("labels/val/*.txt"):
        for line in file.read_text().splitlines():
            label, x, y, w, h = map(float, line.split())
            box = [(x - w / 2) * 64, (y - h / 2) * 32, w * 64, h * 32]
            rows.append({{"image_id": int(file.stem), "category_id": int(label) + 1, "bbox": box, "score": 0.5}})
    (out / "predictions.json").write_text(json.dumps(rows))
"""
# In the place of what asks a detector: all boxes but those of the last picture.
DETECT = """
import gzip, json, sys
from pathlib import Path
truth = json.loads(Path(sys.argv[1], "annotations.json").read_text())
last = truth["images"][-1]["id"]
rows = [{key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5} for a in truth["annotations"]]
Path(sys.argv[2]).write_bytes(gzip.compress(json.dumps([r for r in rows if r["image_id"] != last]).encode()))
"""


@pytest.fixture
def raw(tmp_path) -> Path:
    """A data/raw of six pictures in each of train and val, two boxes in each."""
    for part in ("train", "val"):
        folder = tmp_path / "raw" / part
        folder.mkdir(parents=True)
        pictures = []
        for number in range(6):
            Image.new("RGB", (64, 32), (40 * number, 90, 60)).save(folder / f"leaf {number}.JPG.jpg")
            boxes = (dataset.Box((4.0, 2.0, 20.0, 16.5), number % 2), dataset.Box((30.0, 8.0, 30.0, 20.0), 1))
            pictures.append(dataset.Picture(number + 1, f"leaf {number}.JPG.jpg", 64, 32, boxes))
        dataset.save(dataset.Split(CLASSES, tuple(pictures)), folder)
    return tmp_path / "raw"


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with stages that take no time, and a program in the place of Ultralytics'."""
    folder = fake_repo.make(tmp_path / "repository")
    (folder / "benchmarks/detect.py").write_text(DETECT)
    (folder / "benchmarks/quality/1.yaml").write_text("lr: 0.2\n")
    fake_ultralytics.put_yolo(folder, YOLO.format(python=sys.executable))
    return folder


def quality(folder: Path, raw: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    command = ("python", "benchmarks/quality.py", "--source", str(raw), *arguments)
    return small_repo.run(folder, *command, check=check)


def written(folder: Path) -> dict:
    return json.loads((folder / "results/benchmarks/quality.json").read_text())


def test_pictures_are_laid_out_as_ultralytics_reads_them(bench, raw, tmp_path):
    data = bench("yolo_cli").dataset(raw, tmp_path / "data", {"train": 4})
    about = json.loads(data.read_text())
    assert about["names"] == {"0": CLASSES[0], "1": CLASSES[1]}
    assert len(list((tmp_path / "data/images/val").iterdir())) == 6
    assert sorted(os.listdir(tmp_path / "data" / about["train"])) == [f"{i}.jpg" for i in range(1, 5)]
    assert all(path.is_symlink() for path in (tmp_path / "data/images/val").iterdir())
    line = (tmp_path / "data/labels/val/2.txt").read_text().splitlines()[0]
    label, x, y, width, height = map(float, line.split())
    assert (label, x * 64, y * 32, width * 64, height * 32) == pytest.approx((1, 14, 10.25, 20, 16.5))
    with Image.open(tmp_path / "data/images/val/2.jpg") as image, Image.open(raw / "val/leaf 1.JPG.jpg") as original:
        assert image.tobytes() == original.tobytes()


def test_what_ultralytics_says_is_read(bench):
    yolo = bench("yolo_cli")
    assert yolo.gflops("YOLOv8n summary: 130 layers, 3,016,698 parameters, 3,016,682 gradients, 8.2 GFLOPs\n") == 8.2
    with pytest.raises(yolo.UserError, match="does not say how many FLOPs"):
        yolo.gflops("YOLOv8n summary: 130 layers\n")


@pytest.mark.parametrize("threads", [None, 2, 5])
def test_ultralytics_is_told_how_many_threads_to_take(bench, monkeypatch, tmp_path, threads):
    fake_ultralytics.put_yolo(tmp_path, f"#!{sys.executable}\nimport os\nprint(max(1, os.cpu_count() - 1))\n")
    yolo = bench("yolo_cli")
    monkeypatch.setattr(yolo.measure, "PEERS", tmp_path / ".venv-peers")
    taken = threads or max(1, os.cpu_count() - 1)
    assert yolo.yolo(tmp_path, threads=threads).said == f"{taken}\n"


def test_a_program_that_fails_tells_what_it_said(bench, tmp_path):
    yolo = bench("yolo_cli")
    with pytest.raises(yolo.UserError, match=r"(?s)ended with 3.*no such model"):
        yolo.timed([sys.executable, "-c", "print('no such model'); exit(3)"], tmp_path, tmp_path / "log")


def test_time_and_memory_of_a_process_are_its_own(root, tmp_path):
    # From a process as small as a benchmark is.
    code = """
import dataclasses, json, sys
from pathlib import Path
import yolo_cli
sizes, here = (300_000_000, 1), Path.cwd()
ran = [yolo_cli.timed([sys.executable,
    "-c", f"b = b'x' * {size}; print(len(b))"], here, here / "log") for size in sizes]
print(json.dumps([dataclasses.asdict(each) for each in ran]))
"""
    command, env = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(root / "benchmarks")}
    large, small = json.loads(subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True).stdout)
    assert (large["said"], small["said"]) == ("300000000\n", "1\n")
    assert large["memory"] > 280 > small["memory"] > 1
    assert small["processor"] > 0


def test_a_side_goes_from_its_lowest_end_to_its_highest(bench):
    runs = [
        {"map50": 0.30, "map50_low": 0.25, "map50_high": 0.35, "wall minutes": 20.0},
        {"map50": 0.40, "map50_low": 0.36, "map50_high": 0.44, "wall minutes": 30.0},
    ]
    assert bench("quality").summary(runs) == pytest.approx((0.35, 0.25, 0.44, 25.0))


def test_a_table_names_what_each_run_was_made_with(bench):
    machine = {"machine": "two cores"}
    runs = [{"about": machine | {"date": "2026-11-21"}}, {"about": machine | {"date": "2026-11-22", "torch": "2.15.0"}}]
    expected = {"machine": "two cores", "date": "2026-11-21 and 2026-11-22", "torch": "2.15.0"}
    assert bench("quality").about(runs) == expected


def test_what_params_offer_is_measured(bench, root):
    """A family that is added stands in the table of training steps without a word there."""
    measured = runpy.run_path(str(root / "benchmarks/train_speed.py"))["models"]()
    for family in typing.get_args(model_params.Model.model_fields["family"].annotation):
        assert any(each.startswith(f"{family}/") for each in measured), family
    assert "yolov8/mobilenet_v2/xs" in measured
    assert len(set(measured)) == len(measured)


@pytest.mark.full
def test_runs_are_made_once_and_compared(repository, raw):
    quality(repository, raw, "--minutes", "1", "--seeds", "1", "2")
    found = written(repository)
    runs = {(run["side"], run["seed"]): run for run in found["runs"]}
    assert sorted(runs) == [("ours", 1), ("ours", 2), ("ultralytics", 1), ("ultralytics", 2)]
    ours, theirs = runs["ours", 1], runs["ultralytics", 1]
    assert theirs["map50"] == pytest.approx(1.0), "its boxes and classes came back as they went in"
    assert (theirs["epochs"], theirs["best epoch"]) == (2, 1)
    truth = dataset.load(raw / "val")
    seen = [
        {"image_id": picture.id, "category_id": box.category, "bbox": list(box.xywh), "score": 0.5}
        for picture in truth.pictures[:-1]
        for box in picture.boxes
    ]
    assert ours["map50"] == pytest.approx(metrics.coco_map(truth, seen)["map50"], abs=1e-4)
    assert ours["map50"] < 1.0
    assert ours["params"] == {"lr": 0.2}
    assert 0 < ours["wall minutes"] < 1 and not ours["over"]
    (row,) = found["rows"]
    assert row["minutes"] == 1 and row["ours: seeds"] == row["ultralytics: seeds"] == 2
    assert row["difference"] == pytest.approx(ours["map50"] - 1.0, abs=1e-3)
    assert found["targets"][0]["met"] is False
    assert found["targets"][0]["measured"] == pytest.approx(
        min(run["map50_low"] for run in found["runs"]) - 1.0, abs=1e-3
    ), "the lowest end of ours less the highest of theirs"
    assert small_repo.git(repository, "status", "--short", ".dvc") == ""

    # Given again, nothing is to do, with or without the peer; with other params, that side's runs are made anew.
    shutil.rmtree(repository / ".venv-peers")
    done = quality(repository, raw, "--minutes", "1", "--seeds", "1", "2")
    assert "1 minutes, seed" not in done.stdout
    assert written(repository)["runs"] == found["runs"]
    (repository / "benchmarks/quality/1.yaml").write_text("lr: 0.1\n")
    done = quality(repository, raw, "--minutes", "1", "--seeds", "1")
    assert "ours, 1 minutes, seed 1" in done.stdout and "ultralytics, 1 minutes" not in done.stdout
    after = written(repository)
    assert len(after["runs"]) == 4
    assert after["rows"][0]["ours: seeds"] == 1, "the other run had other params"


@pytest.mark.full
def test_a_run_over_its_minutes_does_not_count(repository, raw):
    (repository / "benchmarks/quality/0.yaml").write_text("lr: 0.2\n")
    done = quality(repository, raw, "--minutes", "0", "--seeds", "7", "--side", "ours", check=False)
    assert done.returncode == 1
    assert "over time, so not counted: ours, 0 minutes, seed 7" in done.stdout
    found = written(repository)
    assert found["runs"][0]["over"] is True
    assert found["rows"][0]["ours: seeds"] == 0 and found["rows"][0]["ours: mAP@50"] is None
    assert found["targets"] == []


@pytest.mark.full
def test_a_mark_without_params_is_named_before_anything_runs(repository, raw):
    done = quality(repository, raw, "--minutes", "1", "45", check=False)
    assert done.returncode == 1
    assert "45.yaml is missing: it holds our params for 45 minutes" in done.stdout
    assert not (repository / "results/benchmarks/quality.json").exists()


@pytest.mark.full(45)
def test_a_real_detector_is_trained_and_asked(tmp_path):
    """Our side with the real stages, on drawn pictures of 64 px."""
    folder = small_repo.make(tmp_path, train__plain_epochs=0)
    small_repo.run(folder, "python", "src/fetch.py")
    (folder / "results/benchmarks/quality.json").unlink(missing_ok=True)  # the runs of this repository's own
    (folder / "benchmarks/quality/60.yaml").write_text("lr: 0.1\ntrain:\n  epochs: 1\n")
    quality(folder, folder / "data/raw", "--minutes", "60", "--seeds", "3", "--side", "ours")
    (run,) = written(folder)["runs"]
    assert run["epochs"] == 1
    assert run["cpu minutes"] > 0 and run["peak MB"] > 300
    assert 0 <= run["map50_low"] <= run["map50"] <= run["map50_high"] <= 1
    assert not (folder / "models/detector").exists(), "it trains in a folder of its own"


@pytest.mark.full
def test_ultralytics_itself_trains_offline(bench, raw, tmp_path, root):
    if not (root / ".venv-peers/ultralytics/bin/yolo").exists():
        pytest.skip("Ultralytics is not in .venv-peers: `make bench-peers`")
    yolo = bench("yolo_cli")
    data = yolo.dataset(raw, tmp_path / "data")
    ran, results = yolo.train(tmp_path, data, 64, 1, epochs=1, batch=4)
    (row,) = yolo.epochs(results)
    assert row["epoch"] == 1 and row["time"] > 0
    assert 8 < yolo.gflops(ran.said) < 9
    assert "Downloading" not in ran.said
    ids, found = range(1, 7), yolo.validate(tmp_path, data, results / "weights/best.pt", 64)
    assert all(each["image_id"] in ids and each["category_id"] in (0, 1) for each in found)
