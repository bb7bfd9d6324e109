"""CVAT for images: one XML file with the boxes of all pictures (https://docs.cvat.ai/docs/manual/advanced/formats/)."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

from plantdoc.fetch import assemble, shapes, split_names
from plantdoc.fetch.formats import xml_file
from plantdoc.fetch.formats.recognition import Recognition
from plantdoc.fetch.picture_index import Reference
from plantdoc.fetch.raw_data import Entry, Lost, RawBox, RawData, declared_size
from plantdoc.fetch.shapes import number
from plantdoc.fetch.source_files import SourceFiles

NAME = "CVAT for images"
_SHAPES = ("box", "polygon", "ellipse", "mask", "polyline", "points", "cuboid", "skeleton")


def recognise(source: SourceFiles) -> Recognition:
    """Find the .xml files with a list of pictures."""
    found = Recognition()
    for file in source.with_suffix(".xml"):
        if xml_file.root_name(source, file) == "annotations":
            try:
                root = xml_file.parse(source, file)
            except xml_file.BadXml as error:
                found.faults[file] = f"not plain XML: {error}"
                continue
            if root.find("image") is not None:
                found.files.append(file)
            elif root.find("track") is not None:
                found.skipped[file] = "CVAT for video: export the task as `CVAT for images`"
    return found


def read(source: SourceFiles, files: list[str]) -> RawData:
    """Read every file; a picture that no file names is lost."""
    entries, lost = [], []
    for file in files:
        for i, image in enumerate(xml_file.parse(source, file).iter("image")):
            if name := (image.get("name") or "").strip():
                entries.append(_entry(file, name, image))
            else:
                boxes = sum(shape.tag in _SHAPES for shape in image)
                lost.append(Lost("train", f"{file}: image {i}", "the entry has no name", boxes, missing=True))
    without = "no annotation file names it"
    return assemble.assemble(source, entries, without_entry=without, lost=lost, also_read=files)


def _entry(file: str, name: str, image: Element) -> Entry:
    subset = image.get("subset") or ""
    if split := split_names.of_folder(f"{subset}/x"):
        split_from = f"subset {subset} in {file}"
    else:
        split = split_names.of_annotations(file)
        split_from = f"name of {file}" if split else ""
    boxes, repairs = [], []
    for shape in image:
        if shape.tag in _SHAPES:
            corners, repair, fault = _corners(shape)
            boxes.append(RawBox(corners, " ".join((shape.get("label") or "").split()), fault=fault))
            repairs += [repair] if repair else []
    declared = declared_size(number(image.get("width")), number(image.get("height")))
    reference = Reference(file, name, split=split)
    return Entry((reference,), tuple(boxes), False, declared, split, split_from, tuple(dict.fromkeys(repairs)))


def _corners(shape: Element) -> tuple[shapes.Corners, str, str]:
    """The box around a shape, what was repaired, and why there is none."""

    def of(*keys: str) -> list[float]:
        return [number(shape.get(key)) for key in keys]

    degrees = number(shape.get("rotation") or 0)
    if shape.tag == "box":
        (x0, y0, x1, y1), repair = shapes.ordered(*of("xtl", "ytl", "xbr", "ybr"))
        if degrees:
            return shapes.rotated((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, math.radians(degrees)), repair, ""
        return (x0, y0, x1, y1), repair, ""
    if shape.tag == "polygon":
        points = [point.split(",") for point in (shape.get("points") or "").split(";")]
        xs, ys = [number(p[0]) for p in points], [number(p[-1]) for p in points]
        return shapes.around(xs, ys), "", ""
    if shape.tag == "ellipse":
        cx, cy, rx, ry = of("cx", "cy", "rx", "ry")
        turn = math.radians(degrees)
        half = (
            math.hypot(rx * math.cos(turn), ry * math.sin(turn)),
            math.hypot(rx * math.sin(turn), ry * math.cos(turn)),
        )
        return (cx - half[0], cy - half[1], cx + half[0], cy + half[1]), "", ""
    if shape.tag == "mask":
        x, y, width, height = of("left", "top", "width", "height")
        return (x, y, x + width, y + height), "", ""
    return shapes.UNKNOWN, "", f"a {shape.tag} is no box"
