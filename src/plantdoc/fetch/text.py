"""Text files of unknown encoding."""

from __future__ import annotations

import codecs
import json

import charset_normalizer

# A byte order mark says it; the longer ones first, since UTF-32's begins like UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes, declared: str = "") -> tuple[str, str]:
    """The text in `data`, and the name of its encoding where that is a guess, else "".

    A byte order mark decides, else what the bytes are valid in: UTF-16 or UTF-32 without a mark, UTF-8, `declared`. The
    guess is charset-normalizer's, or Windows-1252 where it has none.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace"), ""
    guess = json.detect_encoding(data[:64])  # it looks for zeros only, so it is right for any text that begins in ASCII
    for encoding in dict.fromkeys((guess, "utf-8", declared)):
        if encoding:
            try:
                return data.decode(encoding), ""
            except (ValueError, LookupError):
                continue
    best = charset_normalizer.from_bytes(data[:100_000]).best()
    encoding = best.encoding if best else "cp1252"
    return data.decode(encoding, "replace"), encoding
