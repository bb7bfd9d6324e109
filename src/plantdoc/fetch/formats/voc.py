"""Pascal VOC: one XML file per picture, beside it or in a folder of its own (http://host.robots.ox.ac.uk/pascal/VOC/).

The official PlantDoc layout is TRAIN/*.jpg + *.xml and TEST/*.jpg + *.xml. Rotated boxes (`robndbox`) and polygons, as
newer tools write them, become the boxes around them.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from plantdoc.fetch import assemble, shapes, split_lists, split_names
from plantdoc.fetch.formats import xml_file
from plantdoc.fetch.formats.recognition import Recognition
from plantdoc.fetch.picture_index import PictureIndex, Reference
from plantdoc.fetch.raw_data import Entry, RawBox, RawData, declared_size
from plantdoc.fetch.shapes import number
from plantdoc.fetch.source_files import SourceFiles

NAME = "Pascal VOC"


def recognise(source: SourceFiles) -> Recognition:
    """Find the .xml files, unless they say that they are something else."""
    return Recognition(
        files=[file for file in source.with_suffix(".xml") if xml_file.root_name(source, file) != "annotations"]
    )


def read(source: SourceFiles, files: list[str]) -> RawData:
    """Read all annotation files; a picture without one is lost, since nobody said that nothing is on it."""
    entries = [_entry(source, file) for file in files]
    lists = split_lists.find(source, PictureIndex(source.pictures))
    return assemble.assemble(source, [e for e in entries if e], without_entry="no annotation file", lists=lists)


def _entry(source: SourceFiles, file: str) -> Entry | None:
    split = split_names.of_folder(file)
    own = Reference(file, file, own_path=True, split=split)
    try:
        root = xml_file.parse(source, file)
    except xml_file.BadXml as error:
        return Entry((own,), fault=f"annotation file is not plain XML: {error}")
    if root.tag.lower() != "annotation" and root.find("object") is None:
        return None  # a file of another program
    named = (root.findtext("filename") or root.findtext("path") or "").strip()
    references = (own, Reference(file, named, split=split)) if named else (own,)
    boxes, repairs = [], []
    for element in root.iter("object"):
        box, repair = _box(element)
        boxes.append(box)
        repairs += [repair] if repair else []
    declared = declared_size(number(root.findtext("size/width")), number(root.findtext("size/height")))
    return Entry(references, tuple(boxes), declared=declared, repairs=tuple(dict.fromkeys(repairs)))


def _box(element: Element) -> tuple[RawBox, str]:
    name = " ".join((element.findtext("name") or "").split())
    if (plain := element.find("bndbox")) is not None:
        corners, repair = shapes.ordered(*(number(plain.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax")))
    elif (turned := element.find("robndbox")) is not None:
        corners, repair = shapes.rotated(*(number(turned.findtext(key)) for key in ("cx", "cy", "w", "h", "angle"))), ""
    elif (polygon := element.find("polygon")) is not None:
        corners, repair = _around(polygon), ""
    else:
        return RawBox(shapes.UNKNOWN, name, fault="object without bndbox, robndbox or polygon"), ""
    return RawBox(corners, name), repair


def _around(polygon: Element) -> shapes.Corners:
    """The box around LabelMe's `<pt><x/><y/></pt>` or CVAT's `<x1/><y1/><x2/>…`."""
    xs = [number(e.text) for e in polygon.iter() if re.fullmatch(r"x\d*", e.tag)]
    ys = [number(e.text) for e in polygon.iter() if re.fullmatch(r"y\d*", e.tag)]
    return shapes.around(xs, ys)
