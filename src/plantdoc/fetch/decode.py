"""Pictures of any kind, turned into what the project stores: an upright 8-bit RGB picture as JPEG or PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from plantdoc.decoder import picture_decoder, rgb
from plantdoc.decoder.picture_error import PictureError as PictureError

SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
SUFFIXES |= {".heic", ".heif", ".hif", ".avif"}  # of phones
_RIGHT_SUFFIXES = {"JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",)}
_QUALITY = 95


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    `image` is RGB and upright; `format` is what the bytes are ("JPEG", "PNG", …); `orientation` is the EXIF value 1..8
    that was applied; `stored_size` is (width, height) before that; `plain` says that the bytes are an upright RGB JPEG
    or PNG already, which Pillow and TensorFlow decode alike; `repairs` names what was changed otherwise.
    """

    image: Image.Image
    format: str
    orientation: int
    stored_size: tuple[int, int]
    plain: bool
    repairs: tuple[str, ...]


def decode(data: bytes, max_pixels: int) -> Decoded:
    """Decode a picture by its content, whatever its name says.

    Raises:
        PictureError: it is no picture, damaged, cut short, or larger than `max_pixels` (then nothing was decoded).
    """
    header = picture_decoder.header(data, max_pixels, "fetch.max_pixels")
    decoded = picture_decoder.decode(data, header)
    repairs = decoded.repairs
    plain = decoded.plain and header.orientation == 1 and not repairs
    if header.orientation != 1:
        repairs += (f"turned by EXIF orientation {header.orientation}",)
    if header.kind not in _RIGHT_SUFFIXES:
        repairs += (f"{header.kind} stored as JPEG",)
    elif not plain and not repairs:
        repairs = ("PNG with wrong checksums or very long notes stored as JPEG",)
    image = rgb.turned(decoded.image, header.orientation)
    return Decoded(image, header.kind, header.orientation, (header.width, header.height), plain, repairs)


def to_stored_form(decoded: Decoded, data: bytes) -> tuple[bytes, str]:
    """The bytes to keep and their format, "JPEG" or "PNG": `data` itself where it is plain, else a fresh JPEG."""
    if decoded.plain:
        return data, decoded.format
    buffer = io.BytesIO()
    decoded.image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue(), "JPEG"


def right_name(name: str, kind: str) -> str:
    """`name` with a suffix that fits the content; a right one stays as it is, and so does the rest of the name."""
    stem, dot, suffix = name.rpartition(".")
    suffix = dot + suffix.lower()
    if suffix in _RIGHT_SUFFIXES[kind]:
        return name
    return (stem if suffix in SUFFIXES else name) + _RIGHT_SUFFIXES[kind][0]
