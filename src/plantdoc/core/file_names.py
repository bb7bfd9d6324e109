"""File names that a file system takes."""

from __future__ import annotations

import hashlib
import os

LONGEST = 200  # bytes; file systems allow 255, and DVC and editors add suffixes of their own


def shortened(name: str, longest: int = 255) -> str:
    """A name of at most `longest` bytes in UTF-8: a longer one loses the end of its stem to a hash of the stem.

    Names that differ in the suffix alone, as a picture and its label do, still do afterwards.
    """
    if len(os.fsencode(name)) <= longest:
        return name
    stem, suffix = os.path.splitext(name)
    if len(os.fsencode(suffix)) > 20:  # no suffix, but the end of a sentence
        stem, suffix = name, ""
    tail = "-" + hashlib.sha256(os.fsencode(stem)).hexdigest()[:12]
    while len(os.fsencode(stem + tail + suffix)) > longest:
        stem = stem[:-1]
    return stem + tail + suffix
