"""Pictures of any kind, by their content, as 8-bit RGB; or one reason why not.

`header` looks at a file without decoding it, `decode` gives its pixels. What a served model, whose graph decodes with
TensorFlow, reads as it is, is `plain`; the rest goes to it as a PNG of these pixels. tests/decoder holds both together.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from plantdoc.decoder import exif, file_kind, jpeg_markers, png_chunks, rgb
from plantdoc.decoder.picture_error import PictureError, damaged

KINDS = ("JPEG", "PNG", "WEBP", "HEIC", "AVIF", "BMP", "GIF", "TIFF")
# Opened by their classes: Image.open has a limit of pixels of its own, for the whole process.
_OPENERS = {
    "JPEG": JpegImagePlugin.JpegImageFile,  # also an MPO, which has more pictures behind the first
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
# Pillow warns of odd notes and of many pixels, in a server's log: the first harm nobody, the second are bounded here.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class Header:
    """Facts about an encoded picture.

    `kind` is one of KINDS; `width` and `height` are in pixels as stored, `orientation` is the EXIF value 1..8; `plain`
    says that TensorFlow decodes the very bytes, to the pixels of `decode`.
    """

    kind: str
    width: int
    height: int
    orientation: int
    plain: bool
    png: png_chunks.Png | None = None


@dataclass(frozen=True)
class Decoded:
    """RGB pixels as stored, not turned; what that took; and whether Pillow, too, reads the file as it is."""

    image: Image.Image
    repairs: tuple[str, ...]
    plain: bool


def header(data: bytes, max_pixels: int, setting: str, kinds: tuple[str, ...] = KINDS) -> Header:
    """Look at a picture's header; decodes nothing.

    Args:
        data: the file.
        max_pixels: of the picture.
        setting: name of the param that has this limit.
        kinds: what is taken, of KINDS.

    Raises:
        PictureError: `not_a_picture`, `not_read_here` (HEIC or AVIF), `damaged`, `too_many_pixels` or `too_many_scans`.
    """
    kind = file_kind.of(data)
    if kind in file_kind.PHONES and kind not in kinds:
        raise PictureError("not_read_here", file_kind.REMEDY.format(kind=kind))
    if kind is None or kind not in kinds:
        raise PictureError("not_a_picture", "not a picture of a known type")
    with _reasons(kind):
        image = None if kind == "PNG" else _opened(kind, data)
        width, height = image.size if image else png_chunks.size(data)
        if width * height > max_pixels:
            raise PictureError(
                "too_many_pixels",
                f"the picture has {width} × {height} pixels, more than {max_pixels / 1e6:g} million: make it smaller, "
                f"or raise {setting}",
            )
        if image is None:
            png = png_chunks.read(data)
            plain = png.sound and png.depth == 8 and png.colour in (0, 2) and not png.transparent
            return Header(kind, width, height, exif.of_file(kind, data), plain, png)
        jpeg = jpeg_markers.read(data) if kind == "JPEG" else None
        if jpeg and jpeg.scans > jpeg_markers.MAX_SCANS:
            most = jpeg_markers.MAX_SCANS
            raise PictureError("too_many_scans", f"the JPEG has more than {most} scans: save it as an ordinary JPEG")
        # Of an AVIF, Pillow gives as EXIF what the format itself says, which goes before its EXIF.
        turn = exif.orientation(image.info.get("exif")) if kind == "AVIF" else exif.of_file(kind, data)
        return Header(kind, width, height, turn, bool(jpeg and jpeg.whole and image.mode in ("L", "RGB")))


def decode(data: bytes, found: Header) -> Decoded:
    """Decode a picture that `header` was given.

    Raises:
        PictureError: `damaged`, or of a colour form without a certain meaning.
    """
    with _reasons(found.kind):
        image, plain = _loaded(data, found)
        pixels, note = rgb.of(image)
        if note is None and found.png and found.png.depth == 16:
            note = "16-bit colour to RGB"
        return Decoded(pixels, (note,) if note else (), plain and found.plain)


def _loaded(data: bytes, found: Header) -> tuple[Image.Image, bool]:
    """The picture with its pixels, and whether the file was read as it is: a PNG may be read without its notes."""
    if found.png is None:
        image = _opened(found.kind, data)
        image.info.pop("xmp", None)  # Pillow would turn a TIFF by it
        image.load()
        return image, True
    if found.png.sound:
        with contextlib.suppress(Exception):
            image = _opened("PNG", data)
            image.load()
            return image, True
    image = _opened("PNG", found.png.essential())
    image.load()
    return image, False


def _opened(kind: str, data: bytes) -> ImageFile.ImageFile:
    if kind == "HEIC":
        from pillow_heif import HeifImageFile  # not in SageMaker's container, which does not come here

        return HeifImageFile(io.BytesIO(data))  # turned upright by what the format itself says
    return _OPENERS[kind](io.BytesIO(data))


@contextlib.contextmanager
def _reasons(kind: str) -> Iterator[None]:
    """Whatever a decoder raises on bytes that a stranger made is a reason, since there is no end to its exceptions."""
    try:
        yield
    except PictureError:
        raise
    except Exception as error:
        raise damaged(kind) from error
