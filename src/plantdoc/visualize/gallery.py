"""Pictures of what the detector does: its best, its worst and some random ones, truth and predictions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from plantdoc.coco.dataset import Picture, Split
from plantdoc.core import hashing
from plantdoc.visualize import drawing

SIDES = 400, 640  # px; the longer side is brought between these, so that labels can be read


def choose(split: Split, f1: dict[int, float], count: int, seed: int) -> dict[str, Picture]:
    """`count` pictures each as best-1, worst-1, random-1, …: by F1, then by name; none of them twice."""
    ranked = sorted(split.pictures, key=lambda p: (-f1[p.id], p.file_name))
    best = ranked[:count]
    worst = sorted(ranked[count:], key=lambda p: (f1[p.id], p.file_name))[:count]
    rest = [p for p in split.pictures if p not in best and p not in worst]
    random = sorted(rest, key=lambda p: hashing.of_value(["gallery", seed, p.file_name]))[:count]
    groups = {"best": best, "worst": worst, "random": random}
    return {f"{kind}-{n}": picture for kind, group in groups.items() for n, picture in enumerate(group, start=1)}


def draw(
    picture: Picture, folder: Path | str, classes: Sequence[str], found: list[dict], threshold: float, title: str
) -> Image.Image:
    """The picture twice: with its true boxes, and with those of `found` (COCO results) scoring `threshold` or more."""
    found = sorted((row for row in found if row["score"] >= threshold), key=lambda row: -row["score"])
    with Image.open(Path(folder) / picture.file_name) as file:
        image = file.convert("RGB")
    longest = max(image.size)
    scale = min(max(longest, SIDES[0]), SIDES[1]) / longest
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    truth = [([v * scale for v in b.xywh], classes[b.category], drawing.colour_of(b.category)) for b in picture.boxes]
    answer = [
        (
            [v * scale for v in row["bbox"]],
            f"{classes[row['category_id']]} {row['score']:.2f}",
            drawing.colour_of(row["category_id"]),
        )
        for row in found
    ]
    captions = (f"truth: {len(truth)}", f"detector: {len(answer)} with a score of {threshold:.2f} or more")
    return drawing.side_by_side(
        drawing.draw_boxes(image, truth), drawing.draw_boxes(image, answer), captions, title=title
    )
