"""Class names and splits of a YOLO data set: data.yaml, classes.txt, obj.names with obj.data, notes.json."""

from __future__ import annotations

import itertools
import re
from fnmatch import fnmatch
from pathlib import PurePosixPath

from plantdoc.core.errors import UserError
from plantdoc.fetch import split_lists
from plantdoc.fetch.formats.recognition import Recognition
from plantdoc.fetch.picture_index import PictureIndex
from plantdoc.fetch.source_files import SourceFiles, Unparsable
from plantdoc.fetch.split_lists import SplitLists

_TEXTS = ("classes.txt", "obj.names", "predefined_classes.txt", "classes.names")
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
Folders = list[tuple[tuple[str, ...], str, str]]


def recognise(source: SourceFiles) -> Recognition:
    """Find the files with class names; a .yaml with `names` of another form is a fault where it declares splits."""
    found = Recognition()
    for file in source.with_suffix(".yaml", ".yml"):
        try:
            data = source.yaml(file)
            if isinstance(data, dict) and _from_yaml(data) is not None:
                found.files.append(file)
        except Unparsable as error:
            if _speaks_of_names(source, file):
                found.faults[file] = str(error)
    for file in source.names:
        if PurePosixPath(file).name.lower() in _TEXTS or file.lower().endswith(".names"):
            found.files.append(file)
    for file in source.with_suffix("notes.json"):
        try:
            if _from_notes(source.json(file)) is not None:
                found.files.append(file)
        except Unparsable as error:
            found.faults[file] = str(error)
    return found


def names(source: SourceFiles, files: list[str]) -> dict[int, str]:
    """Class names by number.

    Raises:
        UserError: the files name different classes, or a data.yaml numbers them in a way that makes no sense.
    """
    by_file = {file: _of_file(source, file) for file in files}
    # LabelImg leaves a classes.txt beside labels that an export's data.yaml is about.
    yamls = {file: found for file, found in by_file.items() if file.lower().endswith((".yaml", ".yml"))}
    chosen = yamls or by_file
    first = next(iter(chosen))
    for other in chosen:
        if chosen[other] != chosen[first]:
            raise UserError(
                f"{source.folder} holds {first} and {other}, which name different classes: keep one of them"
            )
    return chosen[first]


def declared_splits(source: SourceFiles, files: list[str]) -> tuple[SplitLists, Folders, list[str]]:
    """The splits that data.yaml or obj.data declares: lists of pictures, folders (parts, split, file), and notes.

    Raises:
        UserError: a list of pictures that is declared is missing.
    """
    index = PictureIndex(source.pictures)
    lists = split_lists.find(source, index)
    folders: Folders = []
    notes = []
    declarations = _declarations(source, files)
    root = _foreign_root(source, [_parts(value) for _, _, value in declarations if not value.lower().endswith(".txt")])
    for file, key, value in declarations:
        parts = _parts(value)
        if value.lower().endswith(".txt"):
            at = _ending_with(source.names, parts)
            if not at:
                raise UserError(
                    f"{source.folder / file} declares {key}: {value}, which is missing: add it, or delete the line"
                )
            if at not in lists.files:
                lists.add(source, index, _SPLITS[key], at)
            continue
        parts = parts[root:]
        if other := next((split for folder, split, _ in folders if folder == parts), ""):
            if other != _SPLITS[key]:
                notes.append(
                    f"{file} declares {key}: {value}, which is {other} already: {key} is not taken from there."
                )
        elif parts and any(_holds(parts, name) for name in source.pictures):
            folders.append((parts, _SPLITS[key], file))
        elif parts:
            notes.append(f"{file} declares {key}: {value}, where no picture is.")
    return lists, folders, notes


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _foreign_root(source: SourceFiles, folders: list[tuple[str, ...]]) -> int:
    """How many parts the declared folders begin with that are those of another machine: /content/set/train/images."""
    if not folders or any(_holds(parts, picture) for parts in folders if parts for picture in source.pictures):
        return 0
    shared = sum(1 for _ in itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False)))
    return min(shared, min(map(len, folders)) - 1) if shared else 0


