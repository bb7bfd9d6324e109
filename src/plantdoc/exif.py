"""Which way up a picture is, as its camera noted (EXIF 2.32, tag 0x0112)."""

from __future__ import annotations

import io

from PIL import Image

from plantdoc.errors import UserError

_TAG = 0x0112


def orientation(data: bytes) -> int:
    """The EXIF orientation 1..8 of an encoded picture; 1 (upright) where there is none or it makes no sense.

    Raises:
        UserError: `data` is no picture that can be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            value = picture.getexif().get(_TAG, 1)
    except (OSError, Image.DecompressionBombError) as error:
        raise UserError(f"not a picture that can be read ({error}): send a JPEG or PNG file") from None
    return value if value in range(1, 9) else 1
