"""File names that a file system takes."""

from __future__ import annotations

import hashlib
import os

LONGEST = 200  # bytes; file systems allow 255, and DVC and editors add suffixes of their own
_SUFFIX = 20  # bytes kept free for it, so that names that differ in the suffix alone are cut alike


def shortened(name: str, longest: int = 255) -> str:
    """A name of at most `longest` bytes in UTF-8: a longer one loses the end of its stem to a hash of the stem.

    Whether and where it is cut follows from the stem alone: the names of a picture and its label stay alike.
    """
    stem, suffix = os.path.splitext(name)
    if len(os.fsencode(suffix)) > _SUFFIX:  # no suffix, but the end of a sentence
        stem, suffix = name, ""
    room = longest - _SUFFIX
    if len(os.fsencode(stem)) <= room:
        return name
    tail = "-" + hashlib.sha256(os.fsencode(stem)).hexdigest()[:12]
    while len(os.fsencode(stem + tail)) > room:
        stem = stem[:-1]
    return stem + tail + suffix
