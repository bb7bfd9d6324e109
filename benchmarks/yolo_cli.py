"""Ultralytics YOLOv8n by its command line: a process beside ours, in an environment of its own (see `measure.peer`).

It runs offline and tells nobody: its settings go into a folder that the caller gives, YOLO_OFFLINE keeps it from the
network, and a network from scratch needs no download. On a CPU it ignores `workers` and loads in the training process.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import measure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.coco import dataset as coco_dataset
from plantdoc.core.errors import UserError

PEER, MODEL = "ultralytics", "yolov8n.yaml"


@dataclass(frozen=True)
class Ran:
    """What a process took, with all processes below it: wall and processor seconds, peak memory in MB; what it said."""

    seconds: float
    processor: float
    memory: float
    said: str


def timed(command: list[str], cwd: Path, log: Path, environment: dict[str, str] | None = None) -> Ran:
    """Run a command to its end, with what it says in the file `log`.

    Its peak memory cannot be told from this process's own where that is larger: Linux lets a process begin with it.

    Raises:
        UserError: it failed; the end of what it said is in the message.
    """
    started = time.monotonic()
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(environment or {})}, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)  # subprocess itself does not tell what a single child took
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    said = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode:
        raise UserError(f"`{' '.join(command)}` ended with {process.returncode}:\n{said[-3000:]}")
    seconds = time.monotonic() - started
    return Ran(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said)


def yolo(folder: Path, *arguments: str, threads: int | None = None) -> Ran:
    """Run `yolo` with these arguments; what it writes stays in `folder`, which is its working directory.

    Args:
        threads: what it computes with, up to eight. As it comes it takes one less than there are cores, at least one,
            whatever OMP_NUM_THREADS says; for another count it is told that there are other cores.
    """
    program = Path(measure.peer(PEER)).with_name("yolo")
    settings = {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0"}
    if threads:
        (folder / "sitecustomize.py").write_text(f"import os\nos.cpu_count = lambda: {threads + 1}\n")
        settings["PYTHONPATH"] = str(folder)
    return timed([str(program), *arguments], folder, folder / "yolo.log", settings)


def dataset(raw: Path, folder: Path, limits: dict[str, int] | None = None) -> Path:
    """Lay train and val of `raw` (see plantdoc.coco.dataset) out as Ultralytics wants them; returns its data.yaml.

    Pictures are links, named by their id so that no two share a label file.

    Args:
        limits: take so many pictures of a split, the first ones, instead of all.
    """
    classes: tuple[str, ...] = ()
    for name in ("train", "val"):
        split = coco_dataset.load(raw / name)
        classes = split.classes
        for kind in ("images", "labels"):
            (folder / kind / name).mkdir(parents=True)
        for picture in split.pictures[: (limits or {}).get(name)]:
            source = (raw / name / picture.file_name).resolve()
            (folder / "images" / name / f"{picture.id}{source.suffix}").symlink_to(source)
            lines = [_line(box, picture) for box in picture.boxes]
            (folder / "labels" / name / f"{picture.id}.txt").write_text("".join(lines))
    form = {"path": str(folder), "train": "images/train", "val": "images/val", "names": dict(enumerate(classes))}
    (folder / "data.yaml").write_text(json.dumps(form, indent=1))  # JSON is YAML
    return folder / "data.yaml"


def train(
    folder: Path, data: Path, size: int, seed: int, threads: int | None = None, **settings: object
) -> tuple[Ran, Path]:
    """Train YOLOv8n from scratch with Ultralytics' defaults and `settings`; returns also the folder of its results."""
    ran = yolo(
        folder,
        "detect", "train", f"model={MODEL}", "pretrained=False", f"data={data}", f"imgsz={size}", f"seed={seed}",
        "device=cpu", "plots=False", f"project={folder}", "name=train", "exist_ok=True",
        *(f"{key}={value}" for key, value in settings.items()),
        threads=threads,
    )  # fmt: skip
    return ran, folder / "train"


def validate(folder: Path, data: Path, weights: Path, size: int) -> list[dict]:
    """What a trained network finds in val, in COCO's results form.

    Asked as Ultralytics asks for its own mAP: every class of a box counts, down to a score of 0.001. `yolo predict`
    keeps the best class of a box alone, and would cost it mAP.
    """
    yolo(
        folder,
        "detect", "val", f"model={weights}", f"data={data}", f"imgsz={size}", "device=cpu", "plots=False",
        "save_json=True", f"project={folder}", "name=val", "exist_ok=True",
    )  # fmt: skip
    found = folder / "val/predictions.json"
    return [
        # Its JSON counts classes from 1, as COCO's own do.
        {"image_id": p["image_id"], "category_id": p["category_id"] - 1, "bbox": p["bbox"], "score": p["score"]}
        for p in (json.loads(found.read_text()) if found.exists() else [])
    ]


def epochs(results: Path) -> list[dict[str, float]]:
    """The rows of its results.csv, one per epoch; `time` is in seconds since training began."""
    with open(results / "results.csv", newline="") as file:
        return [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def gflops(said: str) -> float:
    """GFLOPs of a forward pass at 640 px, two per multiply and add, as it says when it has built the network.

    Raises:
        UserError: it does not say.
    """
    if not (found := re.search(r"summary: .*?([\d.]+) GFLOPs", said)):
        raise UserError(f"{PEER} does not say how many FLOPs its network takes; it says:\n{said[-2000:]}")
    return float(found[1])


def _line(box: coco_dataset.Box, picture: coco_dataset.Picture) -> str:
    x, y, width, height = box.xywh
    centre = (x + width / 2) / picture.width, (y + height / 2) / picture.height
    return " ".join(map(repr, (box.category, *centre, width / picture.width, height / picture.height))) + "\n"
