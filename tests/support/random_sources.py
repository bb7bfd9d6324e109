"""Small random data sets written in each format that fetch reads, by code that shares nothing with the readers."""

from __future__ import annotations

import csv
import io
import json
import random
import struct
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import annotated_files

SIZE = (96, 64)
WORDS = (
    "leaf",
    "Blatt",
    "Äpfel",
    "叶子",
    "лист",
    "feuille d'été",
    "IMG_001",
    "a b",
    "100%",
    "x&y",
    "p.v1",
    "0007",
    "ورقة",
)
CLASSES = ("leaf", "Blätter", "Roter Rost", "叶斑病", 'it\'s <rust> & "mould"')
Corners = tuple[int, int, int, int]


@dataclass
class Truth:
    """A data set: pictures by their path below the split's folder, each with (class name, corners in px)."""

    pictures: dict[tuple[str, str], list[tuple[str, Corners]]] = field(default_factory=dict)


def truth(draw: random.Random) -> Truth:
    """A random data set of one to three splits."""
    made = Truth()
    for split in draw.choice((("train",), ("train", "test"), ("train", "val", "test"))):
        for i in range(draw.randint(1, 4)):
            folder = draw.choice(("", "", f"{draw.choice(WORDS)}/", "a/b/"))
            name = f"{folder}{draw.choice(WORDS)}{i}.{draw.choice(('jpg', 'JPG', 'png', 'jpeg'))}"
            made.pictures[split, name] = [_box(draw) for _ in range(draw.choice((0, 1, 1, 2, 5)))]
    if not any(made.pictures.values()):
        made.pictures[next(iter(made.pictures))] = [_box(draw)]
    return made


def _box(draw: random.Random) -> tuple[str, Corners]:
    x, y = draw.randrange(0, 80), draw.randrange(0, 50)
    return draw.choice(CLASSES), (x, y, draw.randint(x + 4, SIZE[0]), draw.randint(y + 4, SIZE[1]))


def content(split: str, name: str) -> bytes:
    """The bytes of a picture, each its own."""
    return annotated_files.picture((split, name))


def coco(made: Truth, draw: random.Random) -> dict[str, bytes]:
    """One JSON per split, beside the pictures or in a folder of their own; sparse ids in odd order."""
    files = _pictures(made, "{split}/{name}")
    beside = draw.random() < 0.5
    ids = draw.sample(range(10_000), len(CLASSES))
    for split in {split for split, _ in made.pictures}:
        images, annotations = [], []
        its = [(name, boxes) for (s, name), boxes in made.pictures.items() if s == split]
        numbers = draw.sample(range(10**6), len(its))
        for number, (name, boxes) in zip(numbers, its, strict=True):
            path = draw.choice((name, f"{split}/{name}", name.replace("/", "\\")))
            images.append({"id": number, "file_name": path, "width": SIZE[0], "height": SIZE[1]})
            for label, (x0, y0, x1, y1) in boxes:
                box = {"image_id": number, "category_id": ids[CLASSES.index(label)], "bbox": [x0, y0, x1 - x0, y1 - y0]}
                annotations.append({"id": len(annotations), "iscrowd": 0, **box})
        categories = [{"id": key, "name": name} for key, name in zip(ids, CLASSES, strict=True)]
        for entries in (images, annotations, categories):
            draw.shuffle(entries)
        text = json.dumps(
            {"images": images, "annotations": annotations, "categories": categories}, ensure_ascii=draw.random() < 0.5
        )
        at = f"{split}/_annotations.coco.json" if beside else f"annotations/instances_{split}.json"
        files[at] = text.encode(draw.choice(("utf-8", "utf-8-sig", "utf-16")))
    return files


def voc(made: Truth, draw: random.Random) -> dict[str, bytes]:
    """An XML for each picture, beside it or in a folder of its own."""
    beside = draw.random() < 0.5
    files = _pictures(made, "{split}/{name}" if beside else "{split}/JPEGImages/{name}")
    for (split, name), boxes in made.pictures.items():
        objects = ""
        for label, (x0, y0, x1, y1) in boxes:
            if draw.random() < 0.2:
                x0, x1 = x1, x0
            sides = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            objects += f"<object><name>{escape(label)}</name><bndbox>{sides}</bndbox></object>"
        size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
        named = escape(Path(name).name) if draw.random() < 0.8 else "Untitled.jpg"
        text = f"<annotation><folder>x</folder><filename>{named}</filename>{size}{objects}</annotation>"
        at = f"{split}/{'' if beside else 'Annotations/'}{Path(name).with_suffix('.xml').as_posix()}"
        files[at] = text.encode()
    return files


