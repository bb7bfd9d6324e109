"""A small repository state on which evaluate and deploy run: drawn pictures, a detector with random weights, params."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import rectangle_detector
import repo_templates
import small_repo

from plantdoc.coco import dataset
from plantdoc.coco.dataset import Box, Picture, Split

CLASSES = ("blue", "green", "red")
SOURCE = {
    "source": "test",
    "name": "Rectangles",
    "licence": "CC0",
    "attribution": "The project",
    "url": "",
    "content": "0" * 64,
    "note": "drawn, not photographed",
}


def write_split(folder: Path, count: int, seed: int) -> Split:
    """`count` PNG pictures of differing sizes with a rectangle of one or two colours each, and annotations.json."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pictures = []
    for i in range(1, count + 1):
        width, height = (int(side) for side in rng.integers(60, 160, 2))
        boxes = {}
        for name in rng.permutation(CLASSES)[: rng.integers(1, 3)]:
            w, h = int(rng.integers(20, width // 2)), int(rng.integers(20, height // 2))
            boxes[name] = (int(rng.integers(0, width - w)), int(rng.integers(0, height - h)), w, h)
        name = f"{i:02d}.png"
        rectangle_detector.picture(width, height, boxes).save(folder / name)
        truth = tuple(Box(tuple(map(float, box)), CLASSES.index(colour)) for colour, box in boxes.items())
        pictures.append(Picture(i, name, width, height, truth))
    split = Split(CLASSES, tuple(pictures))
    dataset.save(split, folder)
    return split


def make(folder: Path, **overrides: object) -> Path:
    """Everything evaluate reads but the detector: data/raw/{val,test}, source.json, src/, params.yaml."""
    write_split(folder / "data/raw/val", 6, seed=1)
    write_split(folder / "data/raw/test", 10, seed=2)
    (folder / "data/raw/source.json").write_text(json.dumps(SOURCE))
    shutil.copy(small_repo.ROOT / "params.yaml", folder)
    shutil.copytree(small_repo.ROOT / "infra/container", folder / "infra/container")
    (folder / "src").symlink_to(small_repo.ROOT / "src")
    small = {"evaluate__pictures": 2, "deploy__check_pictures": 4, "deploy__behaviour_pictures": 4}
    small_repo.set_params(folder, evaluate__bootstrap=20, **small, **overrides)
    return folder


SAVE = """
import sys
sys.path[:0] = sys.argv[2:]
import numpy as np
import evaluated_repo
from plantdoc.detector import tf_setup
tf_setup.configure(1, 1)
from plantdoc.detector import detector
config = detector.Config("yolov8", "yolov8", "xs", 64, evaluated_repo.CLASSES, 0.0001, 0.6, 20, {"seed": 1})
made = detector.Detector(config)
for variable in made.model.variables:
    if "box_3_conv/bias" in variable.path:  # small boxes, most of them inside the picture
        variable.assign(np.tile(-0.5 * np.arange(16), 4))
    elif len(variable.shape) == 4:  # with fresh kernels it would say the same of every picture
        variable.assign(variable * 1.75)
detector.save(made, sys.argv[1])
"""


def save_untrained(folder: Path) -> Path:
    """Save a detector with random weights, which reports 20 boxes a picture, in the form train leaves it."""

    def build(new: Path) -> None:
        new.mkdir(parents=True)
        root = small_repo.ROOT
        small_repo.run(root, sys.executable, "-c", SAVE, str(new), str(root / "src"), str(root / "tests/support"))

    return repo_templates.copy("untrained", build, folder)


def run(folder: Path, stage: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess:
    """Run a stage of `folder` as dvc does."""
    return small_repo.run(folder, sys.executable, f"src/{stage}.py", check=check, **extra)
