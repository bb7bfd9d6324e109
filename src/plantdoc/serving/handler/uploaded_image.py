"""A photo that a stranger sent: checked by its header, and made into what the model decodes.

Travels inside the bundle: it needs Pillow and nothing else.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from dataclasses import dataclass

from PIL import Image

from plantdoc.serving.handler import exif
from plantdoc.serving.handler.refusal import Refused

MIN_SIDE = 16  # px
# Scans of a progressive JPEG. Programs write about ten; each is a pass over the whole picture that may take only 14
# bytes, and thousands of them stop a decoder for hours.
MAX_SCANS = 100
# A marker in a JPEG: FF, perhaps repeated, and what it is; FF00 is data, D0 to D7 are restarts in the middle of a scan.
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_SCAN, _END, _BARE = 0xDA, 0xD9, (0x01, 0xD8)
# MPO is the JPEG of phones that keep a second picture behind the first.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")
# Pillow warns of odd notes and of many pixels, in the server's log: the first harm nobody, the second are bounded here.
warnings.filterwarnings("ignore", module=r"PIL\.")
# What Pillow raises on files that are no pictures, or damaged ones.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, OverflowError, MemoryError, IndexError, TypeError)


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


def read(data: bytes, max_pixels: int) -> UploadedImage:
    """Check a JPEG, PNG or WebP file and prepare it for the model.

    A JPEG is not decoded here, so that one cut short is found by the model (see `undecodable`). What the model would
    decode differently from Pillow, a CMYK JPEG or a WebP, becomes a PNG with the same pixels.

    Raises:
        Refused: 415 for anything else, 413 for more than `max_pixels`, 422 for a damaged file, a side below MIN_SIDE or
            more than MAX_SCANS.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as picture:
            return _prepared(data, picture, max_pixels)
    except Image.DecompressionBombError:
        raise _too_large(max_pixels) from None
    except Image.UnidentifiedImageError:
        raise Refused(415, "not_a_picture", "this is no JPEG, PNG or WebP picture") from None
    except _DAMAGED:
        raise Refused(422, "damaged", "the picture is damaged and cannot be decoded: send it again") from None


def undecodable(photo: UploadedImage) -> Refused:
    """Refusal of an image that the model could not decode though its header was right."""
    size = f"{photo.width} × {photo.height}"
    return Refused(422, "damaged", f"the picture says it has {size} pixels, and is cut short or damaged: send it again")


def _prepared(data: bytes, picture: Image.Image, max_pixels: int) -> UploadedImage:
    if picture.format not in _FORMATS:
        raise Refused(415, "not_a_picture", "this is no JPEG, PNG or WebP picture")
    width, height = picture.size
    if width * height > max_pixels:
        raise _too_large(max_pixels)
    if min(width, height) < MIN_SIDE:
        raise Refused(422, "too_small", f"the picture is {width} × {height} pixels: both sides need {MIN_SIDE} or more")
    if picture.format in ("JPEG", "MPO") and _scans(data) > MAX_SCANS:
        raise Refused(422, "too_many_scans", f"the JPEG has more than {MAX_SCANS} scans: save it as an ordinary JPEG")
    orientation = exif.of(picture)
    if picture.format == "WEBP" or picture.mode == "CMYK":
        file = io.BytesIO()
        picture.convert("RGB").save(file, "PNG", compress_level=1)
        data = file.getvalue()
    if orientation in exif.LYING:
        width, height = height, width
    return UploadedImage(data, orientation, width, height)


def _scans(data: bytes) -> int:
    """Number of scans in a JPEG, counted up to one above MAX_SCANS."""
    found, at = 0, 0
    while found <= MAX_SCANS and (marker := _MARKER.search(data, at)):
        kind, at = marker[1][0], marker.end()
        if kind == _END:  # what phones put behind it is not decoded
            break
        found += kind == _SCAN
        if kind not in _BARE:  # the others say how long they are
            at += int.from_bytes(data[at : at + 2], "big")
    return found


def _too_large(max_pixels: int) -> Refused:
    most = f"{max_pixels / 1e6:g} million"
    return Refused(413, "too_many_pixels", f"the picture has more than {most} pixels: make it smaller")
