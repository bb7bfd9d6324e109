"""A photo that a stranger sent: checked by its header, and made into what the model decodes.

Travels inside the bundle: it needs Pillow alone.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from plantdoc.decoder import exif, picture_decoder
from plantdoc.decoder.picture_decoder import Header
from plantdoc.decoder.picture_error import PictureError, damaged
from plantdoc.serving.handler.refusal import Refused

MIN_SIDE = 16  # px
KINDS = ("JPEG", "PNG", "WEBP")
_STATUS = {"not_a_picture": 415, "not_read_here": 415, "too_many_pixels": 413}  # of others: 422


@dataclass(frozen=True)
class UploadedImage:
    """A picture as the model takes it: encoded bytes and EXIF orientation 1..8; width and height, px, as displayed."""

    data: bytes
    orientation: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True)
class Inspected:
    """A picture that passed by its header, and whether it has to be converted for the model."""

    data: bytes
    header: Header

    @property
    def pixels(self) -> int:
        return self.header.width * self.header.height

    @property
    def converted(self) -> bool:
        return not self.header.plain


def read(data: bytes, max_pixels: int, more: tuple[str, ...] = ()) -> UploadedImage:
    """Check a picture file and prepare it for the model; see `inspect` and `prepare`."""
    return prepare(inspect(data, max_pixels, more))


def inspect(data: bytes, max_pixels: int, more: tuple[str, ...] = ()) -> Inspected:
    """Check a JPEG, PNG or WebP file, or one of the kinds in `more` (HEIC, AVIF), by its header.

    Raises:
        Refused: 415 for anything else, 413 for more than `max_pixels`, 422 for a header that is damaged, a side below
            MIN_SIDE or too many scans.
    """
    kinds = (*KINDS, *more)
    try:
        header = picture_decoder.header(data, max_pixels, "deploy.max_pixels", kinds)
    except PictureError as error:
        raise _refused(error, kinds) from None
    if min(header.width, header.height) < MIN_SIDE:
        size = f"{header.width} × {header.height}"
        raise Refused(422, "too_small", f"the picture is {size} pixels: both sides need {MIN_SIDE} or more")
    return Inspected(data, header)


def prepare(inspected: Inspected) -> UploadedImage:
    """A picture as the model takes it.

    A JPEG or PNG is not decoded here, so that one that is damaged is found by the model (see `undecodable`). What the
    model would decode differently, or not at all, becomes a PNG with the pixels that fetch would give it.

    Raises:
        Refused: 422 for a damaged file.
    """
    data, header = inspected.data, inspected.header
    if inspected.converted:
        try:
            decoded = picture_decoder.decode(data, header)
        except PictureError as error:
            raise _refused(error, KINDS) from None
        file = io.BytesIO()
        decoded.image.save(file, "PNG", compress_level=1)
        data = file.getvalue()
    size = (header.width, header.height)
    width, height = reversed(size) if header.orientation in exif.LYING else size
    return UploadedImage(data, header.orientation, width, height)


def undecodable(photo: UploadedImage) -> Refused:
    """Refusal of an image that the model could not decode though its header was right."""
    return _refused(damaged("PNG" if photo.data.startswith(b"\x89") else "JPEG"), KINDS)


def _refused(error: PictureError, kinds: tuple[str, ...]) -> Refused:
    message = {
        "not_a_picture": f"this is no {', '.join(kinds[:-1])} or {kinds[-1]} picture".replace("WEBP", "WebP"),
        "damaged": f"{error}: send it again",
    }.get(error.code, str(error))
    return Refused(_STATUS.get(error.code, 422), error.code, message)
