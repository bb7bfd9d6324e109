"""CSV as in tutorials of the TF Object Detection API: a row per box.

The columns are filename, width, height, class, xmin, ymin, xmax, ymax, in any order. PlantDoc's second form is such
files, `train_labels.csv` and `test_labels.csv`.
"""

from __future__ import annotations

import csv
from collections import defaultdict

from plantdoc.fetch import assemble, shapes, split_lists, split_names
from plantdoc.fetch.formats.recognition import Recognition
from plantdoc.fetch.picture_index import PictureIndex, Reference
from plantdoc.fetch.raw_data import Entry, Lost, RawBox, RawData, declared_size
from plantdoc.fetch.shapes import number
from plantdoc.fetch.source_files import SourceFiles, Unparsable

NAME = "TF Object Detection CSV"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FILE, _CLASS = ("filename", "file_name", "image", "image_name", "path"), ("class", "label", "class_name", "name")


def recognise(source: SourceFiles) -> Recognition:
    """Find the files whose first line names a file, a class and four sides."""
    found = Recognition()
    for file in source.with_suffix(".csv", ".tsv"):
        try:
            if _columns(_header(source, file)):
                found.files.append(file)
        except Unparsable as error:
            found.faults[file] = str(error)
    return found


def read(source: SourceFiles, files: list[str]) -> RawData:
    """Read every file. A picture without a row is lost, unless a row names it alone: then nothing is on it."""
    entries: list[Entry] = []
    lost: list[Lost] = []
    for file in files:
        split = split_names.of_annotations(file)
        boxes: dict[str, list[RawBox]] = defaultdict(list)
        sizes: dict[str, tuple[int, int] | None] = {}
        repairs: dict[str, list[str]] = defaultdict(list)
        header = _header(source, file)
        columns = _columns(header)
        assert columns is not None  # else it were not recognised
        for row in _rows(source, file):
            if row.get("") or not (row.get(columns[0]) or "").strip():
                lost.append(
                    Lost(split or "train", f"{file}: {row}"[:200], "row without a file name, or too long", 1, True)
                )
                continue
            name = row[columns[0]].strip()
            sizes.setdefault(name, declared_size(number(row.get("width")), number(row.get("height"))))
            values = [(row.get(side) or "").strip() for side in (columns[1], *_SIDES)]
            if any(values):
                corners, repair = shapes.ordered(*map(number, values[1:]))
                boxes[name].append(RawBox(corners, " ".join(values[0].split())))
                repairs[name] += [repair] if repair else []
        for name, size in sizes.items():
            its = tuple(boxes[name])
            reference = Reference(file, name, split=split)
            noted = tuple(dict.fromkeys(repairs[name]))
            entries.append(Entry((reference,), its, False, size, split, f"name of {file}" if split else "", noted))
    lists = split_lists.find(source, PictureIndex(source.pictures))
    without = "no row of a CSV file names it"
    return assemble.assemble(source, entries, without_entry=without, lists=lists, lost=lost, also_read=files)


def _header(source: SourceFiles, file: str) -> list[str]:
    lines = source.text(file).splitlines()
    return [name.strip().strip('"').lower() for name in lines[0].split(_delimiter(lines[0]))] if lines else []


def _columns(header: list[str]) -> tuple[str, str] | None:
    """The columns of the file name and of the class, or None where the file is of another kind."""
    file, kind = next((c for c in _FILE if c in header), None), next((c for c in _CLASS if c in header), None)
    return (file, kind) if file and kind and set(_SIDES) <= set(header) else None


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _rows(source: SourceFiles, file: str) -> list[dict[str, str]]:
    lines = source.text(file).splitlines()
    reader = csv.reader(lines[1:], delimiter=_delimiter(lines[0]))
    header = _header(source, file)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(dict(zip(header, cells, strict=False)) | ({"": "more"} if len(cells) > len(header) else {}))
    except csv.Error as error:
        raise Unparsable(f"{file} is not valid CSV: line {reader.line_num + 1}: {error}") from None
    return rows
