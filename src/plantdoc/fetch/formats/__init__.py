"""Readers of annotated pictures, and the choice among them by the content of the files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from plantdoc.core.errors import UserError
from plantdoc.fetch import source_files
from plantdoc.fetch.formats import (
    coco_json,
    cvat_xml,
    label_studio,
    other_tools,
    tf_csv,
    tf_object_detection,
    voc,
    yolo,
)
from plantdoc.fetch.formats.recognition import Recognition
from plantdoc.fetch.raw_data import RawData
from plantdoc.fetch.source_files import SourceFiles, Unparsable

# In the order in which they are asked where they cover as many pictures: the later ones are also by-products of exports
# to the earlier ones.
_READERS = (coco_json, yolo, voc, cvat_xml, label_studio, tf_csv)
_READABLE = (
    "Pascal VOC (an .xml for each picture), COCO (a .json), YOLO (a data.yaml or classes.txt, and a .txt for each "
    "picture), CVAT for images (.xml), Label Studio (.json), TF Object Detection CSV, or TFRecords"
)


@dataclass(frozen=True)
class Reading:
    """What was read of a source.

    `format` is its name, `data` the pictures, sorted by split and name; `unread` maps each file that is neither a
    picture nor an annotation that was read to the reason; `notes` are for the report.
    """

    format: str
    data: RawData
    unread: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read(folder: Path, scratch: Path) -> Reading:
    """Find out the format of an unpacked source and read it.

    Of several formats the one is taken that covers most pictures.

    Args:
        folder: the source.
        scratch: an empty folder for pictures that do not lie in files of their own.

    Raises:
        UserError: there are no pictures, no annotations in a known format, or a damaged file among them.
    """
    source = source_files.collect(folder, scratch)
    found = {reader.NAME: (reader, reader.recognise(source)) for reader in _READERS}
    readings, faults = {}, {}
    for name, (reader, recognition) in found.items():
        if recognition.files:
            try:
                readings[name] = reader.read(source, recognition.files)
            except UserError as error:
                faults[name] = str(error)
            except Unparsable as error:
                faults[name] = f"{folder} cannot be read as {name}: {error}"
    name = max(readings, key=lambda name: _covered(readings[name]), default="")
    if not name or not _covered(readings[name]):
        records = tf_object_detection.recognise(source)
        if records.files:
            name = tf_object_detection.NAME
            found[name] = (tf_object_detection, records)
            readings[name] = tf_object_detection.read(source, records.files)
    if not name:
        raise UserError(next(iter(faults.values()), "") or _nothing_found(source, found))
    _refuse_damaged(folder, name, found[name][1], faults, readings[name])
    _refuse_contradiction(folder, name, readings)
    data = readings[name]
    if not data.pictures:
        first = f"; the first of {len(data.lost)}: {data.lost[0].name}: {data.lost[0].reason}" if data.lost else ""
        raise UserError(f"{folder} has {name} annotations but no picture to go with them{first}: check fetch.source")
    notes = [
        *data.notes,
        *(f"{file} names no encoding; it is read as {encoding}." for file, encoding in source.guessed.items()),
    ]
    data = replace(data, pictures=tuple(sorted(data.pictures, key=lambda p: (p.split, p.name))))
    return Reading(name, data, _unread(source, name, found, data), tuple(notes))


def _covered(data: RawData) -> int:
    return sum(picture.annotated for picture in data.pictures)


def _refuse_damaged(folder: Path, name: str, taken: Recognition, faults: dict[str, str], data: RawData) -> None:
    """Stop for a damaged file of the format that is read: what it says of its pictures is not known."""
    if taken.faults:
        file, fault = next(iter(taken.faults.items()))
        raise UserError(f"{folder / file} is {fault}: mend it, or take it out of the source")
    for other, fault in faults.items():
        if any(not picture.annotated for picture in data.pictures) or not _covered(data):
            raise UserError(
                f"{fault}. The {name} annotations, which can be read, leave pictures without any: mend the {other} "
                "file, or take it out of the source"
            )


def _refuse_contradiction(folder: Path, name: str, readings: dict[str, RawData]) -> None:
    """Stop where a picture has no box in the format that is read, and has one in another: it is no negative."""
    bare = {picture.name for picture in readings[name].pictures if not picture.boxes}
    for other, data in readings.items():
        if other != name and (seen := [p.name for p in data.pictures if p.boxes and p.name in bare]):
            raise UserError(
                f"{folder} has pictures without a box in {name} and with one in {other} ({len(seen)}, like {seen[0]}): "
                f"annotate all pictures in one format, or take the {other} files that are left over out of the source"
            )


def _unread(source: SourceFiles, name: str, found: dict, data: RawData) -> dict[str, str]:
    """Why each file that is no picture was not read."""
    reasons = dict(source.unreadable)
    pictures = set(source.pictures) if name != tf_object_detection.NAME else set()
    used = {*data.annotations, *data.auxiliary}
    for file in source.names:
        if file in pictures or file in used:
            continue
        for other, (_, recognition) in found.items():
            if file in recognition.skipped:
                reasons[file] = recognition.skipped[file]
            elif file in recognition.faults:
                reasons[file] = recognition.faults[file]
            elif file in recognition.files and other != name:
                reasons[file] = f"{other}, which covers fewer pictures than {name}"
        reasons.setdefault(file, other_tools.described(source, file) or "no annotations of a known format")
    return reasons


def _nothing_found(source: SourceFiles, found: dict) -> str:
    folder = source.folder
    if not source.pictures:
        why = next((f"; {name} {reason}" for name, reason in source.unreadable.items()), "")
        count = len(source.names)
        return f"{folder} holds no pictures ({count} files in all{why}): point fetch.source to a folder that does"
    for _, recognition in found.values():
        for file, fault in recognition.faults.items():
            return f"{folder / file} {fault}" if fault.startswith("seems") else f"{folder / file} is {fault}"
    other = next((f"{file} is {what}. " for file in source.names if (what := other_tools.described(source, file))), "")
    count = len(source.pictures)
    return f"{folder} holds {count} pictures but no annotations that are read. {other}Expected are {_READABLE}"
