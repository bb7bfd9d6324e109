"""COCO JSON: one file per split, or one in all (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path, PurePosixPath

from plantdoc.core.errors import UserError
from plantdoc.fetch.decode import SUFFIXES
from plantdoc.fetch.formats.raw_data import Lost, RawBox, RawData, RawPicture, number, split_of

_KEYS = ("images", "annotations", "categories")


def recognise(folder: Path, files: list[str]) -> list[tuple[str, dict]]:
    """The annotation files and their content, if any."""
    found = []
    for file in files:
        if file.lower().endswith(".json"):
            try:
                data = json.loads((folder / file).read_text(encoding="utf-8-sig"))
            except (ValueError, RecursionError):
                continue
            if isinstance(data, dict) and all(isinstance(data.get(key), list) for key in _KEYS):
                found.append((file, data))
    return found


def read(folder: Path, files: list[str], found: list[tuple[str, dict]], scratch: Path) -> RawData:
    """Read every file; pictures are looked for beside it, then by name among all files of its split."""
    known = {file for file in files if PurePosixPath(file).suffix.lower() in SUFFIXES}
    by_name: dict[str, list[str]] = {}
    for file in sorted(known):
        by_name.setdefault(PurePosixPath(file).name, []).append(file)
    pictures: dict[str, RawPicture] = {}
    lost: list[Lost] = []
    for file, data in found:
        split = split_of(file, by_name=True)
        try:
            names = {category["id"]: str(category["name"]) for category in data["categories"]}
            boxes: dict[object, list[RawBox]] = {}
            for annotation in data["annotations"]:
                boxes.setdefault(annotation["image_id"], []).append(_box(annotation, names))
            for image in data["images"]:
                wanted = str(image["file_name"])
                name = _find(wanted, file, split, known, by_name)
                if name is None:
                    lost.append(Lost(split or "train", wanted, f"{file} names it, but it is missing"))
                elif name not in pictures:
                    its_boxes = tuple(boxes.get(image["id"], ()))
                    its_split = split or split_of(name) or "train"
                    pictures[name] = RawPicture(its_split, name, folder / name, its_boxes, declared=_declared(image))
        except (KeyError, TypeError) as error:
            fault = f"{type(error).__name__}: {error}"
            raise UserError(f"{folder / file} is not valid COCO JSON ({fault}): export it again") from None
    return RawData(tuple(pictures.values()), tuple(lost))


def _find(wanted: str, file: str, split: str | None, known: set[str], by_name: dict[str, list[str]]) -> str | None:
    # Only files that were listed count, so that no file_name leads out of the source.
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(file), wanted))
    if beside in known:
        return beside
    namesakes = by_name.get(posixpath.basename(wanted), [])
    return next((name for name in namesakes if split is None or split_of(name) in (None, split)), None)


def _box(annotation: dict, names: dict) -> RawBox:
    x, y, width, height = map(number, (*annotation.get("bbox", ()), *4 * [None])[:4])
    return RawBox((x, y, x + width, y + height), names[annotation["category_id"]])


def _declared(image: dict) -> tuple[int, int] | None:
    width, height = number(image.get("width")), number(image.get("height"))
    return (int(width), int(height)) if 1 <= width < 1e6 and 1 <= height < 1e6 else None
