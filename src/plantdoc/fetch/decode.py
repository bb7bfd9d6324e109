"""Pictures of any kind, turned into what the project stores: an upright 8-bit RGB picture as JPEG or PNG."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"))
_RIGHT_SUFFIXES = {"JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",)}
_ORIENTATION = 0x0112
_QUALITY = 95
# What Pillow's decoders raise on bytes that are not what they claim to be.
_BROKEN = (OSError, SyntaxError, ValueError, struct.error, EOFError, LookupError, TypeError, OverflowError, zlib.error)


class PictureError(Exception):
    """A picture that cannot be used; the text is the reason, for the report."""


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    `image` is RGB and upright; `format` is what the bytes are ("JPEG", "PNG", …); `orientation` is the EXIF value 1..8
    that was applied; `stored_size` is (width, height) before that; `plain` says that the bytes are an upright RGB JPEG
    or PNG already; `repairs` names what was changed otherwise.
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
    try:
        with _own_size_check(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise PictureError(f"too large: {width} × {height} pixels, fetch.max_pixels is {max_pixels}")
            image.load()
            orientation = image.getexif().get(_ORIENTATION, 1)
            if orientation not in range(1, 9):
                orientation = 1
            kind = "JPEG" if image.format == "MPO" else image.format or ""  # a JPEG with more pictures behind it
            plain = orientation == 1 and _is_plain(image, kind, data)
            rgb, repairs = _to_rgb(image, data)
            if orientation != 1:
                ImageOps.exif_transpose(image, in_place=True)
                rgb = _to_rgb(image, data)[0]
                repairs += (f"turned by EXIF orientation {orientation}",)
    except Image.UnidentifiedImageError:
        raise PictureError("not a picture of a known type") from None
    except _BROKEN as error:
        raise PictureError(f"damaged: {' '.join(str(error).split())}") from None
    if kind not in _RIGHT_SUFFIXES:
        repairs += (f"{kind} stored as JPEG",)
    return Decoded(rgb, kind, orientation, (width, height), plain, repairs)


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


@contextlib.contextmanager
def _own_size_check() -> Iterator[None]:
    # Pillow's own limit is lower than what a user may set, and only warns up to twice its value.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _is_plain(image: Image.Image, kind: str, data: bytes) -> bool:
    if image.mode != "RGB" or "transparency" in image.info:
        return False
    return kind == "JPEG" or (kind == "PNG" and not _is_deep_png(data))


def _is_deep_png(data: bytes) -> bool:
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16  # IHDR's bit depth; Pillow hides it


def _to_rgb(image: Image.Image, data: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """An RGB copy, and what that took."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        # White is what a page shows behind transparent pixels.
        over = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        return over.convert("RGB"), ("transparency laid over white",)
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image)
        if image.mode == "F":
            raise PictureError("pixels are floating-point numbers of unknown range")
        levels = levels >> 8 if levels.max() > 255 else levels
        return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB"), ("16-bit grey to RGB",)
    if image.mode != "RGB":
        kind = {"L": "grey", "1": "black and white", "P": "palette"}.get(image.mode, image.mode)
        return image.convert("RGB"), (f"{kind} to RGB",)
    return image.copy(), ("16-bit colour to RGB",) if _is_deep_png(data) else ()
