"""Names from a source made fit for use: class names in one spelling, file names unique in a flat folder."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from plantdoc.core import file_names
from plantdoc.fetch.decode import right_name


def spellings(counts: Mapping[str, int], aliases: Mapping[str, str]) -> dict[str, str]:
    """The final spelling of each class name.

    Names that differ only in case or blanks become the most frequent one of them (the first in order when equal).
    `aliases` maps wrong names to right ones, compared in the same way; the right one's spelling is kept as given.

    Args:
        counts: the class names as written, and how many boxes carry each.
        aliases: wrong name: right name.
    """
    chosen = {_fold(right): right for right in aliases.values()}
    redirect = {_fold(wrong): _fold(right) for wrong, right in aliases.items()}
    key_of = {name: redirect.get(_fold(name), _fold(name)) for name in counts}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        chosen.setdefault(key_of[name], " ".join(name.split()))
    return {name: chosen[key] for name, key in key_of.items()}


def flat(names: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """File names for the pictures of one split: folders gone, suffixes right, no two alike even without regard to case.

    Names that would clash all get a piece of the hash of their full name, so the order of files does not matter.

    Args:
        names: paths in the source, all different.
        kinds: "JPEG" or "PNG" each.
    """
    short = [_tidy(right_name(PurePosixPath(name).name, kind)) for name, kind in zip(names, kinds, strict=True)]
    times = Counter(name.casefold() for name in short)
    result = []
    for name, full in zip(short, names, strict=True):
        if times[name.casefold()] > 1:
            stem, suffix = os.path.splitext(name)
            name = f"{stem}-{hashlib.sha256(full.encode()).hexdigest()[:12]}{suffix}"
        result.append(name)
    return result


def _fold(name: str) -> str:
    return " ".join(name.split()).casefold()


def _tidy(name: str) -> str:
    """Without control characters, in Unicode's composed form, not too long, the suffix kept."""
    name = unicodedata.normalize("NFC", "".join("_" if unicodedata.category(c)[0] == "C" else c for c in name))
    return file_names.shortened(name, file_names.LONGEST)
