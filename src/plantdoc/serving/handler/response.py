"""Responses to clients: detections as JSON. Travels inside the bundle."""

from __future__ import annotations

from collections.abc import Sequence

from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.uploaded_image import UploadedImage


def of_one(photo: UploadedImage, row: dict[str, list], threshold: float, most: int | None = None) -> dict:
    """The answer for one picture.

    Args:
        photo: what was asked about.
        row: the model's outputs for it as plain lists: `boxes` [N, 4] (xywh in pixels of the picture as displayed),
            `scores`, `class_ids` (-1: unused) and `class_names`, best first.
        threshold: weaker detections are left out.
        most: how many of the best are kept; None: all.
    """
    columns = (row[key] for key in ("boxes", "scores", "class_ids", "class_names"))
    found = [
        {"box": [round(side, 3) for side in box], "score": round(score, 6), "class_id": number, "class_name": name}
        for box, score, number, name in zip(*columns, strict=True)
        if number >= 0 and score >= threshold
    ]
    return {"width": photo.width, "height": photo.height, "detections": found[:most]}


def body(predictions: Sequence[dict | Refused], many: bool, model: str, threshold: float, milliseconds: float) -> dict:
    """The whole answer: flat for one picture, `predictions` for `many`, each an answer or an `error`.

    Raises:
        Refused: the one picture's.
    """
    head = {"model": model, "milliseconds": round(milliseconds, 1), "threshold": threshold}
    if not many:
        (one,) = predictions
        if isinstance(one, Refused):
            raise one
        return head | one
    return head | {"predictions": [refusal(one) if isinstance(one, Refused) else one for one in predictions]}


def refusal(refused: Refused) -> dict:
    """The answer that says what was wrong."""
    return {"error": refused.as_json()}
