"""Pictures and boxes as a source declares them, before anything is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

_FOLDER = re.compile(r"(train|val|test)(?:ing|idation|id)?[-_ ]?\d*", re.IGNORECASE)
_WORD = re.compile(r"(?<![a-z])(train|val|test)(?:ing|idation|id)?(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class RawBox:
    """One box as written: corners (xmin, ymin, xmax, ymax), not-a-number where unreadable, and the class's name."""

    corners: tuple[float, float, float, float]
    name: str


@dataclass(frozen=True)
class RawPicture:
    """One picture as a source describes it.

    `split` is "train", "val" or "test"; `name` is its path in the source; `path` is the file to read; the boxes'
    corners are in pixels, or in 0..1 of the picture's sides where `relative`; `declared` is the (width, height) that
    the annotation claims, if it does.
    """

    split: str
    name: str
    path: Path
    boxes: tuple[RawBox, ...]
    relative: bool = False
    declared: tuple[int, int] | None = None


@dataclass(frozen=True)
class Lost:
    """A picture that the source has or names and that cannot be used, and why."""

    split: str
    name: str
    reason: str


@dataclass(frozen=True)
class RawData:
    """All that a reader found: pictures, and those it could not bring along."""

    pictures: tuple[RawPicture, ...]
    lost: tuple[Lost, ...] = ()


def split_of(path: str, *, by_name: bool = False) -> str | None:
    """The split that a path speaks of, or None.

    A folder does by its whole name (TRAIN/x.jpg, images/val2017/x.jpg). With `by_name` the file's own name counts as
    well, by any word in it (instances_train2017.json): right for files of annotations, not for pictures.
    """
    *folders, name = PurePosixPath(path).parts
    for folder in folders:
        if match := _FOLDER.fullmatch(folder):
            return match.group(1).lower()
    match = _WORD.search(PurePosixPath(name).stem) if by_name else None
    return match.group(1).lower() if match else None


def number(text: Any) -> float:
    """A coordinate, or not-a-number where there is none to be read."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")
