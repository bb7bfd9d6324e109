"""The steps from a source to splits: collect, audit, split. Nothing is published, so a check can run them as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from plantdoc.core import hashing
from plantdoc.fetch import audit, audit_notes, duplicates, formats, naming, sources, split_assignment
from plantdoc.fetch.audit import Audited
from plantdoc.fetch.boxes import Labelled
from plantdoc.fetch.duplicates import Pair
from plantdoc.fetch.fetch_params import Fetch
from plantdoc.fetch.raw_data import Lost, RawPicture
from plantdoc.fetch.sources import Origin

SPLITS = ("train", "val", "test")


@dataclass
class Collected:
    """What a source holds.

    `reading` is all of it; `chosen` the pictures to take, with `fetch.limit` a part; `lost` those that cannot be read;
    `content` a hash of all pictures and boxes, "" until it is known.
    """

    origin: Origin
    reading: formats.Reading
    chosen: list[RawPicture]
    lost: list[Lost]
    content: str
    notes: list[str] = field(default_factory=list)


@dataclass
class Checked:
    """The pictures of a source after the audit, the lost ones, and by what share pictures and boxes are lost."""

    pictures: list[Audited]
    lost: list[Lost]
    content: str
    lost_pictures: float
    lost_boxes: float


@dataclass
class Divided:
    """The pictures with the split of each ("" for those that leave), the reasons, and what was found on the way."""

    pictures: list[Audited]
    sides: list[str]
    left: list[Lost]
    pairs: list[Pair]
    renamed: dict[str, str]
    notes: list[str]


def collect(fetch: Fetch, seed: int, work: Path) -> Collected:
    """Bring the source to disk and read its annotations; `work` is an empty folder.

    Raises:
        UserError: the source cannot be brought, or holds nothing that is read.
    """
    folder, origin = sources.bring(fetch, seed, work)
    (work / "records").mkdir()
    reading = formats.read(folder, work / "records")
    data = reading.data
    notes = list(reading.notes)
    there = {picture.split for picture in data.pictures}
    only = there.pop() if len(there) == 1 and "train" not in there else ""
    if only:
        notes.append(f"The source has a {only} split only; it is treated as train.")
    pictures, lost, content = list(data.pictures), list(data.lost), ""
    if fetch.limit:
        notes.append(f"A part: at most {fetch.limit} pictures per split of the source (fetch.limit).")
        hashes = _hash_all(pictures)
        content = _content(pictures, hashes)
        lost += [
            Lost(p.split, p.name, "cannot be read", len(p.boxes))
            for p, sha in zip(pictures, hashes, strict=True)
            if not sha
        ]
        pictures = _part([pair for pair in zip(pictures, hashes, strict=True) if pair[1]], fetch.limit)
    chosen = [replace(picture, split="train") for picture in pictures] if only else pictures
    return Collected(origin, reading, chosen, lost, content, notes)


def check(collected: Collected, fetch: Fetch, folder: Path) -> Checked:
    """Decode and clean each chosen picture once; the bytes to keep go to the empty `folder`."""
    results, hashes = audit.audit(collected.chosen, folder, fetch.min_box, fetch.max_pixels)
    pictures = [result for result in results if isinstance(result, Audited)]
    unfit = [result for result in results if isinstance(result, Lost)]
    lost = [*collected.lost, *unfit]
    data = collected.reading.data
    known = len(collected.lost) / max(1, len(data.pictures) + len(data.lost))
    # With a limit only a part was audited: what failed in it stands for the rest.
    lost_pictures = known + (1 - known) * len(unfit) / max(1, len(results))
    boxes_here = sum(len(p.boxes) for p in collected.chosen)
    dropped = sum(len(p.dropped_boxes) for p in pictures) + sum(one.boxes for one in unfit)
    known_boxes = sum(one.boxes for one in collected.lost) / max(1, data.boxes)
    lost_boxes = known_boxes + (1 - known_boxes) * dropped / max(1, boxes_here)
    content = collected.content or _content(data.pictures, hashes)
    return Checked(pictures, lost, content, lost_pictures, lost_boxes)


def divide(checked: Checked, fetch: Fetch) -> Divided:
    """Bring class names to one spelling, close leaks between splits, and cut val and test where there are none."""
    pictures = checked.pictures
    spelling = naming.spellings(Counter(n for p in pictures for _, n in (*p.boxes, *p.crowds)), fetch.aliases)
    pictures = [replace(p, boxes=_spelled(p.boxes, spelling), crowds=_spelled(p.crowds, spelling)) for p in pictures]
    left = []
    if not fetch.keep_negatives:
        left = [Lost(p.split, p.name, "no box, and fetch.keep_negatives is off") for p in pictures if not p.boxes]
        pictures = [p for p in pictures if p.boxes]
    pairs = duplicates.find(pictures, fetch.near_duplicate_bits)
    sides, reasons = split_assignment.assign(pictures, pairs, fetch.val_fraction)
    left += [Lost(p.split, p.name, reason, len(p.boxes)) for p, reason in zip(pictures, reasons, strict=True) if reason]
    renamed = {old: new for old, new in spelling.items() if old != new}
    return Divided(pictures, sides, left, pairs, renamed, audit_notes.on_cut_splits(pictures, sides))


def _spelled(boxes: Sequence[Labelled], spelling: dict[str, str]) -> tuple[Labelled, ...]:
    return tuple((xywh, spelling[name]) for xywh, name in boxes)


def _hash_all(pictures: Sequence[RawPicture]) -> list[str]:
    """The SHA-256 of each picture's bytes, "" where it cannot be read."""
    hashes = []
    for picture in tqdm(pictures, desc="hash", unit="picture", dynamic_ncols=True):
        try:
            hashes.append(hashing.of_file(picture.path))
        except OSError:
            hashes.append("")
    return hashes


def _part(hashed: list[tuple[RawPicture, str]], limit: int) -> list[RawPicture]:
    """At most `limit` pictures per split, by their classes and hashes."""
    chosen = []
    for name in SPLITS:
        members = [(picture, sha) for picture, sha in hashed if picture.split == name]
        strata = split_assignment.strata([[box.name for box in picture.boxes] for picture, _ in members])
        chosen += [members[i][0] for i in split_assignment.part([sha for _, sha in members], strata, limit)]
    return chosen


def _content(pictures: Sequence[RawPicture], hashes: Sequence[str]) -> str:
    """A hash of all pictures that can be read and of their boxes as the source has them."""
    return hashing.of_value(
        [
            (p.split, p.name, sha, [{"corners": b.corners, "name": b.name} for b in p.boxes])
            for p, sha in zip(pictures, hashes, strict=True)
            if sha
        ]
    )
