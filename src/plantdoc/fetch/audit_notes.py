"""Notes of the audit report on the splits as a whole: what was cut, what is too rare, what is too many."""

from __future__ import annotations

from collections.abc import Sequence

from plantdoc.coco import dataset
from plantdoc.fetch.audit import Audited

_CROWDED = 100  # boxes on a picture; train uses no more, and detects no more by default


def on_cut_splits(pictures: Sequence[Audited], sides: list[str]) -> list[str]:
    """Notes on splits that the source did not have, and how much was cut off train for them."""
    in_source = [p.split for p in pictures]
    return [
        f"The source has no {name} split: {sides.count(name)} of its {in_source.count('train')} training pictures "
        f"became {name}, by their content (fetch.val_fraction)."
        for name in ("val", "test")
        if name not in in_source
    ]


def on_rare_classes(splits: dict[str, dataset.Split]) -> list[str]:
    """Classes that cannot be learned or scored."""
    notes = []
    for i, name in enumerate(splits["train"].classes):
        counts = {key: sum(any(b.category == i for b in p.boxes) for p in one.pictures) for key, one in splits.items()}
        if counts["train"] < 2:
            few = "one picture" if counts["train"] else "no picture"
            notes.append(f"{name}: {few} in train; it cannot be learned. Add pictures, or merge it by fetch.aliases.")
        if not counts["test"]:
            notes.append(f"{name}: no picture in test; it is not scored.")
    return notes


def on_crowded_pictures(splits: dict[str, dataset.Split]) -> list[str]:
    """Pictures with more boxes than are learned from and, by default, detected."""
    notes = []
    for name, one in splits.items():
        if many := [p.file_name for p in one.pictures if len(p.boxes) > _CROWDED]:
            have = f"{len(many)} pictures have" if len(many) > 1 else "1 picture has"
            what = (
                f"training uses the first {_CROWDED} of each"
                if name == "train"
                else "no more than model.max_detections can be found on each"
            )
            notes.append(f"{name}: {have} more than {_CROWDED} boxes, like {many[0]}; {what}.")
    return notes
