"""YOLO: a data.yaml with `names`, and one .txt of `class x y width height` lines per picture, in 0..1 of its sides.

A picture without a .txt has no boxes, by this format's convention. Polygons (`class x1 y1 x2 y2 …`) become the boxes
around them. See https://docs.ultralytics.com/datasets/detect/.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from plantdoc.core.errors import UserError
from plantdoc.fetch.decode import SUFFIXES
from plantdoc.fetch.formats.raw_data import Lost, RawBox, RawData, RawPicture, number, split_of

_NAN = float("nan")


def recognise(folder: Path, files: list[str]) -> list[tuple[str, dict]]:
    """The .yaml files that list class names, if any, and their content."""
    found = []
    for file in files:
        if file.lower().endswith((".yaml", ".yml")):
            try:
                data = YAML(typ="safe", pure=True).load((folder / file).read_text(encoding="utf-8-sig"))
            except (YAMLError, ValueError, RecursionError):
                continue
            if isinstance(data, dict) and isinstance(data.get("names"), list | dict):
                found.append((file, data))
    return found


def read(folder: Path, files: list[str], found: list[tuple[str, dict]], scratch: Path) -> RawData:
    """Read all pictures of the folder with their labels.

    Raises:
        UserError: there are several data.yaml files that name different classes.
    """
    file, data = found[0]
    names = _names(data)
    for other, its_data in found[1:]:
        if _names(its_data) != names:
            raise UserError(f"{folder} holds {file} and {other}, which name different classes: keep one of them")
    known = set(files)
    pictures, labels_used = [], set()
    for name in files:
        if PurePosixPath(name).suffix.lower() not in SUFFIXES:
            continue
        label = next((label for label in _labels(name) if label in known), None)
        labels_used.add(label)
        boxes = _boxes(folder / label, names) if label else ()
        split = split_of(name) or _declared_split(name, file, data) or "train"
        pictures.append(RawPicture(split, name, folder / name, boxes, relative=True))
    orphans = [f for f in files if f.endswith(".txt") and "labels" in PurePosixPath(f).parts and f not in labels_used]
    lost = [Lost(split_of(f) or "train", f, "the picture of this box file is missing") for f in orphans]
    return RawData(tuple(pictures), tuple(lost))


def _names(data: dict) -> dict[int, str]:
    names = data["names"]
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    return {int(key): str(name) for key, name in pairs}


def _labels(name: str) -> list[str]:
    """Possible paths of a picture's labels: the last `images` folder replaced by `labels`, or beside it."""
    stem = PurePosixPath(name).with_suffix(".txt")
    parts = list(stem.parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return [PurePosixPath(*parts).as_posix(), stem.as_posix()]


def _declared_split(name: str, file: str, data: dict) -> str | None:
    """The split whose folder in data.yaml holds the picture; roots are ignored, since exports get them wrong."""
    for split, key in (("train", "train"), ("val", "val"), ("test", "test")):
        folders = data.get(key) or []
        for folder in [folders] if isinstance(folders, str) else folders:
            parts = [part for part in PurePosixPath(str(folder)).parts if part not in ("..", ".", "/")]
            if parts and "/".join(parts) + "/" in f"{name}":
                return split
    return None


def _boxes(label: Path, names: dict[int, str]) -> tuple[RawBox, ...]:
    boxes = []
    for line in label.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if words:
            values = [number(word) for word in words]
            name = names.get(int(values[0]), "") if values[0] >= 0 else ""
            boxes.append(RawBox(_corners(values[1:]), name))
    return tuple(boxes)


def _corners(values: list[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        x, y, width, height = values
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(values) >= 6 and len(values) % 2 == 0:
        return (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    return (_NAN, _NAN, _NAN, _NAN)
