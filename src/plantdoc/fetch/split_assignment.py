"""Parts of a data set chosen by content, so that neither the order of files nor a new picture moves the others."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from plantdoc.fetch.audit import Audited
from plantdoc.fetch.duplicates import Pair, groups


def strata(names: Sequence[Iterable[str]]) -> list[str]:
    """The class under which each picture counts: of those on it the one on the fewest pictures; "" without boxes.

    Args:
        names: the class names of the boxes of each picture.
    """
    pictures_with = Counter(name for its in names for name in set(its))
    return [min(its, key=lambda name: (pictures_with[name], name), default="") for its in map(set, names)]


def part(contents: Sequence[str], strata: Sequence[str], limit: int) -> list[int]:
    """Positions of at most `limit` pictures, each stratum by its share, in the order of `contents`.

    Inside a stratum the lowest content hashes go first. Every stratum gives its first picture before any gives its
    second, so that rare classes are there when `limit` is at least the number of classes.
    """
    by_stratum: dict[str, list[int]] = {}
    for i in sorted(range(len(contents)), key=lambda i: contents[i]):
        by_stratum.setdefault(strata[i], []).append(i)
    order = sorted(
        (rank / len(members), contents[i], i) for members in by_stratum.values() for rank, i in enumerate(members)
    )
    return sorted(i for _, _, i in order[:limit])


def assign(pictures: Sequence[Audited], pairs: Sequence[Pair], val_fraction: float) -> tuple[list[str], list[str]]:
    """The split of each picture, after val (and test) are cut where the source has none and leaks are closed.

    The cut: each group of near-duplicates gets a number in 0..1 from the lowest content hash in it, and goes to val
    when that is below `val_fraction`. A class is thus cut by its share only on average: a quota per class would be
    exact, but a new picture would then push another one over the border. Known limitation: at a fraction of 0.15, a
    class of three pictures has none in val six times out of ten. A new picture moves no other one; only when it is a
    near-duplicate of pictures already there, and becomes the lowest hash of its group, can it take these along, since
    near-duplicates must be on one side. A source without a test split has one cut off first, in the same way and of
    the same size.

    The leaks: a picture of train or val leaves when test holds the same or nearly the same; one of train when val does.

    Returns:
        The splits ("train", "val", "test", or "" for pictures that leave), and for each that leaves the reason.
    """
    sides = [p.split for p in pictures]
    there = set(sides)
    pool = [i for i, side in enumerate(sides) if side == "train"]
    group = groups(len(pictures), [(p.first, p.second) for p in pairs if sides[p.first] == sides[p.second] == "train"])
    lowest: dict[int, str] = {}
    for i in pool:
        lowest[group[i]] = min(lowest.get(group[i], "~"), pictures[i].content)
    for i in pool:
        for side in ("test", "val"):
            if side not in there and _number(side, lowest[group[i]]) < val_fraction:
                sides[i] = side
                break
    reasons = [""] * len(pictures)
    for leaks, into in ((("train", "val"), "test"), (("train",), "val")):
        for pair in pairs:
            for leaver, stayer in ((pair.first, pair.second), (pair.second, pair.first)):
                if sides[leaver] in leaks and sides[stayer] == into:
                    reasons[leaver] = f"stands in {into} as {pictures[stayer].name} ({pair.kind})"
                    sides[leaver] = ""
    return sides, reasons


def _number(purpose: str, content: str) -> float:
    """A number in 0..1 that depends on nothing but its arguments."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{content}".encode()).digest()[:8], "big") / 2**64
