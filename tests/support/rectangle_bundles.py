"""Bundles whose answers are known: around the detector of rectangles, laid out as deploy does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import repo_templates

ROOT = Path(__file__).resolve().parents[2]
SERVING = {
    "threshold": 0.5,
    "max_pixels": 50_000_000,
    "map50": 0.9,
    "map50_low": 0.85,
    "map50_high": 0.95,
    "pictures": 100,
    "note": "drawn, not photographed",
    "attribution": "the tests",
    "behaviour": {"passed": True},
}
# In a process of its own: TensorFlow's threads cannot be set twice, and other tests of this process may have set them.
MAKE = """
import json, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import tensorflow as tf
import container_lib
import rectangle_detector
from plantdoc.deploy import bundle
from plantdoc.serving import served_model

folder, out, about, scores = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
detector = rectangle_detector.RectangleDetector()
detector.model.variables[0].value.assign(scores)
bundle.export(served_model.Server(detector), folder / bundle.MODEL)
bundle.add_code(folder, container_lib.make(out.parent / "lib"))
config = vars(detector.config) | {{"made_from": {{"seed": about.get("seed", 1)}}}}
(folder / "labels.json").write_text(json.dumps(detector.config.classes))
(folder / "config.json").write_text(json.dumps(config))
(folder / "README.md").write_text("# Finds rectangles\\n")
(folder / bundle.SERVING).write_text(json.dumps(about))
(folder / "examples").mkdir()
boxes = {{"red": (30, 10, 50, 30), "green": (80, 50, 40, 20), "blue": (8, 54, 40, 24)}}
for number, names in enumerate((("red",), ("red", "green", "blue")), start=1):
    picture = rectangle_detector.picture(126, 84, {{name: boxes[name] for name in names}})
    picture.save(folder / f"examples/{{number}}.jpg", quality=95, subsampling=0)
bundle.pack(folder, out)
"""


def rectangles(folder: Path, scores: tuple[float, float, float] = (0.9, 0.8, 0.7), **about: object) -> Path:
    """Make `folder`/model.tar.gz; returns its path.

    Args:
        folder: an empty or new one.
        scores: of the red, the green and the blue rectangle.
        about: what serving.json is to say instead of what SERVING does, and `seed`, for bundles that differ.
    """
    words = json.dumps(SERVING | about, sort_keys=True), json.dumps(scores)

    def build(new: Path) -> None:
        content = new / "content"
        content.mkdir(parents=True)
        script = MAKE.format(paths=[str(ROOT / "src"), str(ROOT / "tests/support")])
        command = [sys.executable, "-c", script, content, new / "model.tar.gz", *words]
        subprocess.run(command, check=True, capture_output=True)

    name = hashlib.sha256(repr(words).encode()).hexdigest()[:12]
    return repo_templates.copy(f"bundle-{name}", build, folder) / "model.tar.gz"
