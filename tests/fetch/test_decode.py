"""Pictures of every kind become upright 8-bit RGB."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import source_folders
from PIL import Image

from plantdoc.fetch import decode

UPRIGHT = source_folders.image("upright")
# How a picture must lie in the file so that EXIF orientation 1..8 turns it upright.
AS_STORED = {
    1: UPRIGHT,
    2: UPRIGHT.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: UPRIGHT.transpose(Image.Transpose.ROTATE_180),
    4: UPRIGHT.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: UPRIGHT.transpose(Image.Transpose.TRANSPOSE),
    6: UPRIGHT.transpose(Image.Transpose.ROTATE_90),
    7: UPRIGHT.transpose(Image.Transpose.TRANSVERSE),
    8: UPRIGHT.transpose(Image.Transpose.ROTATE_270),
}


def with_orientation(orientation: int, kind: str = "JPEG", **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return source_folders.encoded(AS_STORED[orientation], kind, exif=exif, **options)


def reread(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def mean_difference(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.mark.parametrize(
    "data",
    [
        source_folders.encoded(UPRIGHT, quality=80),
        source_folders.encoded(UPRIGHT, progressive=True),
        source_folders.encoded(UPRIGHT, subsampling=2),
        with_orientation(1),
        source_folders.encoded(UPRIGHT, "PNG"),
    ],
    ids=["baseline", "progressive", "4:2:0", "orientation 1", "png"],
)
def test_a_plain_picture_keeps_its_bytes(data):
    decoded = decode.decode(data, 10**6)
    assert decoded.repairs == ()
    assert decode.to_stored_form(decoded, data)[0] == data


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied_once(orientation, kind):
    data = with_orientation(orientation, kind)
    decoded = decode.decode(data, 10**6)
    kept = reread(decode.to_stored_form(decoded, data)[0])
    assert mean_difference(kept, UPRIGHT) < 6
    assert kept.getexif().get(0x0112, 1) == 1
    assert (decoded.orientation, decoded.stored_size) == (orientation, AS_STORED[orientation].size)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_makes_no_sense_is_ignored(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = source_folders.encoded(UPRIGHT, exif=exif)
    assert decode.to_stored_form(decode.decode(data, 10**6), data)[0] == data


def test_other_colour_forms_become_rgb():
    grey = UPRIGHT.convert("L")
    deep = Image.fromarray(np.asarray(grey, dtype=np.uint16) * 257)
    half = UPRIGHT.convert("RGBA")
    half.putalpha(128)
    over_white = Image.blend(Image.new("RGB", UPRIGHT.size, "white"), UPRIGHT, 128 / 255)
    cases = {
        "grey": (source_folders.encoded(grey), grey.convert("RGB"), 2),
        "cmyk": (source_folders.encoded(UPRIGHT.convert("CMYK"), quality=95), UPRIGHT, 5),
        "palette": (source_folders.encoded(UPRIGHT.quantize(256), "PNG"), UPRIGHT, 12),
        "gif": (source_folders.encoded(UPRIGHT.quantize(256), "GIF"), UPRIGHT, 12),
        "alpha": (source_folders.encoded(half, "PNG"), over_white, 2),
        "16 bit": (source_folders.encoded(deep, "PNG"), grey.convert("RGB"), 2),
        "webp": (source_folders.encoded(UPRIGHT, "WEBP", lossless=True), UPRIGHT, 2),
        "bmp": (source_folders.encoded(UPRIGHT, "BMP"), UPRIGHT, 2),
        "tiff": (source_folders.encoded(UPRIGHT, "TIFF"), UPRIGHT, 2),
    }
    for name, (data, expected, tolerance) in cases.items():
        decoded = decode.decode(data, 10**6)
        data_kept, kind = decode.to_stored_form(decoded, data)
        kept = reread(data_kept)
        assert (kept.mode, kept.format, kind) == ("RGB", "JPEG", "JPEG"), name
        assert mean_difference(kept, expected) < tolerance, name
        assert decoded.repairs, name


def png(width: int, height: int, depth: int, pixels: bytes) -> bytes:
    """An RGB PNG written by hand, for what Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def test_16_bit_colour_is_stored_with_8_bits():
    decoded = decode.decode(png(1, 1, 16, b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0)), 10**6)
    assert not decoded.plain and decoded.repairs == ("16-bit colour to RGB",)
    assert decoded.image.getpixel((0, 0)) == (255, 128, 0)


def test_a_transparent_colour_in_an_rgb_png_becomes_white():
    black = Image.new("RGB", (4, 4))
    black.putpixel((0, 0), (255, 0, 0))
    decoded = decode.decode(source_folders.encoded(black, "PNG", transparency=(0, 0, 0)), 10**6)
    assert not decoded.plain
    assert [decoded.image.getpixel((i, 0)) for i in (0, 1)] == [(255, 0, 0), (255, 255, 255)]


def test_of_a_jpeg_with_more_pictures_behind_it_the_first_counts():
    data = source_folders.encoded(UPRIGHT, "MPO", save_all=True, append_images=[source_folders.image("second")])
    decoded = decode.decode(data, 10**6)
    assert decode.to_stored_form(decoded, data) == (data, "JPEG")
    assert mean_difference(decoded.image, UPRIGHT) < 6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture at all",
        source_folders.encoded(UPRIGHT)[:-400],
        source_folders.encoded(UPRIGHT, "PNG")[:-400],
        source_folders.encoded(UPRIGHT)[:20],
    ],
    ids=["empty", "text", "jpeg cut short", "png cut short", "header only"],
)
def test_damage_is_told(data):
    with pytest.raises(decode.PictureError):
        decode.decode(data, 10**6)


def test_a_huge_picture_is_not_decoded():
    # Decoding would fail on the missing rows, with another message.
    with pytest.raises(decode.PictureError, match="50000 × 50000 pixels"):
        decode.decode(png(50_000, 50_000, 8, b""), 50_000_000)


def test_names_say_what_the_content_is():
    assert decode.right_name("a%20b&c.JPG", "JPEG") == "a%20b&c.JPG"
    assert decode.right_name("x.png.jpg", "JPEG") == "x.png.jpg"
    assert decode.right_name("x.jpg", "PNG") == "x.png"
    assert decode.right_name("v1.2", "JPEG") == "v1.2.jpg"
    assert decode.right_name("plain", "PNG") == "plain.png"