def yolo(made: Truth, draw: random.Random) -> dict[str, bytes]:
    """Labels in one of the usual layouts, and a data.yaml, or a classes.txt."""
    layout = draw.choice(("{split}/{kind}/{name}", "{kind}/{split}/{name}", "{split}/{name}", "{split}_{kind}/{name}"))
    files = _pictures(made, layout.replace("{kind}", "images"))
    for (split, name), boxes in made.pictures.items():
        lines = []
        for label, (x0, y0, x1, y1) in boxes:
            (x0, x1), (y0, y1) = ((v / SIZE[0] for v in (x0, x1)), (v / SIZE[1] for v in (y0, y1)))
            if draw.random() < 0.2:
                numbers = (x0, y0, x1, y0, x1, y1, x0, y1)
            else:
                numbers = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
            lines.append(" ".join(map(repr, (CLASSES.index(label), *numbers))))
        if lines or draw.random() < 0.5:
            path = layout.format(split=split, kind="labels", name=Path(name).with_suffix(".txt").as_posix())
            files[path] = "\n".join(lines).encode()
    if draw.random() < 0.5:
        files["data.yaml"] = f"names: {json.dumps(CLASSES)}\n".encode()
    else:
        files["classes.txt"] = "\n".join(CLASSES).encode()
    return files


def cvat(made: Truth, draw: random.Random) -> dict[str, bytes]:
    """One XML for all pictures, the splits as subsets."""
    files = _pictures(made, "{split}/{name}")
    images = []
    for (split, name), boxes in made.pictures.items():
        shapes = ""
        for label, (x0, y0, x1, y1) in boxes:
            shapes += f'<box label={quoteattr(label)} xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"/>'
        about = f'subset="{split.title()}" width="{SIZE[0]}" height="{SIZE[1]}"'
        images.append(f'<image id="{len(images)}" name={quoteattr(f"{split}/{name}")} {about}>{shapes}</image>')
    draw.shuffle(images)
    files["annotations.xml"] = f"<annotations><version>1.1</version>{''.join(images)}</annotations>".encode()
    return files


def label_studio(made: Truth, draw: random.Random) -> dict[str, bytes]:
    """A list of tasks, coordinates in per cent."""
    files = _pictures(made, "{split}/{name}")
    tasks = []
    for (split, name), boxes in made.pictures.items():
        result = []
        for label, (x0, y0, x1, y1) in boxes:
            x, y, w, h = (100 * v / s for v, s in zip((x0, y0, x1 - x0, y1 - y0), SIZE * 2, strict=True))
            value = {"x": x, "y": y, "width": w, "height": h, "rotation": 0, "rectanglelabels": [label]}
            result.append(
                {"type": "rectanglelabels", "value": value, "original_width": SIZE[0], "original_height": SIZE[1]}
            )
        tasks.append(
            {
                "id": len(tasks),
                "data": {"image": f"/data/local-files/?d={split}/{name}"},
                "annotations": [{"result": result}],
            }
        )
    draw.shuffle(tasks)
    files["project-1.json"] = json.dumps(tasks).encode()
    return files


def tf_csv(made: Truth, draw: random.Random) -> dict[str, bytes]:
    """A CSV per split, columns and rows in any order."""
    files = _pictures(made, "{split}/{name}")
    columns = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
    draw.shuffle(columns)
    for split in {split for split, _ in made.pictures}:
        rows = []
        for (its, name), boxes in made.pictures.items():
            if its == split:
                for label, corners in boxes or [("", ("", "", "", ""))]:
                    rows.append(dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)))
                    rows[-1] |= {"filename": name, "width": SIZE[0], "height": SIZE[1], "class": label}
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, delimiter=draw.choice(",;\t"))
        writer.writeheader()
        writer.writerows(rows)
        files[f"{split}_labels.csv"] = text.getvalue().encode()
    return files


def tfrecords(made: Truth, draw: random.Random) -> dict[str, bytes]:
    """A file of records per split, in protobuf's wire format."""
    files = {}
    for split in {split for split, _ in made.pictures}:
        records = b""
        for (its, name), boxes in made.pictures.items():
            if its == split:
                features = {"image/encoded": [content(split, name)], "image/filename": [name.encode()]}
                features["image/object/class/text"] = [label.encode() for label, _ in boxes]
                for i, side in enumerate(("xmin", "ymin", "xmax", "ymax")):
                    features[f"image/object/bbox/{side}"] = [corners[i] / SIZE[i % 2] for _, corners in boxes]
                records += _record(_example(features))
        files[f"leaves_{split}.tfrecord"] = records
    return files


WRITERS = {
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "cvat": cvat,
    "label studio": label_studio,
    "csv": tf_csv,
    "tfrecords": tfrecords,
}


def _pictures(made: Truth, layout: str) -> dict[str, bytes]:
    return {layout.format(split=split, name=name): content(split, name) for split, name in made.pictures}


def _example(features: dict[str, list]) -> bytes:
    entries = b""
    for key, values in features.items():
        if values and isinstance(values[0], float):
            kind, packed = 2, _field(1, struct.pack(f"<{len(values)}f", *values))
        else:
            kind, packed = 1, b"".join(_field(1, value) for value in values)
        entries += _field(1, _field(1, key.encode()) + _field(2, _field(kind, packed)))
    return _field(1, entries)


def _field(number: int, data: bytes) -> bytes:
    length, size = b"", len(data)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _entry(i: int) -> int:
    for _ in range(8):
        i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
    return i


_TABLE = [_entry(i) for i in range(256)]
