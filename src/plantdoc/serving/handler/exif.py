"""EXIF orientation of a picture (EXIF 2.32, tag 0x0112)."""

from __future__ import annotations

import struct

from PIL import Image

LYING = (5, 6, 7, 8)  # orientations in which width and height change places
_TAG = 0x0112


def of(picture: Image.Image) -> int:
    """The EXIF orientation 1..8 of an opened picture; 1 (upright) where there is none or it makes no sense.

    Reads all of a PNG, which may have it at the end.

    Raises:
        OSError: a PNG is damaged.
    """
    try:
        value = picture.getexif().get(_TAG, 1)
    except (SyntaxError, ValueError, struct.error):
        return 1  # notes that cannot be read turn nothing
    return value if value in range(1, 9) else 1
