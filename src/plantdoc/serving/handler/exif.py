"""Which way up a picture is, as its camera noted (EXIF 2.32, tag 0x0112)."""

from __future__ import annotations

import io
import struct

from PIL import Image

from plantdoc.errors import UserError

LYING = (5, 6, 7, 8)  # orientations in which width and height change places
_TAG = 0x0112


def orientation(data: bytes) -> int:
    """The EXIF orientation 1..8 of an encoded picture; 1 (upright) where there is none or it makes no sense.

    Raises:
        UserError: `data` is no picture that can be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return of(picture)
    except (OSError, Image.DecompressionBombError) as error:
        raise UserError(f"not a picture that can be read ({error}): send a JPEG or PNG file") from None


def of(picture: Image.Image) -> int:
    """The same of an opened picture; reads all of a PNG, which may have it at the end.

    Raises:
        OSError: a PNG is damaged.
    """
    try:
        value = picture.getexif().get(_TAG, 1)
    except (SyntaxError, ValueError, struct.error):
        return 1  # notes that cannot be read turn nothing
    return value if value in range(1, 9) else 1
