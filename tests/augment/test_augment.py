"""The augment stage: what is in the records, equal bytes whatever the circumstances, and flat memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import coloured_pictures
import numpy as np
import psutil
import pytest
from PIL import Image

import augment
from plantdoc.coco import dataset
from plantdoc.core.errors import UserError
from plantdoc.records import shards


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "raw"
    coloured_pictures.data_set(folder, 20, 6)
    return folder


def build(raw: Path, folder: Path, root: Path, seed: int = 0, workers: int = 1, **changes: float) -> dict[str, str]:
    """Run the stage's work; returns the hash of each file."""
    folder.mkdir(parents=True)
    augment.build(raw, folder, coloured_pictures.settings(root, **changes), seed, workers=workers)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.usefixtures("in_this_process")
def test_records_hold_every_picture_once_in_each_copy_and_val_once(raw, tmp_path, root):
    build(raw, tmp_path / "out", root, copies=2)
    about = shards.meta(tmp_path / "out")
    assert about.counts == {"train": 20, "val": 6}
    assert about.classes == dataset.load(raw / "train").classes
    for files in about.files["train"]:
        ids = [record.source_id for file in files for record in shards.read(tmp_path / "out" / file)]
        assert sorted(ids) == [f"train/leaf {i:04}.jpg" for i in range(20)]
        assert ids != sorted(ids)
    val = [record.source_id for file in about.files["val"] for record in shards.read(tmp_path / "out" / file)]
    assert val == [f"val/leaf {i:04}.jpg" for i in range(6)]


@pytest.mark.usefixtures("in_this_process")
def test_boxes_in_the_records_lie_on_the_painted_shapes(raw, tmp_path, root):
    build(raw, tmp_path / "out", root, copies=2, rotation=0.0, quality=95)
    seen = 0
    for path in sorted((tmp_path / "out").glob("*.tfrecord")):
        for record in shards.read(path):
            picture = Image.open(io.BytesIO(record.jpeg))
            assert picture.size == (128, 128)
            for box, label in zip(record.boxes, record.classes, strict=True):
                np.testing.assert_allclose(coloured_pictures.found(picture, label), box, atol=1.0)
                seen += 1
    assert seen > 30


@pytest.mark.usefixtures("in_this_process")
def test_val_boxes_survive_the_round_trip(raw, tmp_path, root):
    build(raw, tmp_path / "out", root)
    (file,) = shards.meta(tmp_path / "out").files["val"]
    scale = 128 / 200
    for picture, record in zip(dataset.load(raw / "val").pictures, shards.read(tmp_path / "out" / file), strict=True):
        assert len(picture.boxes) == len(record.boxes)
        for box, (x1, y1, x2, y2) in zip(picture.boxes, record.boxes / scale, strict=True):
            np.testing.assert_allclose(box.xywh, (x1, y1, x2 - x1, y2 - y1), atol=0.01)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_workers(raw, tmp_path, root):
    made = [build(raw, tmp_path / str(n), root, workers=n, hue=0.1, brightness=0.2) for n in (1, 2, 4)]
    assert made[0] == made[1] == made[2]


@pytest.mark.usefixtures("in_this_process")
def test_bytes_do_not_depend_on_the_order_of_files_and_of_train_annotations(raw, tmp_path, root):
    first = build(raw, tmp_path / "first", root)
    turned = tmp_path / "raw"
    for split in ("train", "val"):
        (turned / split).mkdir(parents=True)
        for path in sorted((raw / split).iterdir(), reverse=True):
            shutil.copy(path, turned / split)
    there = dataset.load(raw / "train")
    dataset.save(dataset.Split(there.classes, there.pictures[::-1]), turned / "train")
    assert build(turned, tmp_path / "second", root) == first


@pytest.mark.usefixtures("in_this_process")
def test_another_picture_leaves_the_variants_of_the_others_alone(raw, tmp_path, root):
    more = tmp_path / "raw"
    shutil.copytree(raw, more)
    shutil.copy(more / "train/leaf 0000.jpg", more / "train/another.jpg")
    there = dataset.load(raw / "train")
    another = dataset.Picture(100, "another.jpg", 200, 150, there.pictures[0].boxes)
    dataset.save(dataset.Split(there.classes, (*there.pictures, another)), more / "train")
    variants = []
    for folder, name in ((raw, "first"), (more, "second")):
        build(folder, tmp_path / name, root, copies=1)
        variants.append({r.source_id: r.jpeg for r in shards.read(tmp_path / name / "train-c00-00000.tfrecord")})
    assert variants[1].pop("train/another.jpg") != variants[0]["train/leaf 0000.jpg"]
    assert variants[0] == variants[1]


@pytest.mark.usefixtures("in_this_process")
def test_seed_and_copy_change_the_variants(raw, tmp_path, root):
    first = build(raw, tmp_path / "first", root, copies=2)
    second = build(raw, tmp_path / "second", root, copies=2, seed=1)
    assert first["train-c00-00000.tfrecord"] != first["train-c01-00000.tfrecord"]
    assert first["train-c00-00000.tfrecord"] != second["train-c00-00000.tfrecord"]
    assert first["val-00000.tfrecord"] == second["val-00000.tfrecord"]


