"""The benchmarks of the data stages, run on a handful of drawn pictures: what they write, not how fast anything is."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_repo
from PIL import Image

import augment
from plantdoc.augment import augment_params
from plantdoc.coco import dataset
from plantdoc.core import params
from plantdoc.fetch.sample import generator
from plantdoc.records import tf_example, tfrecord

SIZE, COUNT, SEED = 96, 5, 42


@pytest.fixture(scope="module")
def there(root: Path, tmp_path_factory) -> Path:
    """A copy of what benchmarks need, with a few drawn pictures in data/raw; its results stay in it."""
    folder = tmp_path_factory.mktemp("benchmarks")
    for name in ("src", "benchmarks"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "params.yaml", folder)
    if (root / ".venv-peers").exists():
        (folder / ".venv-peers").symlink_to(root / ".venv-peers")
    generator.write(folder / "data/raw", 7, train=COUNT, test=1)
    shutil.copytree(folder / "data/raw/test", folder / "data/raw/val")
    small_repo.set_params(
        folder, augment__size=SIZE, augment__copies=1, runner__augment_workers=1, train__batch_size=4, seed=SEED
    )
    return folder


def write_manifest(folder: Path) -> Path:
    """What benchmarks/augment_methods.py tells the peers' scripts."""
    split = dataset.load(folder / "data/raw/train")
    pictures = [
        {
            "id": picture.file_name,
            "path": str(folder / "data/raw/train" / picture.file_name),
            "boxes": [[x, y, x + w, y + h] for (x, y, w, h) in (box.xywh for box in picture.boxes)],
            "classes": [box.category for box in picture.boxes],
        }
        for picture in split.pictures
    ]
    jitter = {"rotation": 10.0, "hue": 0.03, "saturation": 0.4, "brightness": 0.3}
    values = {"size": SIZE, "quality": 90, "scale": [0.2, 0.6], "jitter": jitter, "pictures": pictures}
    (folder / "pictures.json").write_text(json.dumps(values))
    return folder / "pictures.json"


@pytest.mark.full
def test_augment_counts_pictures_and_bytes(there):
    small_repo.run(
        there, sys.executable, "benchmarks/augment_speed.py", "--pictures", str(COUNT), "--size", str(SIZE),
        "--rounds", "2", "--only", "kerascv", "floor", "whole",
    )  # fmt: skip
    found = json.loads((there / "results/benchmarks/augment_speed.json").read_text())
    rows = {row["side"]: row for row in found["rows"]}
    mine = rows["ours"]
    config = params.load(augment_params.Params, there / "params.yaml").augment
    classes, sources = augment.read_sources(there / "data/raw", "train")
    written = [augment.make_example((source, 0), there / "data/raw", config, SEED, classes) for source in sources]
    assert mine["bytes/picture"] == sum(map(len, written)) / COUNT
    tensors = rows["KerasCV, resize first, stored as tensors"]
    assert SIZE * SIZE * 3 * 4 < tensors["bytes/picture"] < SIZE * SIZE * 3 * 4 + 1000
    targets = {each["what"]: each for each in found["targets"]}
    assert "pictures a core, ours against KerasCV, guide's order" in targets
    overhead = targets["bytes of our TFRecords against those of the JPEGs in them"]
    assert 1 < overhead["measured"] < 1.3
    assert sum(found["profile_of_ours"].values()) == pytest.approx(1, abs=0.01)


