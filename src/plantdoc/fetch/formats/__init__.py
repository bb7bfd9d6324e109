"""Readers of annotated pictures. Which one is needed is seen from the content of the files, not from their names."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from plantdoc.core.errors import UserError
from plantdoc.fetch.decode import SUFFIXES
from plantdoc.fetch.formats import coco_json, tf_object_detection, voc, yolo
from plantdoc.fetch.formats.raw_data import RawData

log = logging.getLogger("plantdoc")

# In the order in which they are asked: the later ones are also found as by-products of exports to the earlier ones.
_READERS = {"COCO JSON": coco_json, "YOLO": yolo, "Pascal VOC": voc, "TFRecords": tf_object_detection}


def read(folder: Path, scratch: Path) -> tuple[str, RawData]:
    """Find out the format of an unpacked source and read it.

    Args:
        folder: the source.
        scratch: an empty folder for pictures that do not lie in files of their own.

    Returns:
        The format's name and what was read, pictures sorted by split and name.

    Raises:
        UserError: there are no pictures, or no annotations in a known format.
    """
    files = list_files(folder)
    found = [(name, marks) for name, reader in _READERS.items() if (marks := reader.recognise(folder, files))]
    if not found:
        raise UserError(_nothing_found(folder, files))
    if len(found) > 1:
        others = ", ".join(name for name, _ in found[1:])
        log.info("fetch: %s holds %s annotations; %s are there as well and not read", folder, found[0][0], others)
    name, marks = found[0]
    data = _READERS[name].read(folder, files, marks, scratch)
    if not data.pictures:
        first = f"; the first of {len(data.lost)}: {data.lost[0].name}: {data.lost[0].reason}" if data.lost else ""
        raise UserError(f"{folder} has {name} annotations but no picture to go with them{first}: check fetch.source")
    return name, RawData(tuple(sorted(data.pictures, key=lambda p: (p.split, p.name))), data.lost)


def list_files(folder: Path) -> list[str]:
    """All files below `folder` as sorted POSIX paths; hidden ones and the leavings of macOS archives are left out."""
    files = []
    for path, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "__MACOSX"]
        files += [(Path(path) / name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
    return sorted(files)


def _nothing_found(folder: Path, files: list[str]) -> str:
    pictures = sum(Path(file).suffix.lower() in SUFFIXES for file in files)
    if not pictures:
        return f"{folder} holds no pictures ({len(files)} files in all): point fetch.source to a folder that does"
    return (
        f"{folder} holds {pictures} pictures but no annotations: expected are Pascal VOC (an .xml beside each "
        "picture), COCO (a .json), YOLO (a data.yaml and labels) or TFRecords"
    )
