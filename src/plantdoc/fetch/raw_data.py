"""Pictures and boxes as a source declares them, before any picture is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from plantdoc.fetch.picture_index import Reference
from plantdoc.fetch.shapes import Corners


@dataclass(frozen=True)
class RawBox:
    """One box as written.

    `corners` are (xmin, ymin, xmax, ymax), not-a-number where unreadable; `name` is the class; `crowd` marks a region
    of many leaves, which is no box to learn; `fault` says why the box cannot be used, where the format tells.
    """

    corners: Corners
    name: str
    crowd: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Entry:
    """What an annotation file says of one picture.

    `references` are ways to find the picture, tried in order. The boxes' corners are in pixels, or in 0..1 of the
    picture's sides where `relative`. `declared` is the (width, height) that the annotation claims, `split` the split
    and `split_from` what declares it. `fault` makes the picture a lost one: its annotation cannot be used.
    """

    references: tuple[Reference, ...]
    boxes: tuple[RawBox, ...] = ()
    relative: bool = False
    declared: tuple[int, int] | None = None
    split: str | None = None
    split_from: str = ""
    repairs: tuple[str, ...] = ()
    fault: str = ""

    @property
    def at(self) -> str:
        """The annotation file."""
        return self.references[0].at

    @property
    def name(self) -> str:
        """The picture's name as the annotation has it."""
        return self.references[-1].name or self.references[0].name


@dataclass(frozen=True)
class RawPicture:
    """One picture as a source describes it.

    `split` is "train", "val" or "test", and `split_from` what declares it; `name` is its path in the source; `path` the
    file to read; `boxes`, `relative`, `declared` and `repairs` are those of its `Entry`; `annotated` says it has one.
    """

    split: str
    name: str
    path: Path
    boxes: tuple[RawBox, ...]
    relative: bool = False
    declared: tuple[int, int] | None = None
    split_from: str = ""
    repairs: tuple[str, ...] = ()
    annotated: bool = False


@dataclass(frozen=True)
class Lost:
    """A picture that the source has or names and that cannot be used, why, and how many boxes go with it.

    `missing` says that the source names it and has no file for it.
    """

    split: str
    name: str
    reason: str
    boxes: int = 0
    missing: bool = False


@dataclass(frozen=True)
class RawData:
    """All that a reader found.

    Attributes:
        pictures: what can be tried.
        lost: pictures that cannot be brought along.
        annotations: the annotation files that were read.
        notes: what the report says of the whole.
        auxiliary: other files that were read, like lists of splits and label maps.
    """

    pictures: tuple[RawPicture, ...]
    lost: tuple[Lost, ...] = ()
    annotations: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    auxiliary: tuple[str, ...] = field(default=())

    @property
    def boxes(self) -> int:
        """The number of boxes in the source, those of lost pictures included."""
        return sum(len(p.boxes) for p in self.pictures) + sum(lost.boxes for lost in self.lost)


def declared_size(width: float, height: float) -> tuple[int, int] | None:
    """A picture's size as declared, px, or None where the numbers cannot be one."""
    return (int(width), int(height)) if 1 <= width < 1e6 and 1 <= height < 1e6 else None
