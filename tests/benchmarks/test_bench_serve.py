"""benchmarks/serve_speed.py and load.py: each side is asked about the same pictures, and its answers are counted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import fake_ultralytics
import pytest
import rectangle_bundles

from plantdoc.core.errors import UserError

# In the place of `yolo`: a line per picture, from the settings it was given, until it is ended.
YOLO = """#!{python}
import itertools, os, sys
settings = dict(pair.split("=", 1) for pair in sys.argv[3:])
if settings["imgsz"] == "13":
    sys.exit("imgsz must be a multiple of 32")
assert sys.argv[1:3] == ["detect", "predict"] and settings["device"] == "cpu" and os.environ["YOLO_OFFLINE"]
names = sorted(os.listdir(settings["source"]))
print("a line about itself")
for number, name in enumerate(itertools.cycle(names), start=1):
    print(f"image {{number}}/{{len(names)}} {{name}}: 64x64 (no detections), 0.1ms", flush=True)
"""
# A SavedModel with the suppression that those of this project have, which the rectangles' detector needs none of.
SUPPRESSED = """
import sys
sys.path[:0] = {paths!r}
import rectangle_detector, tensorflow as tf
from plantdoc.deploy import bundle
from plantdoc.serving import served_model

class Suppressed(rectangle_detector.RectangleDetector):
    def detect(self, images):
        found = super().detect(images)
        scores = tf.one_hot(found["classes"], 3) * found["scores"][..., None]
        kept = tf.image.combined_non_max_suppression(found["boxes"][:, :, None], scores, 4, 4, clip_boxes=False)
        used = tf.sequence_mask(kept.valid_detections, 4)
        classes = tf.where(used, tf.cast(kept.nmsed_classes, tf.int32), -1)
        return {{"boxes": kept.nmsed_boxes, "scores": kept.nmsed_scores, "classes": classes}}

bundle.export(served_model.Server(Suppressed()), sys.argv[1])
"""


@pytest.fixture
def house(root, tmp_path):
    """A copy of the benchmarks that writes its results here, with a program in the place of Ultralytics'."""
    folder = tmp_path / "house"
    shutil.copytree(root / "benchmarks", folder / "benchmarks")
    for name in ("src", "scripts"):
        (folder / name).symlink_to(root / name)
    fake_ultralytics.put_yolo(folder, YOLO.format(python=sys.executable))
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.JPG", "a.png", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_batches_are_timed_from_end_to_end_within_the_time(bench):
    spans = bench("yolo_predict").spans
    # Lines come a batch at a time; the third batch takes five seconds, the first and the last are not whole.
    lines = [1.0, 1.1, 3.0, 3.1, 8.0, 8.1, 9.0, 9.1]
    assert spans(lines, 2, begin=1.05, end=8.5) == pytest.approx([2.0, 5.0])
    assert spans(lines, 1, begin=1.05, end=3.05) == pytest.approx([1.9])
    assert spans(lines[:3], 2, begin=0, end=9) == []


def test_percentiles_are_of_what_was_measured(bench):
    percentile = bench("load").percentile
    values = [float(value) for value in range(101)]
    assert percentile(values, 50) == 50 and percentile(values, 99) == 99
    assert percentile([3.0], 99) == 3 and percentile([1.0, 2.0], 99) <= 2


def test_pictures_are_linked_again_and_again(bench, photos, tmp_path):
    folder = bench("yolo_predict").linked(photos, tmp_path / "links", 5)
    content = [path.read_text() for path in sorted(folder.iterdir())]
    assert content == ["a.png", "b.JPG", "a.png", "b.JPG", "a.png"]
    assert {path.suffix for path in folder.iterdir()} == {".png", ".jpg"}
    with pytest.raises(UserError, match="there is no photo in"):
        bench("load").photo_files(tmp_path)


def test_ultralytics_is_clocked_by_its_lines(bench, house, photos, monkeypatch):
    monkeypatch.setattr(bench("measure"), "PEERS", house / ".venv-peers")
    found = bench("yolo_predict").rate(photos, 64, 0.2, 8, 2)
    assert found["pictures/s"] > 0 and 0 < found["p50 ms"] <= found["p99 ms"]
    with pytest.raises(UserError, match="imgsz must be a multiple of 32"):
        bench("yolo_predict").rate(photos, 13, 0.2, 8, 1)


@pytest.mark.full(40)
def test_all_sides_are_measured_and_a_request_is_taken_apart(root, house, tmp_path):
    rectangle_bundles.rectangles(tmp_path / "made")
    content = tmp_path / "made/content"
    shutil.rmtree(content / "1")
    script = SUPPRESSED.format(paths=[str(root / "src"), str(root / "tests/support")])
    subprocess.run([sys.executable, "-c", script, content / "1"], check=True, capture_output=True)
    command = [sys.executable, house / "benchmarks/serve_speed.py", content, "--source", content / "examples"]
    done = subprocess.run([*command, "--rounds", "1", "--seconds", "0.5"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((house / "results/benchmarks/serve_speed.json").read_text())
    rows = {row["side"]: row for row in found["rows"]}
    assert len(rows) == 7 and all(row["p50 ms"] <= row["p99 ms"] for row in rows.values())
    assert found["pictures"] == "2 of examples" and "128 px" in found["model"]
    alone = found["profile"]["calls of 1, ms a picture"]
    parts = ("check of the header", "decode and resize", "network", "suppression and boxes", "call as served")
    assert set(parts) < set(alone)
