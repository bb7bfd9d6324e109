"""Six test pictures with the truth and with what both revisions found, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from plantdoc.coco import dataset, metrics
from plantdoc.coco.dataset import Picture, Split
from plantdoc.core import hashing
from plantdoc.core.errors import UserError
from plantdoc.evaluate import curves
from plantdoc.repo.revisions import Revision
from plantdoc.report import dvc_files
from plantdoc.report.changes import RAW
from plantdoc.visualize import drawing

PREDICTIONS = "results/evaluate/predictions.json"
_EACH = 2  # pictures of the largest gain, of the largest loss, and random ones
# px; GitHub shows a comment about 850 px wide, so that three pictures of this size come out almost as they are and
# the labels, whose letters have a least size, stay large beside them.
_SIDE = 320


@dataclass(frozen=True)
class Detections:
    """Detections of a revision in the test pictures: COCO results, the threshold it works at, F1 by picture id."""

    rows: list[dict]
    threshold: float
    f1: dict[int, float]


def load(revision: Revision, scratch: Path) -> tuple[Split, dict[str, Path], dict]:
    """The test split of a revision, its files by name, and whose pictures these are (data/raw/source.json).

    Raises:
        UserError: the data is neither in the cache nor in the remote, or no test picture has a box.
    """
    found = dvc_files.files(revision, RAW, scratch, "test")
    text = found["annotations.json"].read_text(encoding="utf-8")
    if not json.loads(text)["annotations"]:
        raise UserError(f"no test picture of {revision.name} has a box")
    folder = scratch / "truth"
    folder.mkdir(exist_ok=True)
    (folder / "annotations.json").write_text(text, encoding="utf-8")
    (source,) = dvc_files.files(revision, RAW, scratch, "source.json").values()
    return dataset.load(folder), found, json.loads(source.read_bytes())


def detections(revision: Revision, split: Split, scratch: Path) -> Detections:
    """Read a revision's predictions for the pictures of `split`.

    Raises:
        UserError: there are none, or they are neither in the cache nor in the remote.
    """
    if "evaluate:threshold" not in revision.metrics:
        raise UserError(f"{revision.name} has no test results: run `dvc repro` there")
    (path,) = dvc_files.files(revision, PREDICTIONS, scratch).values()
    rows = json.loads(path.read_bytes())
    threshold = revision.metrics["evaluate:threshold"]
    return Detections(rows, threshold, curves.f1_of_pictures(metrics.evaluate(split, rows), threshold))


def choose(split: Split, old: Detections | None, new: Detections, seed: int) -> list[tuple[str, Picture]]:
    """Pictures and the reason for each: the largest gains in F1, the largest losses, then random ones up to six.

    Without `old` the best and the worst stand for gains and losses. Equal ones go by name; none comes twice.
    """
    gain = {p.id: new.f1[p.id] - old.f1[p.id] if old else new.f1[p.id] for p in split.pictures}
    up = sorted(split.pictures, key=lambda p: (-gain[p.id], p.file_name))[:_EACH]
    down = sorted(split.pictures, key=lambda p: (gain[p.id], p.file_name))[:_EACH]
    if old:
        up, down = [p for p in up if gain[p.id] > 0], [p for p in down if gain[p.id] < 0]
    else:
        down = [p for p in down if p not in up]
    rest = [p for p in split.pictures if p not in up and p not in down]
    random = sorted(rest, key=lambda p: hashing.of_value(["report", seed, p.file_name]))
    words = ("largest gain", "largest loss") if old else ("best", "worst")
    chosen = [(words[0], p) for p in up] + [(words[1], p) for p in down]
    return chosen + [("random", p) for p in random[: 3 * _EACH - len(chosen)]]


def draw(
    picture: Picture, path: Path, classes: Sequence[str], old: Detections | None, new: Detections, title: str, note: str
) -> Image.Image:
    """One sheet: the picture with its true boxes, with those of `old` where there is one, and with those of `new`."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = _SIDE / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    truth = [(b.xywh, classes[b.category], b.category) for b in picture.boxes]
    cells = [(_boxed(image, truth, scale), f"truth: {len(truth)}")]
    for when, one in (("before", old), ("after", new)):
        if one:
            rows = [row for row in one.rows if row["image_id"] == picture.id and row["score"] >= one.threshold]
            rows.sort(key=lambda row: -row["score"])
            found = [(r["bbox"], f"{classes[r['category_id']]} {r['score']:.2f}", r["category_id"]) for r in rows]
            caption = f"{when}: {len(found)} of score {one.threshold:.2f} or more"
            cells.append((_boxed(image, found, scale), caption))
    return drawing.contact_sheet(cells, len(cells), image.size, f"{title} ({note})" if note else title)


def _boxed(image: Image.Image, boxes: Sequence[tuple], scale: float) -> Image.Image:
    scaled = [([v * scale for v in xywh], label, drawing.colour_of(category)) for xywh, label, category in boxes]
    return drawing.draw_boxes(image, scaled)
