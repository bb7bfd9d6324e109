"""YOLO: one .txt of `class x y width height` lines per picture, in 0..1 of its sides, and class names in one place.

The names stand in a data.yaml (https://docs.ultralytics.com/datasets/detect/), in LabelImg's `classes.txt`, in CVAT's
and Darknet's `obj.names`, or in Label Studio's `notes.json`. A picture without a .txt has no boxes, by this format's
convention. Polygons (`class x1 y1 x2 y2 …`) become the boxes around them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from plantdoc.core.errors import UserError
from plantdoc.fetch import assemble, shapes, split_names
from plantdoc.fetch.formats import yolo_names
from plantdoc.fetch.formats.recognition import Recognition
from plantdoc.fetch.picture_index import Reference
from plantdoc.fetch.raw_data import Entry, Lost, RawBox, RawData
from plantdoc.fetch.shapes import number
from plantdoc.fetch.source_files import SourceFiles, Unparsable
from plantdoc.fetch.split_lists import SplitLists

NAME = "YOLO"
_CONFIDENCE = "confidence of a box ignored"


def recognise(source: SourceFiles) -> Recognition:
    """Find the files with class names; without labels they are none of this format's."""
    found = yolo_names.recognise(source)
    labels = _labels(source, set(found.files))
    if not labels and not any(file.lower().endswith((".yaml", ".yml")) for file in found.files):
        found.files = []
    if labels and not found.files and not found.faults:
        found.faults[labels[0]] = (
            "seems to be a YOLO label, but no file has the class names: add a data.yaml with `names`, or a classes.txt"
        )
    return found


def read(source: SourceFiles, files: list[str]) -> RawData:
    """Read all pictures of the source with their labels.

    Raises:
        UserError: files with class names disagree, a list of pictures is missing, or there are labels without a picture
            and pictures without a label: those would be taken for pictures on which nothing is.
    """
    names = yolo_names.names(source, files)
    lists, folders, notes = yolo_names.declared_splits(source, files)
    entries = [_entry(source, label, names) for label in _labels(source, {*files, *lists.files})]
    for picture in source.pictures:
        if not lists.of(picture) and (declared := yolo_names.split_by_folder(picture, folders)):
            lists.declare(picture, *declared)
    data = assemble.assemble(source, entries, without_entry="", lists=lists, notes=notes)
    if any(split == "train" for _, split, _ in folders):
        data = _without_strays(data, lists)
    _refuse_unused_labels(source, data, entries)
    return replace(data, auxiliary=(*data.auxiliary, *files, *source.with_suffix("obj.data")))


def _without_strays(data: RawData, lists: SplitLists) -> RawData:
    """Pictures outside of the declared folders that have no label, like the plots of a training, are no negatives."""
    kept, strays = [], []
    for picture in data.pictures:
        (kept if picture.annotated or lists.of(picture.name) else strays).append(picture)
    reason = "without a label, and in no folder that data.yaml declares"
    lost = tuple(Lost(picture.split, picture.name, reason) for picture in strays)
    return replace(data, pictures=tuple(kept), lost=data.lost + lost)


def _labels(source: SourceFiles, others: set[str]) -> list[str]:
    """The .txt files that are labels: by their content, or, where they are damaged or empty, by a picture's stem."""
    stems = {_stem(picture) for picture in source.pictures} | {
        PurePosixPath(picture).name.casefold() for picture in source.pictures
    }
    return [
        file
        for file in source.with_suffix(".txt")
        if file not in others and (_stem(file) in stems or _looks_like_labels(source, file))
    ]


def _stem(file: str) -> str:
    return PurePosixPath(file).stem.casefold()


def _looks_like_labels(source: SourceFiles, file: str) -> bool:
    try:
        lines = [line.split() for line in source.text(file).splitlines() if line.strip()]
    except Unparsable:
        return False
    fit = sum(len(words) >= 5 and all(number(word) == number(word) for word in words) for words in lines)
    return 0 < len(lines) <= 2 * fit


def _entry(source: SourceFiles, label: str, names: dict[int, str]) -> Entry:
    reference = (Reference(label, label, own_path=True, split=split_names.of_folder(label)),)
    try:
        lines = source.text(label).splitlines()
    except Unparsable as error:
        return Entry(reference, fault=f"its label {label} {error}")
    boxes, repairs = [], []
    for line in lines:
        if line.strip():
            box, repair = _box(line.split(), names)
            boxes.append(box)
            repairs += [repair] if repair else []
    return Entry(reference, tuple(boxes), relative=True, repairs=tuple(dict.fromkeys(repairs)))


def _box(words: list[str], names: dict[int, str]) -> tuple[RawBox, str]:
    kind, *values = map(number, words)
    name = names.get(int(kind), "") if re.fullmatch(r"\d{1,9}(\.0*)?", words[0]) else ""
    repair = ""
    if len(values) == 5 and 0 <= values[4] <= 1:  # as detectors write them
        values, repair = values[:4], _CONFIDENCE
    if len(values) == 4:
        x, y, width, height = values
        return RawBox((x - width / 2, y - height / 2, x + width / 2, y + height / 2), name), repair
    if len(values) >= 6 and len(values) % 2 == 0:
        return RawBox(shapes.around(values[::2], values[1::2]), name), ""
    return RawBox(shapes.UNKNOWN, name, fault=f"line of {len(words)} numbers: a box has 5, a polygon 7, 9, …"), ""


def _refuse_unused_labels(source: SourceFiles, data: RawData, entries: list[Entry]) -> None:
    labels = {entry.at for entry in entries}
    unused = [lost for lost in data.lost if lost.missing and lost.name in labels]
    bare = [p.name for p in data.pictures if not p.annotated]
    if unused and bare:
        raise UserError(
            f"{source.folder} has labels that no picture belongs to ({len(unused)}, like {unused[0].name}) and "
            f"pictures without a label ({len(bare)}, like {bare[0]}): give picture and label the same name, delete "
            "labels that are left over, and put an empty .txt beside each picture on which nothing is to be found"
        )
