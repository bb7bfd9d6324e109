"""COCO annotations, the one form in which boxes live inside the project (https://cocodataset.org/#format-data).

Boxes are `[x, y, width, height]` in pixels of the stored picture. Category ids count from 0 in the order of
`categories`, since KerasCV one-hots ids in [0, classes).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Box:
    """One labelled leaf: `xywh` in pixels, `category` an index into the data set's classes."""

    xywh: tuple[float, float, float, float]
    category: int


@dataclass(frozen=True)
class Picture:
    """One picture of a split: its id, file name inside the split's folder, size in pixels, and boxes.

    `crowds` are regions of many leaves that nobody separated: not learned, and ignored where detections are scored.
    """

    id: int
    file_name: str
    width: int
    height: int
    boxes: tuple[Box, ...] = field(default=())
    crowds: tuple[Box, ...] = field(default=())


@dataclass(frozen=True)
class Split:
    """The pictures of train, val or test, and the class names that all splits share."""

    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]

    def to_json(self) -> dict:
        """The split as a COCO data set; annotation ids count from 1, as pycocotools wants."""
        annotations = []
        for picture in self.pictures:
            first = len(annotations)
            for box in (*picture.boxes, *picture.crowds):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": picture.id,
                        "category_id": box.category,
                        "bbox": [round(v, 3) for v in box.xywh],
                        "area": round(box.xywh[2] * box.xywh[3], 3),
                        "iscrowd": int(len(annotations) - first >= len(picture.boxes)),
                    }
                )
        return {
            "images": [
                {"id": p.id, "file_name": p.file_name, "width": p.width, "height": p.height} for p in self.pictures
            ],
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in enumerate(self.classes)],
        }


def save(split: Split, folder: Path | str) -> None:
    """Write `annotations.json` into a split's folder, stable to the byte."""
    text = json.dumps(split.to_json(), indent=1, ensure_ascii=False)
    (Path(folder) / "annotations.json").write_text(text + "\n", encoding="utf-8")


def load(folder: Path | str) -> Split:
    """Read a split written by `save`; pictures stay in the order of the file."""
    data = json.loads((Path(folder) / "annotations.json").read_text(encoding="utf-8"))
    boxes: dict[int, tuple[list[Box], list[Box]]] = {image["id"]: ([], []) for image in data["images"]}
    for a in data["annotations"]:
        boxes[a["image_id"]][a["iscrowd"]].append(Box(tuple(a["bbox"]), a["category_id"]))
    return Split(
        classes=tuple(c["name"] for c in data["categories"]),
        pictures=tuple(
            Picture(i["id"], i["file_name"], i["width"], i["height"], *map(tuple, boxes[i["id"]]))
            for i in data["images"]
        ),
    )