@pytest.mark.full
def test_layers_of_kerascv_give_squares_with_boxes(there):
    script = str(there / "benchmarks/peers/kerascv_layers.py")
    command = [sys.executable, script, str(write_manifest(there)), str(there / "kerascv")]
    done = subprocess.run(command, input="guide jpeg\n" * 2, capture_output=True, text=True, check=True)
    assert [json.loads(line)["pictures"] for line in done.stdout.splitlines()] == [COUNT, COUNT]
    out = there / "kerascv-guide-jpeg"
    found = [tf_example.parse(line) for line in tfrecord.read(out)]
    assert len(found) == COUNT  # the second pass took the place of the first
    for each in found:
        picture = Image.open(io.BytesIO(each["image/encoded"][0]))
        assert picture.size == (SIZE, SIZE)
        assert np.asarray(picture).std() > 10
        corners = np.array([each[f"image/object/bbox/{side}"] for side in ("xmin", "ymin", "xmax", "ymax")])
        assert corners.shape[1] == len(each["image/object/class/label"])
        assert ((corners >= 0) & (corners <= 1)).all()


@pytest.mark.full
def test_the_way_of_tfrecorder_stores_raw_pixels(there):
    python = there / ".venv-peers/tfrecorder/bin/python"
    if not python.exists():
        pytest.skip("its environment is not there: make bench-peers")
    script = str(there / "benchmarks/peers/tfrecorder_pipeline.py")
    command = [str(python), script, str(write_manifest(there)), str(there / "beam")]
    done = subprocess.run(command, input="plain\ngzip\n", capture_output=True, text=True, check=True)
    assert [json.loads(line)["pictures"] for line in done.stdout.splitlines()] == [COUNT, COUNT]
    (plain,) = there.glob("beam-plain*")
    (zipped,) = there.glob("beam-gzip*")
    assert zipped.stat().st_size < plain.stat().st_size
    found = [tf_example.parse(line) for line in tfrecord.read(plain)]
    assert len(found) == COUNT
    for each in found:
        assert len(base64.b64decode(each["image"][0], altchars=b"-_")) == SIZE * SIZE * 3


@pytest.mark.full
def test_growth_is_told_per_stage(there):
    times = ["--times", "1", "2", "4"]
    command = ["benchmarks/growth.py", "--pictures", "8", "--rounds", "1", "--stages", "fetch", "augment"]
    small_repo.run(there, sys.executable, *command, *times)
    found = json.loads((there / "results/benchmarks/growth.json").read_text())
    assert [(row["stage"], row["pictures"]) for row in found["rows"]] == [
        (stage, count) for stage in ("fetch", "augment") for count in (8, 16, 32)
    ]
    assert all(20 < row["peak MB"] < 4000 for row in found["rows"])  # a stage with NumPy and Pillow
    assert [grown["stage"] for grown in found["growth"]] == ["fetch", "augment"]


def test_growth_is_that_of_known_figures(bench):
    growth = bench("growth")
    # 2 s to start; then 5 ms a picture of the clock, and of the processor 1 ms for each pair of neighbours n².
    figures = [
        {"pictures": n, "wall s": 2 + 0.005 * n, "cpu s": 2 + 0.001 * n**2, "peak MB": 100 + n} for n in (100, 200, 400)
    ]
    assert growth.grown("fetch", figures, [1, 2, 4]) == {
        "stage": "fetch",
        "exponent of wall": pytest.approx(1),
        "ms of wall per more picture": pytest.approx(5),
        "exponent of cpu": pytest.approx(2),
        "ms of cpu per more picture": pytest.approx(500),
        "peak at 4× / at 1×": pytest.approx(2.5),
    }
    assert growth.exponent([3.0, 2.9, 3.1], [1, 2, 4]) is None, "it fell: noise"
    assert growth.exponent([1.0, 2.0, 3.0], [1, 2, 5]) is None, "no equal ratios"


@pytest.mark.full(40)
def test_input_is_held_against_the_model(there):
    small_repo.run(there, sys.executable, "src/augment.py")
    small_repo.run(there, sys.executable, "benchmarks/input.py", "--rounds", "1", "--seconds", "0.1")
    found = json.loads((there / "results/benchmarks/input.json").read_text())
    rows = {row["side"]: row for row in found["rows"]}
    assert list(rows) == ["input", "input, no mosaic", "model", "both"]
    assert f"{SIZE} px" in found["model"]
