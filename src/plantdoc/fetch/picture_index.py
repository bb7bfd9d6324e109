"""Search for the picture that an annotation is about, among the pictures of a source.

The longest common tail of the paths decides, then how exactly the names agree, then how near the folders are. A name is
compared as it is, without URL parts and percent-encoding, in Unicode's composed form, without regard to case, and last
without its suffix.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from plantdoc.fetch import split_names
from plantdoc.fetch.source_files import is_picture_name

# Encodings of names in archives that do not say so. Unpacking read them as code page 437, which loses nothing.
_ARCHIVE_NAMES = ("gbk", "big5", "shift_jis", "euc_kr", "cp1252", "cp866", "cp1251", "cp850", "cp852")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the names of uploaded files
_URL = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """What an annotation says of its picture.

    `at` is the annotation file, `name` a file name or path as written. `own_path` says that `name` is the annotation
    file's own path: then its suffix says nothing, and its folder is known. `split` is that of the annotation file, or
    None.
    """

    at: str
    name: str
    own_path: bool = False
    split: str | None = None


@dataclass(frozen=True)
class Match:
    """The pictures that fit a reference best, one if it is found; `rank` is how well, the higher the better."""

    pictures: tuple[str, ...] = ()
    rank: tuple[int, ...] = ()


class PictureIndex:
    """The pictures of a source by their names. Paths that were not listed are never found, so none leads out of it."""

    def __init__(self, pictures: Iterable[str]):
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._parts: dict[str, tuple[str, ...]] = {}
        for picture in pictures:
            parts = _parts(picture) or (_folded(picture),)  # of a name like `C:` nothing is left
            self._parts[picture] = parts
            self._by_name[parts[-1]].append(picture)
            self._by_stem[_stem(parts[-1])].append(picture)

    def match(self, references: Iterable[Reference]) -> dict[Reference, Match]:
        """The best pictures for each reference.

        References of one annotation file, or with `own_path` of one folder, share the nearness of the best of them:
        where `task1/x.json` finds its pictures below `task1`, one of a like name below `task2` is not taken for a
        missing one.
        """
        candidates = {reference: self._candidates(reference) for reference in references}
        best: dict[object, int] = defaultdict(int)
        for reference, found in candidates.items():
            for _, rank in found:
                best[_nearness_scope(reference)] = max(best[_nearness_scope(reference)], rank[2])
        matches = {}
        for reference, found in candidates.items():
            fit = [
                (picture, rank)
                for picture, rank in found
                # A path of several parts that all agree needs no nearness.
                if rank[2] == best[_nearness_scope(reference)] or (not reference.own_path and rank[0] > 1)
            ]
            top = max((rank for _, rank in fit), default=())
            matches[reference] = Match(tuple(picture for picture, rank in fit if rank == top), top)
        return matches

    def _candidates(self, reference: Reference) -> list[tuple[str, tuple[int, ...]]]:
        """Pictures of the same name, each with (common tail, exactness, nearness, whether by the file's own path)."""
        found: dict[str, tuple[int, ...]] = {}
        at = _parts(PurePosixPath(reference.at).parent.as_posix())
        for spelling in _spellings(reference):
            parts = _parts(spelling)
            if not parts:
                continue
            for exactness, picture in self._namesakes(spelling, parts[-1], reference.own_path):
                tail = _common(reversed(parts[:-1]), reversed(self._parts[picture][:-1]))
                # One folder agrees more than the name alone; without a folder the tail is the name.
                nearness = _nearness(at, self._parts[picture][:-1])
                rank = (1 + tail, exactness, nearness, int(reference.own_path))
                whole = rank[0] >= max(2, len(parts))
                if reference.split and not whole and split_names.of_folder(picture) not in (None, reference.split):
                    continue
                found[picture] = max(found.get(picture, ()), rank)
        return list(found.items())

    def _namesakes(self, spelling: str, name: str, own: bool) -> list[tuple[int, str]]:
        raw = PurePosixPath(spelling.replace("\\", "/")).name
        if own:  # x.xml is about x.jpg, and x.jpg.xml as well
            stem = PurePosixPath(raw).stem
            folded = _folded(stem)
            named = [(3 if PurePosixPath(p).name == stem else 1, p) for p in self._by_name.get(folded, ())]
            return named + [(3 if PurePosixPath(p).stem == stem else 1, p) for p in self._by_stem.get(folded, ())]
        named = [(3 if PurePosixPath(p).name == raw else 2, p) for p in self._by_name.get(name, ())]
        return named or [(0, p) for stem in {name, _stem(name)} for p in self._by_stem.get(stem, ())]


def _nearness_scope(reference: Reference) -> object:
    """What references must have in common to share the nearness of the best of them."""
    return PurePosixPath(reference.at).parent if reference.own_path else reference.at


def _spellings(reference: Reference) -> list[str]:
    """The ways to read a reference: as written, and what it may have been before a URL, an upload or an archive."""
    if reference.own_path:
        return [reference.name]
    name = reference.name.strip()
    spellings = [name]
    if _URL.match(name) or "?" in name:
        try:
            url = urlsplit(name)
            local = parse_qs(url.query).get("d", [])  # Label Studio: /data/local-files/?d=folder/x.jpg
            spellings += [*local, url.path]
        except ValueError:  # no URL
            pass
    for spelling in spellings[:]:
        path, _, last = spelling.rpartition("/")
        if without := _UPLOAD.sub("", last):
            spellings.append(f"{path}/{without}" if path else without)
    if not name.isascii():
        for encoding in _ARCHIVE_NAMES:
            try:
                spellings.append(name.encode(encoding).decode("cp437"))
            except (ValueError, LookupError):
                continue
    return list(dict.fromkeys(spelling for spelling in spellings if spelling))


def _parts(path: str) -> tuple[str, ...]:
    """The parts of a path in the form that is compared; `.`, `..`, drives and a leading slash say nothing."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if parts and re.fullmatch(r"[A-Za-z]:", parts[0]):
        parts = parts[1:]
    return tuple(_folded(part) for part in parts)


def _folded(name: str) -> str:
    name = unquote(name)
    for mark in ("?", "#"):  # the tail of a URL in a name, as in b.jpg?w=640
        head = name.partition(mark)[0]
        if is_picture_name(head):
            name = head
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if is_picture_name(name) else name


def _common(one: Iterable[str], other: Iterable[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _nearness(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How near two folders are: the folders that their paths share at the beginning and at the end.

    The same folder is nearer than any other: its pictures lie beside the annotation.
    """
    if one == other:
        return len(one) + 1
    head = _common(one, other)
    tail = _common(reversed(one[head:]), reversed(other[head:]))
    return head + tail
