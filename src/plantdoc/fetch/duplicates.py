"""Pictures that stand in a data set more than once, and the groups they form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plantdoc.fetch import phash
from plantdoc.fetch.audit import Audited


@dataclass(frozen=True)
class Pair:
    """Two pictures, by position, that show the same; `kind` says how: same bytes, same pixels, or nearly."""

    first: int
    second: int
    kind: str
    conflict: bool  # their boxes are of different classes


def find(pictures: Sequence[Audited], bits: int) -> list[Pair]:
    """All pairs with the same bytes, the same pixels, or perceptual hashes at most `bits` apart.

    Flipped, rotated or cropped copies are not found. Class names must be in their final spelling.
    """
    pairs = []
    for i, j, distance in phash.close_pairs([p.looks for p in pictures], bits):
        a, b = pictures[i], pictures[j]
        if a.content == b.content:
            kind = "same bytes"
        elif a.pixels == b.pixels:
            kind = "same pixels"
        else:
            kind = f"near, {distance} of {phash.BITS} bits"
        pairs.append(Pair(i, j, kind, {name for _, name in a.boxes} != {name for _, name in b.boxes}))
    return pairs


def groups(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The group of each of `count` pictures: the lowest position that pairs connect it to, over any number of steps."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        low, high = sorted((root(i), root(j)))
        parent[high] = low
    return [root(i) for i in range(count)]
