"""Label Studio's JSON and JSON-MIN exports: a list of tasks, boxes in per cent of the picture's sides.

The form: https://labelstud.io/guide/export.html and, for boxes, https://labelstud.io/tags/rectanglelabels.html.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import parse_qs

from plantdoc.fetch import assemble, shapes, split_names
from plantdoc.fetch.formats.recognition import Recognition
from plantdoc.fetch.picture_index import Reference
from plantdoc.fetch.raw_data import Entry, Lost, RawBox, RawData, declared_size
from plantdoc.fetch.shapes import number
from plantdoc.fetch.source_files import SourceFiles, Unparsable, is_picture_name

NAME = "Label Studio JSON"
_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels", "brushlabels", "keypointlabels")


def recognise(source: SourceFiles) -> Recognition:
    """Find the lists of tasks."""
    found = Recognition()
    for file in source.with_suffix(".json"):
        try:
            data = source.json(file)
        except Unparsable as error:
            if '"annotations"' in _text(source, file) and '"result"' in _text(source, file):
                found.faults[file] = str(error)
            continue
        if isinstance(data, list) and any(isinstance(task, dict) and _picture(task) for task in data):
            found.files.append(file)
    return found


def read(source: SourceFiles, files: list[str]) -> RawData:
    """Read all tasks. A task without an annotation was not looked at: its picture is lost."""
    entries: list[Entry] = []
    lost: list[Lost] = []
    for file in files:
        tasks: Any = source.json(file)
        split = split_names.of_annotations(file)
        for i, task in enumerate(tasks):
            name = _picture(task) if isinstance(task, dict) else ""
            if name:
                entries.append(_entry(file, name, task, split))
            else:
                lost.append(Lost(split or "train", f"{file}: task {i}", "the task names no picture", missing=True))
    return assemble.assemble(source, entries, without_entry="no task names it", lost=lost, also_read=files)


def _picture(task: dict) -> str:
    """The picture that a task is about; the key under `data` is chosen by each project."""
    data = task.get("data")
    holder = data if isinstance(data, dict) else task
    for key in ("image", *holder):
        value = holder.get(key)
        if isinstance(value, str) and _names_picture(value):
            return value
    return ""


def _names_picture(address: str) -> bool:
    """Whether a path or URL is that of a picture; local files of Label Studio stand in the query, as `?d=a/x.jpg`."""
    path, _, query = address.partition("?")
    # A name with & in it is not always escaped.
    return any(map(is_picture_name, (path, query.partition("d=")[2], *parse_qs(query).get("d", []))))


def _entry(file: str, name: str, task: dict, split: str | None) -> Entry:
    reference = (Reference(file, name, split=split),)
    split_from = f"name of {file}" if split else ""
    if isinstance(task.get("annotations"), list):
        done = [a for a in task["annotations"] if isinstance(a, dict) and not a.get("was_cancelled")]
        results = [r for a in done for r in a.get("result") or () if isinstance(r, dict)]
        values = [{**r, **r["value"]} for r in results if isinstance(r.get("value"), dict)]
        if not done:
            return Entry(reference, split=split, split_from=split_from, fault="the task has no annotation")
    else:  # JSON-MIN: one list of values, under a key chosen by the project
        lists = [v for v in task.values() if isinstance(v, list) and v and all(isinstance(one, dict) for one in v)]
        values = [value for one in lists for value in one]
        if not values:
            return Entry(reference, split=split, split_from=split_from, fault="the task has no annotation")
        done = [task]
    boxes = dict.fromkeys(box for value in values if (box := _box(value)))
    sizes = [(number(value.get("original_width")), number(value.get("original_height"))) for value in values]
    repairs = (f"boxes of {len(done)} annotations put together",) if len(done) > 1 and len(values) > 1 else ()
    return Entry(reference, tuple(boxes), True, declared_size(*sizes[0]) if sizes else None, split, split_from, repairs)


def _box(value: dict) -> RawBox | None:
    """A box of a result; None where it is something else, like a choice for the whole picture."""
    key = next((key for key in _LABELS if isinstance(value.get(key), list)), None)
    if key is None:
        return None
    name = str(value[key][0]) if value[key] else ""
    degrees = number(value.get("rotation") or 0)
    width, height = number(value.get("original_width")), number(value.get("original_height"))
    if "points" in value and isinstance(value["points"], list):
        pairs = [p for p in value["points"] if isinstance(p, list | tuple) and len(p) == 2]
        corners = shapes.around([number(p[0]) for p in pairs], [number(p[1]) for p in pairs])
    elif "radiusX" in value:
        x, y, rx, ry = (number(value.get(k)) for k in ("x", "y", "radiusX", "radiusY"))
        corners = (x - rx, y - ry, x + rx, y + ry)
    elif "width" in value:
        x, y, w, h = (number(value.get(k)) for k in ("x", "y", "width", "height"))
        if degrees and not (width >= 1 and height >= 1):
            return RawBox(shapes.UNKNOWN, name, fault="rotated box without the size of its picture")
        if degrees:  # the angle is that on the picture, whose sides differ
            turned = shapes.turned_about_corner(x * width, y * height, w * width, h * height, math.radians(degrees))
            corners = (turned[0] / width, turned[1] / height, turned[2] / width, turned[3] / height)
        else:
            corners, _ = shapes.ordered(x, y, x + w, y + h)
    else:
        return RawBox(shapes.UNKNOWN, name, fault=f"{key.removesuffix('labels')} is no box")
    x0, y0, x1, y1 = (value / 100 for value in corners)
    return RawBox((x0, y0, x1, y1), name)


def _text(source: SourceFiles, file: str) -> str:
    try:
        return source.text(file)
    except Unparsable:
        return ""
