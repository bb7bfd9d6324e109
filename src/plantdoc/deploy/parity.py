"""Whether a bundle answers as the detector did when it was evaluated."""

from __future__ import annotations

from pycocotools import mask

from plantdoc.coco.dataset import Split

BOX_WITHIN, SCORE_WITHIN = 0.1, 1e-4  # px; and of a score 0..1
TIE_WITHIN = 0.01  # IoU
MAX_TIES = 0.05  # of a picture's detections; two are always allowed, since a swap is one on each side


def differences(expected: list[dict], answered: list[dict], config, split: Split, ids: list[int]) -> list[str]:
    """Differences between `answered` and `expected` (both COCO results) on pictures `ids`, one line each.

    Each detection must have a partner of its class, its box within BOX_WITHIN and its score within SCORE_WITHIN. One
    without a partner is excused where a float's last bit decides whether it is reported: at `config.score_floor`, at
    the cut after `config.max_detections`, or where it overlaps a stronger one by just `config.nms_iou`. On the machine
    that evaluated, nothing needs to be excused.
    """
    lines = []
    for picture in split.pictures:
        if picture.id not in ids:
            continue
        left, right = ([row for row in rows if row["image_id"] == picture.id] for rows in (expected, answered))
        alone = [("evaluate", row, right) for row in _without_partner(left, right)]
        alone += [("the bundle", row, left) for row in _without_partner(right, left)]
        faults = [item for item in alone if not _is_tie(item[1], item[2], config)]
        if len(alone) - len(faults) > max(2, MAX_TIES * max(len(left), len(right))):
            faults = alone
        for who, row, _ in faults:
            what = f"{split.classes[row['category_id']]} at {row['bbox']}, score {row['score']}"
            lines.append(f"{picture.file_name}: {who} alone finds {what}")
    return lines


def spread(ids: list[int], count: int) -> list[int]:
    """`count` of `ids` (all, if there are fewer), evenly over their order."""
    count = min(count, len(ids))
    return [ids[i * len(ids) // count] for i in range(count)]


def _without_partner(rows: list[dict], others: list[dict]) -> list[dict]:
    free, alone = list(others), []
    for row in rows:
        partner = min((o for o in free if _alike(row, o)), key=lambda o: abs(o["score"] - row["score"]), default=None)
        if partner is None:
            alone.append(row)
        else:
            free.remove(partner)
    return alone


def _alike(a: dict, b: dict) -> bool:
    return (
        a["category_id"] == b["category_id"]
        and abs(a["score"] - b["score"]) <= SCORE_WITHIN
        and all(abs(x - y) <= BOX_WITHIN for x, y in zip(a["bbox"], b["bbox"], strict=True))
    )


def _is_tie(row: dict, others: list[dict], config) -> bool:
    lowest = config.score_floor
    if len(others) == config.max_detections:
        lowest = max(lowest, min(other["score"] for other in others))
    if row["score"] <= lowest + SCORE_WITHIN:
        return True
    stronger = [o["bbox"] for o in others if o["category_id"] == row["category_id"] and o["score"] > row["score"]]
    overlaps = mask.iou([row["bbox"]], stronger, [0] * len(stronger))[0] if stronger else ()
    return any(abs(overlap - config.nms_iou) < TIE_WITHIN for overlap in overlaps)
