"""EXIF orientation of a picture (EXIF 2.32, tag 0x0112).

Read here and not by Pillow, which takes the orientation from XMP as well, as no browser does, and fails on tags of the
wrong type that nobody needs.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

LYING = (5, 6, 7, 8)  # orientations in which width and height change places
_TAG = 0x0112
# TIFF's types of whole numbers, each with struct's letter.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
_ENTRY = 12  # bytes
_MARK = b"Exif\0\0"
_MOST = 10_000  # parts of a file that are looked at


def orientation(block: bytes | None) -> int:
    """The orientation 1..8 in an EXIF block, with or without its mark; 1 (upright) without one that makes sense.

    Other tags are not looked at. Of a directory that is cut short, what is there counts.
    """
    block = (block or b"").removeprefix(_MARK)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 10:
        return 1
    start = struct.unpack_from(f"{order}I", block, 4)[0]
    count = struct.unpack_from(f"{order}H", block, start)[0] if start + 2 <= len(block) else 0
    for at in range(start + 2, min(start + 2 + count * _ENTRY, len(block) - _ENTRY + 1), _ENTRY):
        tag, kind, values = struct.unpack_from(f"{order}HHI", block, at)
        if tag == _TAG and values == 1 and kind in _TYPES:
            (value,) = struct.unpack_from(order + _TYPES[kind], block, at + 8)
            return value if 1 <= value <= 8 else 1
    return 1


def of_file(kind: str, data: bytes) -> int:
    """The orientation of an encoded JPEG, PNG or WebP; 1 for other kinds."""
    blocks = {"JPEG": _in_jpeg, "PNG": _in_png, "WEBP": _in_webp}.get(kind)
    found = map(orientation, itertools.islice(blocks(data), _MOST) if blocks else ())
    return next((value for value in found if value != 1), 1)


def _in_jpeg(data: bytes) -> Iterator[bytes]:
    """The segments before the first scan, those that are EXIF as they are, the others empty."""
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        kind = data[at + 1]
        if kind in (0xDA, 0xD9):  # the pixels, or the end
            return
        # One FF more may stand before a marker.
        length = -1 if kind == 0xFF else int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        yield body if kind == 0xE1 and body.startswith(_MARK) else b""
        at += 2 + length


def _in_png(data: bytes) -> Iterator[bytes]:
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 8 : at + 8 + length] if data[at + 4 : at + 8] == b"eXIf" else b""
        at += 12 + length


def _in_webp(data: bytes) -> Iterator[bytes]:
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at + 8 : at + 8 + length] if data[at : at + 4] == b"EXIF" else b""
        at += 8 + length + length % 2
