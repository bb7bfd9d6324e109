"""Sources written file by file, and what is read of them, in a form that tests compare."""

from __future__ import annotations

import json
from pathlib import Path

import source_folders

from plantdoc.fetch import formats

CATEGORIES = [{"id": 1, "name": "leaf"}, {"id": 2, "name": "rust"}]
LINE = "0 0.5 0.5 0.4 0.4\n"  # a YOLO label
ON_PAGE = (28.8, 19.2, 67.2, 44.8)  # its corners on a picture of 96 × 64


def picture(key: object = 0) -> bytes:
    return source_folders.encoded(source_folders.image(key))


def image(key: object, name: str) -> dict:
    return {"id": key, "file_name": name, "width": 96, "height": 64}


def box(image_id: object, category: object = 1, xywh=(5, 6, 40, 40), **more) -> dict:
    return {"id": 1, "image_id": image_id, "category_id": category, "bbox": list(xywh), "iscrowd": 0, **more}


def coco(images: list, annotations: list, categories: list = CATEGORIES) -> str:
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}, ensure_ascii=False)


def voc(filename: str, label: str = "leaf", corners=(5, 6, 45, 46), shape: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    shape = shape or f"<bndbox>{''.join(f'<{side}>{value}</{side}>' for side, value in sides)}</bndbox>"
    size = "<size><width>96</width><height>64</height></size>"
    return f"<annotation><filename>{filename}</filename>{size}<object><name>{label}</name>{shape}</object></annotation>"


def read(tmp_path: Path, files: dict[str, str | bytes]) -> formats.Reading:
    """Write the files (pictures where the value is b"") and read them."""
    for name, content in files.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content or picture(name))
    (tmp_path / "scratch").mkdir()
    return formats.read(tmp_path / "source", tmp_path / "scratch")


def boxes(reading: formats.Reading) -> dict[str, list]:
    """The boxes of each picture, corners in pixels of a picture of 96 × 64."""
    found: dict[str, list] = {}
    for p in reading.data.pictures:
        scale = (96, 64, 96, 64) if p.relative else (1, 1, 1, 1)
        found[p.name] = [
            (b.name, tuple(round(v * s, 1) for v, s in zip(b.corners, scale, strict=True))) for b in p.boxes
        ]
    return found


def names(reading: formats.Reading) -> dict[str, list[str]]:
    """The class names of each picture's boxes."""
    return {name: [label for label, _ in its] for name, its in boxes(reading).items()}


def sides(reading: formats.Reading) -> dict[str, str]:
    return {p.name: p.split for p in reading.data.pictures}


def reasons(reading: formats.Reading) -> dict[str, str]:
    return {lost.name: lost.reason for lost in reading.data.lost}
