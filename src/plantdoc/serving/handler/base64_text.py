"""Base64 as clients really send it. Standard library alone."""

from __future__ import annotations

import base64
import re
import urllib.parse

_PREFIX = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")
_WIDEST = 80  # characters of a line that a program wraps


def decoded(text: str) -> bytes:
    """The bytes of base64: also of a data URL, with line ends, url-safe, without padding, with blanks for `+`.

    A text that was percent-encoded, or that Python wrote as `b'…'`, is read as what it was.

    Raises:
        ValueError: it is no base64, or could be read in two ways.
    """
    if prefix := _PREFIX.match(text[:300]):
        text = text[prefix.end() :]
    if text[:2] in ("b'", 'b"') and text[-1:] == text[1]:
        text = text[2:-1]
    if "%" in text:
        text = urllib.parse.unquote(text)
    text = _without_blanks("".join(text.split("\n")).replace("\r", "").replace("\t", "").strip(" "))
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise ValueError("both alphabets of base64")
        text = text.translate(_URL_SAFE)
    bare = text.rstrip("=")
    if len(text) - len(bare) > 2 or len(bare) % 4 == 1:
        raise ValueError("no base64 has this length")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


def _without_blanks(text: str) -> str:
    """Without blanks inside: lines of one length are what wraps a text, others a `+` that a form or a URL has lost."""
    pieces = text.split(" ")
    plus, dropped = "+".join(pieces), "".join(pieces)
    if len(pieces) == 1 or "+" in text or "-" in text or "_" in text:
        return dropped
    wrapped = len({len(piece) for piece in pieces[:-1]}) == 1 and len(pieces[-1]) <= len(pieces[0]) <= _WIDEST
    if wrapped and len(dropped) % 4 == 0:
        return dropped
    if len(plus) % 4 == 0:
        return plus
    raise ValueError("blanks that could be + or nothing")