@pytest.mark.usefixtures("in_this_process")
def test_without_val_pictures_there_are_no_val_files(tmp_path, root):
    coloured_pictures.data_set(tmp_path / "raw", 3, 0)
    build(tmp_path / "raw", tmp_path / "out", root)
    assert shards.meta(tmp_path / "out").files["val"] == ()


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("damage", ["cut", "junk", "missing", "other size"])
def test_a_bad_picture_is_named(raw, tmp_path, root, damage):
    bad = tmp_path / "raw"
    shutil.copytree(raw, bad)
    path = bad / "train/leaf 0013.jpg"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:800])
    elif damage == "junk":
        path.write_bytes(b"not a picture")
    elif damage == "missing":
        path.unlink()
    else:
        Image.new("RGB", (150, 200)).save(path)
    with pytest.raises(UserError, match=r"train/leaf 0013\.jpg.*dvc repro -f fetch"):
        build(bad, tmp_path / "out", root)


@pytest.mark.slow
def test_a_bad_picture_is_named_by_a_process_too(raw, tmp_path, root):
    bad = tmp_path / "raw"
    shutil.copytree(raw, bad)
    (bad / "train/leaf 0013.jpg").unlink()
    with pytest.raises(UserError, match=r"train/leaf 0013\.jpg.*dvc repro -f fetch"):
        build(bad, tmp_path / "out", root, workers=2)


@pytest.mark.usefixtures("in_this_process")
def test_no_pictures_and_no_folder_are_the_users_mistakes(tmp_path, root):
    with pytest.raises(UserError, match="dvc repro fetch"):
        build(tmp_path / "nowhere", tmp_path / "out", root)
    coloured_pictures.data_set(tmp_path / "raw", 0, 0)
    with pytest.raises(UserError, match="no pictures to train on"):
        build(tmp_path / "raw", tmp_path / "out2", root)


def workplace(folder: Path, root: Path, count: int, **changes: float) -> Path:
    """A folder to run the stage in, as dvc does."""
    coloured_pictures.data_set(folder / "data/raw", count, 2)
    for code in ("src", "scripts"):
        (folder / code).symlink_to(root / code)
    text = (root / "params.yaml").read_text()
    for key, value in changes.items():
        before, after = text.split(f"\n  {key}: ", 1)
        text = f"{before}\n  {key}: {value}  # {after}"
    (folder / "params.yaml").write_text(text)
    return folder


def start(folder: Path, **options: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "src/augment.py"], cwd=folder, stderr=subprocess.PIPE, text=True, **options
    )


def running(stage: subprocess.Popen) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        stage.wait(0.02)
    return stage.returncode is None


@pytest.mark.slow
def test_the_stage_runs_from_the_command_line_and_inspect_shows_what_it_made(root, tmp_path):
    folder = workplace(tmp_path, root, 5, size=64, copies=1)
    stage = start(folder)
    assert (stage.wait(), "done in" in stage.stderr.read()) == (0, True)
    assert (folder / "results/cost.json").exists()
    shown = subprocess.run(
        [sys.executable, "scripts/inspect_tfrecords.py", "--records", "6", "--out", "seen"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = shown.splitlines()
    assert len(lines) == 8
    assert sum("train/leaf" in line for line in lines) == 5
    assert "colour 0" in shown
    assert Image.open(folder / "seen/0005.png").size == (64, 64)
    assert (folder / "seen/sheet.jpg").exists()


def test_inspect_without_records_says_what_to_do(root, tmp_path):
    for code in ("src", "scripts"):
        (tmp_path / code).symlink_to(root / code)
    shown = subprocess.run(
        [sys.executable, "scripts/inspect_tfrecords.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.returncode == 1
    assert "dvc repro augment" in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        pytest.param("starting", signal.SIGINT, marks=pytest.mark.full),
        pytest.param("writing", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("writing", signal.SIGKILL, marks=pytest.mark.full),
    ],
)
def test_ended_in_the_middle_it_leaves_no_process_and_the_last_output(root, tmp_path, moment, end):
    folder = workplace(tmp_path, root, 300, copies=50)
    before = folder / "data/tfrecords/before"
    before.mkdir(parents=True)
    stage = start(folder, start_new_session=True)
    process, partial = psutil.Process(stage.pid), folder / "data/.tfrecords.partial"

    def reached() -> bool:
        return len(process.children()) >= 2 if moment == "starting" else any(partial.glob("train-c00-*"))

    while running(stage) and not reached():
        pass
    processes = process.children(recursive=True)
    assert processes
    if end == signal.SIGINT:
        os.killpg(stage.pid, end)  # as a terminal does: to all of them
    else:
        stage.kill()
    code = stage.wait()
    _, left = psutil.wait_procs(processes, timeout=20)
    for orphan in left:
        orphan.kill()
    assert left == []
    assert code == (130 if end == signal.SIGINT else -signal.SIGKILL)
    assert before.is_dir()
    assert "Traceback" not in stage.stderr.read()
    assert end == signal.SIGKILL or not partial.exists()


@pytest.mark.full
def test_memory_does_not_grow_with_the_data_set(root, tmp_path):
    """The main process and its workers together, at their peak, with 100 pictures and with 1000."""
    small = {"size": 128, "copies": 1, "augment_workers": 2}
    once, ten_times = (peak(workplace(tmp_path / str(n), root, n, **small)) for n in (100, 1000))
    assert ten_times < 1.1 * once


def peak(folder: Path) -> int:
    stage = start(folder)
    process, highest = psutil.Process(stage.pid), 0
    while running(stage):
        try:
            family = [process, *process.children(recursive=True)]
            highest = max(highest, sum(member.memory_info().rss for member in family))
        except psutil.Error:  # one of them has just ended
            continue
    assert stage.returncode == 0, stage.stderr.read()
    return highest
