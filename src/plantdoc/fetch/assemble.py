"""Assignment of annotations to pictures, shared by all formats that keep pictures in files of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from plantdoc.fetch import split_names
from plantdoc.fetch.picture_index import Match, PictureIndex
from plantdoc.fetch.raw_data import Entry, Lost, RawData, RawPicture
from plantdoc.fetch.source_files import SourceFiles
from plantdoc.fetch.split_lists import SplitLists

NO_SPLIT = "no split is declared: taken for train"


def assemble(
    source: SourceFiles,
    entries: Sequence[Entry],
    *,
    without_entry: str,
    lists: SplitLists | None = None,
    lost: Sequence[Lost] = (),
    also_read: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> RawData:
    """Find the picture of each entry; a picture belongs to one entry at most.

    Entries of one file that name one picture are merged. Where files disagree on a picture, or one may mean several
    pictures, the picture is lost and the reason names both.

    Args:
        source: the files of the source.
        entries: what the annotation files say.
        without_entry: why a picture is lost that no entry names; "" if there is nothing on such a picture.
        lists: lists of files that declare splits.
        lost: what is lost already.
        also_read: annotation files that may have no entry.
        notes: for the report.
    """
    lists = lists or SplitLists()
    lost = list(lost)
    claims: dict[str, list[tuple[tuple[int, ...], Entry]]] = defaultdict(list)
    doubts: dict[str, str] = {}
    for entry, match in _without_claimed(_match(PictureIndex(source.pictures), entries)):
        if len(match.pictures) == 1:
            claims[match.pictures[0]].append((match.rank, entry))
        else:
            lost.append(_unmatched(entry, match))
            doubts |= dict.fromkeys(match.pictures, lost[-1].reason)
    pictures = []
    for name in source.pictures:
        best, beaten = _best(claims.get(name, []))
        lost += [_beaten(entry, name, best[0]) for entry in beaten]
        one = _picture(source, name, best, doubts.get(name, "") or without_entry, lists)
        if isinstance(one, Lost):
            lost.append(one)
        else:
            pictures.append(one)
    lost += lists.missing
    used = tuple(dict.fromkeys((*(entry.at for entry in entries), *also_read)))
    return RawData(tuple(pictures), tuple(lost), used, tuple(notes), tuple(lists.files))


def _match(index: PictureIndex, entries: Sequence[Entry]) -> list[tuple[Entry, Match]]:
    """The match of each entry: by its first reference that means one picture, else the first that means several."""
    found = [Match()] * len(entries)
    for turn in range(max((len(entry.references) for entry in entries), default=0)):
        open_ones = [i for i, e in enumerate(entries) if turn < len(e.references) and len(found[i].pictures) != 1]
        matches = index.match(dict.fromkeys(entries[i].references[turn] for i in open_ones))
        for i in open_ones:
            match = matches[entries[i].references[turn]]
            if len(match.pictures) == 1 or not found[i].pictures:
                found[i] = match
    return list(zip(entries, found, strict=True))


def _without_claimed(matches: list[tuple[Entry, Match]]) -> list[tuple[Entry, Match]]:
    """Take pictures that another entry fits better out of the matches that mean several."""
    while True:
        claimed: dict[str, tuple[int, ...]] = {}
        for _, match in matches:
            if len(match.pictures) == 1:
                claimed[match.pictures[0]] = max(claimed.get(match.pictures[0], ()), match.rank)
        cleared = []
        for entry, match in matches:
            left = tuple(picture for picture in match.pictures if claimed.get(picture, ()) <= match.rank)
            if len(match.pictures) > 1 and 1 <= len(left) < len(match.pictures):
                match = replace(match, pictures=left)
            cleared.append((entry, match))
        if cleared == matches:
            return matches
        matches = cleared


def _unmatched(entry: Entry, match: Match) -> Lost:
    split = entry.split or split_names.of_folder(entry.name) or split_names.of_folder(entry.at) or "train"
    if match.pictures:
        reason = f"{entry.at} may mean {match.pictures[0]} or {match.pictures[1]}: give them different names"
    elif entry.fault:
        reason = entry.fault
    elif entry.references[0].own_path:
        reason = "the picture of this annotation file is missing"
        return Lost(split, entry.at, reason, len(entry.boxes), missing=True)
    else:
        reason = f"{entry.at} names it, but it is missing"
    return Lost(split, entry.name, reason, len(entry.boxes), missing=True)


def _best(claims: list[tuple[tuple[int, ...], Entry]]) -> tuple[list[Entry], list[Entry]]:
    top = max((rank for rank, _ in claims), default=())
    return [entry for rank, entry in claims if rank == top], [entry for rank, entry in claims if rank != top]


def _beaten(entry: Entry, picture: str, by: Entry) -> Lost:
    reason = f"{entry.at} names it; the only picture of a like name, {picture}, is that of {by.name} in {by.at}"
    return Lost(entry.split or "train", entry.name, reason, len(entry.boxes), missing=True)


def _picture(
    source: SourceFiles, name: str, entries: list[Entry], without_entry: str, lists: SplitLists
) -> RawPicture | Lost:
    entry, conflict = _merged(entries)
    split, split_from, doubt = _split(name, entry, lists)
    boxes = sum(len(entry.boxes) for entry in entries)
    fault = conflict or doubt or (entry.fault if entry else without_entry)
    if fault:
        return Lost(split, name, fault, boxes)
    if entry is None:
        return RawPicture(split, name, source.folder / name, (), split_from=split_from)
    return RawPicture(
        split, name, source.folder / name, entry.boxes, entry.relative, entry.declared, split_from, entry.repairs, True
    )


def _merged(entries: list[Entry]) -> tuple[Entry | None, str]:
    """One entry of several for a picture, or why there is none."""
    if not entries:
        return None, ""
    first, *others = entries
    for other in others:
        if other.at != first.at and (set(other.boxes) != set(first.boxes) or other.split != first.split):
            return first, f"{first.at} and {other.at} both name it and disagree: keep one of them"
    boxes = tuple(dict.fromkeys(box for entry in entries for box in entry.boxes))
    repairs = first.repairs
    if boxes != first.boxes and others:
        repairs += (f"boxes of {len(entries)} entries in one file put together",)
    return replace(first, boxes=boxes if others else first.boxes, repairs=repairs), ""


def _split(name: str, entry: Entry | None, lists: SplitLists) -> tuple[str, str, str]:
    """The split of a picture, what says so, and why it is in doubt or left out, or ""."""
    if declared := lists.of(name):
        return declared
    if entry and entry.split:
        return entry.split, entry.split_from, ""
    for path in (name, *([entry.at] if entry else [])):
        if split := split_names.of_folder(path):
            folder = next(f for f in reversed(PurePosixPath(path).parents) if split_names.of_folder(f"{f}/x") == split)
            return split, f"folder {folder.name}", ""
    return "train", NO_SPLIT, ""
