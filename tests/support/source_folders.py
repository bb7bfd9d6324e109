"""Small annotated data sets in each format that fetch reads, made of pictures that look nothing like each other."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

Boxes = list[tuple[tuple[float, float, float, float], str]]  # corners in pixels, class name
SIZE = (96, 64)


def image(key: object, size: tuple[int, int] = SIZE) -> Image.Image:
    """An RGB picture of coloured patches that follow from `key`."""
    seed = int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:8], "big")
    patches = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The picture as bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def write_voc(folder: Path, name: str, data: bytes | None, boxes: Boxes | None, size: tuple[int, int] = SIZE) -> None:
    """One picture with its XML beside it; without `data` the XML alone, without `boxes` (None) the picture alone."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is not None:
        path.write_bytes(data)
    if boxes is not None:
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for (x0, y0, x1, y1), label in boxes
        )
        declared = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
        head = f"<folder>\t/x/y</folder><filename>{escape(path.name)}</filename>"
        text = f"<annotation>{head}{declared}{objects}</annotation>"
        path.with_suffix(".xml").write_text(text)


def voc(folder: Path, train: int = 24, test: int = 6) -> Path:
    """The official layout with two classes; picture i of a split is `image(f"{split} {i}")`."""
    for split, count in (("TRAIN", train), ("TEST", test)):
        for i in range(count):
            boxes = [((5, 6, 45, 50), "Apple leaf"), ((50, 10, 90, 60), "grape leaf")][: 1 + i % 2]
            write_voc(folder, f"{split}/p{i:03d}.jpg", encoded(image(f"{split} {i}"), quality=92), boxes)
    return folder


def write_coco(folder: Path, boxes_of: Mapping[str, Boxes]) -> None:
    """Pictures named `boxes_of`, made from their names, with `annotations.json` beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = sorted({label for boxes in boxes_of.values() for _, label in boxes})
    images, annotations = [], []
    for i, (name, boxes) in enumerate(boxes_of.items(), start=7):
        (folder / name).write_bytes(encoded(image(name), quality=92))
        images.append({"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        for (x0, y0, x1, y1), label in boxes:
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": 10 + labels.index(label), "image_id": i}
            annotations.append({"id": len(annotations) + 1, **box})
    categories = [{"id": 10 + i, "name": label} for i, label in enumerate(labels)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(data))
