"""Pascal VOC: one XML file per picture, beside it or in a folder of its own (http://host.robots.ox.ac.uk/pascal/VOC/).

The official PlantDoc layout is TRAIN/*.jpg + *.xml and TEST/*.jpg + *.xml.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from defusedxml import DefusedXmlException, ElementTree

from plantdoc.fetch.decode import SUFFIXES
from plantdoc.fetch.formats.raw_data import Lost, RawBox, RawData, RawPicture, number, split_of


def recognise(folder: Path, files: list[str]) -> list[str]:
    """The annotation files, if any."""
    return [file for file in files if file.lower().endswith(".xml")]


def read(folder: Path, files: list[str], xmls: list[str], scratch: Path) -> RawData:
    """Read all annotation files; a picture without one is lost, since nobody said that nothing is on it."""
    names = _Names([file for file in files if PurePosixPath(file).suffix.lower() in SUFFIXES])
    pictures: dict[str, RawPicture] = {}
    lost: list[Lost] = []
    blamed: set[str] = set()
    for xml in xmls:
        name = names.beside(xml)
        try:
            root = ElementTree.parse(folder / xml).getroot()
        except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
            lost.append(Lost(_split(xml), name or xml, f"box file is not plain XML: {type(error).__name__}: {error}"))
            blamed.add(name or xml)
            continue
        assert root is not None  # a file without an element does not parse
        name = name or names.called(xml, (root.findtext("filename") or "").strip())
        if name is None:
            lost.append(Lost(_split(xml), xml, "the picture of this box file is missing"))
        elif name not in pictures:
            boxes = tuple(map(_box, root.iter("object")))
            declared = _declared(root)
            pictures[name] = RawPicture(_split(name), name, folder / name, boxes, declared=declared)
    for name in names.all:
        if name not in pictures and name not in blamed:
            lost.append(Lost(_split(name), name, "no box file"))
    return RawData(tuple(pictures.values()), tuple(lost))


class _Names:
    """Looks up pictures: by the stem they share with a box file, or by the name written in it."""

    def __init__(self, names: list[str]):
        self.all = names
        self._by_stem: dict[str, str] = {}
        self._by_name: dict[tuple[str | None, str], str] = {}
        for name in reversed(names):  # so that the first of several wins
            path = PurePosixPath(name)
            self._by_stem[_key(path.with_suffix(""))] = name
            self._by_stem[_key(path)] = name  # x.jpg.xml
            self._by_name[split_of(name), path.name.casefold()] = name

    def beside(self, xml: str) -> str | None:
        stem = PurePosixPath(xml).with_suffix("")
        return self._by_stem.get(_key(stem)) or self._by_stem.get(_key(_pictures_folder(stem)))

    def called(self, xml: str, name: str) -> str | None:
        return self._by_name.get((split_of(xml), PurePosixPath(name.replace("\\", "/")).name.casefold()))


def _split(path: str) -> str:
    return split_of(path) or "train"


def _key(path: PurePosixPath) -> str:
    return path.as_posix().casefold()


def _pictures_folder(stem: PurePosixPath) -> PurePosixPath:
    """Annotations/x is about JPEGImages/x in the original challenge's layout."""
    return PurePosixPath(*("JPEGImages" if part.casefold() == "annotations" else part for part in stem.parts))


def _box(element) -> RawBox:
    xmin, ymin, xmax, ymax = (number(element.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
    return RawBox((xmin, ymin, xmax, ymax), " ".join((element.findtext("name") or "").split()))


def _declared(root) -> tuple[int, int] | None:
    width, height = number(root.findtext("size/width")), number(root.findtext("size/height"))
    return (int(width), int(height)) if 1 <= width < 1e6 and 1 <= height < 1e6 else None