def split_by_folder(picture: str, folders: Folders) -> tuple[str, str] | None:
    """The split whose folder holds the picture, and what says so; roots are ignored, since exports get them wrong."""
    for parts, split, file in sorted(folders, key=lambda one: -len(one[0])):
        if _holds(parts, picture):
            return split, file
    return None


def _holds(parts: tuple[str, ...], picture: str) -> bool:
    """Whether a declared folder, or a pattern like `images/test_*.jpg`, holds a picture."""
    if any(mark in parts[-1] for mark in "*?["):
        folders, name = PurePosixPath(picture).parts[:-1], PurePosixPath(picture).name
        return fnmatch(name, parts[-1]) and folders[len(folders) - len(parts) + 1 :] == parts[:-1]
    return "/" + "/".join(parts) + "/" in f"/{picture}"


def _declarations(source: SourceFiles, files: list[str]) -> list[tuple[str, str, str]]:
    """(file, key, value) of each split that a file declares."""
    found = []
    for file in files:
        if file.lower().endswith((".yaml", ".yml")):
            data = source.yaml(file)
            assert isinstance(data, dict)  # else it were not recognised
            for key in _SPLITS:
                value = data.get(key)
                declared = value if isinstance(value, list) else [value]
                found += [(file, key, one) for one in declared if one and isinstance(one, str)]
    for file in source.with_suffix("obj.data"):
        for line in source.text(file).splitlines():
            key, _, value = (part.strip() for part in line.partition("="))
            if key in _SPLITS and value:
                found.append((file, key, value))
    return found


def _of_file(source: SourceFiles, file: str) -> dict[int, str]:
    if file.lower().endswith((".yaml", ".yml")):
        data = source.yaml(file)
        found = _from_yaml(data) if isinstance(data, dict) else None
        if not found:
            raise UserError(
                f"{source.folder / file}: `names` must be a list of class names, or a mapping of numbers from 0 to them"
            )
        return found
    if file.lower().endswith(".json"):
        return _from_notes(source.json(file)) or {}
    return dict(enumerate(line.strip() for line in source.text(file).splitlines() if line.strip()))


def _from_yaml(data: dict) -> dict[int, str] | None:
    """The names of a data.yaml; None where it is a file of another program, {} where the numbers make no sense."""
    found = data.get("names")
    if isinstance(found, list):
        return {} if any(isinstance(name, dict | list) for name in found) else dict(enumerate(map(str, found)))
    speaks_of_splits = any(key in data for key in (*_SPLITS, "nc"))
    if not isinstance(found, dict):
        return {} if found is not None and speaks_of_splits else None
    pairs = [(key, value) for key, value in found.items() if not isinstance(value, dict | list)]
    if len(pairs) == len(found):
        for numbered in (pairs, [(value, key) for key, value in pairs]):  # also written the wrong way round
            if all(re.fullmatch(r"[0-9]{1,9}", str(number)) for number, _ in numbered):
                return {int(number): str(name) for number, name in numbered}
    return {} if speaks_of_splits else None


def _from_notes(data: object) -> dict[int, str] | None:
    """The names in Label Studio's notes.json: `{"categories": [{"id": 0, "name": "…"}, …]}`."""
    categories = data.get("categories") if isinstance(data, dict) else None
    if not isinstance(categories, list):
        return None
    try:
        return {int(category["id"]): str(category["name"]) for category in categories}
    except (KeyError, TypeError, ValueError):
        return None


def _ending_with(files: list[str], parts: tuple[str, ...]) -> str | None:
    """The file whose path has the longest tail of `parts`."""
    for start in range(len(parts)):
        tail = "/" + "/".join(parts[start:])
        if found := [file for file in files if f"/{file}".endswith(tail)]:
            return min(found, key=len)
    return None


def _speaks_of_names(source: SourceFiles, file: str) -> bool:
    try:
        return "names" in source.text(file)
    except Unparsable:
        return False
