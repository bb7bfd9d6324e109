"""COCO JSON: one file per split, or one in all (https://cocodataset.org/#format-data)."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from plantdoc.fetch import assemble, shapes, split_lists, split_names
from plantdoc.fetch.formats.recognition import Recognition
from plantdoc.fetch.picture_index import PictureIndex, Reference
from plantdoc.fetch.raw_data import Entry, Lost, RawBox, RawData, declared_size
from plantdoc.fetch.shapes import number
from plantdoc.fetch.source_files import SourceFiles, Unparsable

NAME = "COCO JSON"
_KEYS = ("images", "annotations", "categories")


def recognise(source: SourceFiles) -> Recognition:
    """Find the files with boxes; those of other COCO tasks (captions, panoptic, keypoints) are passed over."""
    found = Recognition()
    keypoints = []
    for file in source.with_suffix(".json"):
        try:
            data = source.json(file)
        except Unparsable as error:
            if _speaks_of_coco(source, file):
                found.faults[file] = str(error)
            continue
        if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in _KEYS):
            continue
        annotations = [a for a in data["annotations"] if isinstance(a, dict)]
        if annotations and not any("bbox" in a or isinstance(a.get("segmentation"), list) for a in annotations):
            found.skipped[file] = "COCO annotations without boxes (captions or panoptic)"
        elif any("keypoints" in a for a in annotations):
            keypoints.append(file)
        else:
            found.files.append(file)
    if found.files:
        found.skipped |= dict.fromkeys(keypoints, "COCO keypoints, beside files with boxes")
    else:
        found.files = keypoints
    return found


def read(source: SourceFiles, files: list[str]) -> RawData:
    """Read every file. A picture that no file names is lost: nobody said that nothing is on it."""
    entries: list[Entry] = []
    lost: list[Lost] = []
    for file in files:
        data: Any = source.json(file)
        its_entries, its_lost = _read(file, data)
        entries += its_entries
        lost += its_lost
    lists = split_lists.find(source, PictureIndex(source.pictures))
    without = "no annotation file names it"
    return assemble.assemble(source, entries, without_entry=without, lists=lists, lost=lost, also_read=files)


def _read(file: str, data: dict) -> tuple[list[Entry], list[Lost]]:
    split = split_names.of_annotations(file)
    names = _class_names(data["categories"])
    boxes: dict[str, list[RawBox]] = defaultdict(list)
    for annotation in data["annotations"]:
        if isinstance(annotation, dict):
            boxes[_id(annotation.get("image_id"))].append(_box(annotation, names))
        else:
            boxes[""].append(RawBox(shapes.UNKNOWN, "", fault="annotation is not an object"))
    wanted_by: dict[str, set[str]] = defaultdict(set)
    for image in data["images"]:
        if isinstance(image, dict):
            wanted_by[_id(image.get("id"))].add(str(image.get("file_name")))
    entries, lost, seen = [], [], set()
    for i, image in enumerate(data["images"]):
        wanted = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(wanted, str) or not wanted.strip() or "id" not in image:
            lost.append(
                Lost(split or "train", f"{file}: image {i}", "the entry has no id or no file_name", missing=True)
            )
            continue
        key = _id(image["id"])
        its_boxes = () if key in seen else tuple(boxes.get(key, ()))
        seen.add(key)
        several = sorted(wanted_by[key])
        fault = f"{file}: {several[0]} and {several[1]} have one id, {key}" if len(several) > 1 else ""
        declared = declared_size(number(image.get("width")), number(image.get("height")))
        reference = Reference(file, wanted, split=split)
        split_from = f"name of {file}" if split else ""
        entries.append(Entry((reference,), its_boxes, False, declared, split, split_from, fault=fault))
    for key, orphans in boxes.items():
        if key not in seen:
            reason = "boxes of an image that the file does not list"
            lost.append(Lost(split or "train", f"{file}: image id {key}", reason, len(orphans), missing=True))
    return entries, lost


def _speaks_of_coco(source: SourceFiles, file: str) -> bool:
    try:
        text = source.text(file)
    except Unparsable:
        return False
    return any(f'"{key}"' in text for key in (*_KEYS, "bbox"))


def _id(value: object) -> str:
    """Ids compared as text: some tools write 1 here and "1" there."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _class_names(categories: list) -> dict[str, str]:
    """Class names by id; an id with two names has none, and its boxes say so."""
    names: dict[str, str] = {}
    for category in categories:
        if isinstance(category, dict) and category.get("name") is not None:
            key, name = _id(category.get("id")), str(category["name"])
            names[key] = name if names.get(key, name) == name else ""
    return names


def _box(annotation: dict, names: dict[str, str]) -> RawBox:
    name = names.get(_id(annotation.get("category_id")), "")
    bbox, polygons = annotation.get("bbox"), annotation.get("segmentation")
    if isinstance(bbox, list) and len(bbox) == 4:
        x, y, width, height = map(number, bbox)
        corners, _ = shapes.ordered(x, y, x + width, y + height)
    elif isinstance(polygons, list) and polygons and all(isinstance(p, list) and len(p) % 2 == 0 for p in polygons):
        xs = [number(x) for p in polygons for x in p[::2]]
        corners = shapes.around(xs, [number(y) for p in polygons for y in p[1::2]])
    else:
        corners = shapes.UNKNOWN
    return RawBox(corners, name, crowd=bool(annotation.get("iscrowd")))
