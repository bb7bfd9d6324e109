"""Pictures with boxes in layers, for Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plantdoc.coco import dataset

PICTURES = 100  # in a table at most
SCORE = 0.05  # predictions below it would hide the picture; for those above the page has a slider


def table(split: dataset.Split, folder: Path | str, found: list[dict]):
    """A wandb.Table with a row per picture: its name, the picture under two layers of boxes, how many are in each.

    Args:
        split: the pictures and their true boxes, layer `ground_truth`; of many, PICTURES spread over all.
        folder: where the pictures lie.
        found: COCO results, layer `predictions`, boxes in pixels of the picture.
    """
    import wandb

    names = dict(enumerate(split.classes))
    pictures = [split.pictures[i] for i in range(0, len(split.pictures), -(-len(split.pictures) // PICTURES))]
    table = wandb.Table(["picture", "boxes", "true", "predicted"])
    for picture in pictures:
        truth = [_box(box.xywh, names, box.category) for box in picture.boxes]
        rows = [row for row in found if row["image_id"] == picture.id and row["score"] >= SCORE]
        predictions = [_box(row["bbox"], names, row["category_id"], row["score"]) for row in rows]
        layers = {"ground_truth": truth, "predictions": predictions}
        boxes = {layer: {"box_data": data, "class_labels": names} for layer, data in layers.items()}
        image = wandb.Image(str(Path(folder) / picture.file_name), boxes=boxes)
        table.add_data(picture.file_name, image, len(truth), len(predictions))
    return table


def _box(xywh: Sequence[float], names: dict[int, str], category: int, score: float | None = None) -> dict:
    """W&B's form of a box."""
    x, y, width, height = xywh
    return {
        "position": {"minX": x, "minY": y, "maxX": x + width, "maxY": y + height},
        "domain": "pixel",
        "class_id": category,
        "box_caption": names[category] + (f" {score:.2f}" if score is not None else ""),
        "scores": {} if score is None else {"score": score},
    }
