"""handler.uploaded_image: what strangers send is checked, bounded, and shown to the model as a person sees it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from plantdoc.serving.handler import uploaded_image
from plantdoc.serving.handler.refusal import Refused

MANY = 50_000_000


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    draw = np.random.default_rng([width, height])
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)


def refused(data: bytes, max_pixels: int = MANY) -> Refused:
    with pytest.raises(Refused) as caught:
        uploaded_image.read(data, max_pixels)
    return caught.value


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, with next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_and_png_go_to_the_model_as_they_are(kind, mode):
    data = encoded(noise(60, 40, mode), kind)
    assert uploaded_image.read(data, MANY) == uploaded_image.UploadedImage(data, 1, 60, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_picture_as_displayed(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = encoded(noise(60, 40), "JPEG", exif=tags)
    read = uploaded_image.read(data, MANY)
    assert (read.orientation, read.data) == (orientation, data)
    assert (read.width, read.height) == ((40, 60) if orientation >= 5 else (60, 40))


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (noise(60, 40, "CMYK"), "JPEG", {"quality": 90}),
        (noise(60, 40), "WEBP", {"lossless": True}),
        (noise(60, 40), "WEBP", {"quality": 60}),
        (noise(60, 40, "RGBA"), "WEBP", {"lossless": True}),
    ],
)
def test_what_the_model_would_see_differently_is_converted_without_loss(image, kind, options):
    data = encoded(image, kind, **options)
    read = uploaded_image.read(data, MANY)
    seen = Image.open(io.BytesIO(read.data))
    assert seen.format == "PNG"
    np.testing.assert_array_equal(np.asarray(seen), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_model_decodes_every_kind_of_png_that_is_let_through(mode, tf):
    from plantdoc.serving import served_model

    data = encoded(noise(40, 30, "L" if mode == "I;16" else "RGB").convert(mode), "PNG")
    assert served_model.decode(uploaded_image.read(data, MANY).data).shape == (30, 40, 3)


def test_a_phones_second_picture_is_no_hindrance():
    data = encoded(noise(60, 40), "MPO", save_all=True, append_images=[noise(30, 20)])
    assert uploaded_image.read(data, MANY).width == 60


@pytest.mark.parametrize("data", [b"", b"no picture", b"%PDF-1.7 and more", b"\x00" * 5000, b"<svg/>"])
def test_what_is_no_picture_is_refused(data):
    assert (refused(data).status, refused(data).code) == (415, "not_a_picture")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_kinds_of_pictures_are_refused(kind):
    assert refused(encoded(noise(60, 40), kind)).status == 415


@pytest.mark.parametrize("size", [(1, 1), (15, 900), (900, 15)])
def test_a_picture_that_is_too_small_is_refused(size):
    error = refused(encoded(noise(*size), "PNG"))
    assert (error.status, error.code) == (422, "too_small") and f"{size[0]} × {size[1]}" in error.message


@pytest.mark.parametrize("size", [(20_000, 20_000), (100_000, 100_000), (8000, 6251)])
def test_a_bomb_is_refused_by_its_header(size):
    error = refused(png_header(*size))
    assert (error.status, error.code) == (413, "too_many_pixels") and "50 million" in error.message


def test_the_limit_is_the_callers():
    data = encoded(noise(60, 40), "JPEG")
    assert refused(data, 2399).status == 413
    assert uploaded_image.read(data, 2400).pixels == 2400


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_cut_short_is_refused_here_or_by_the_model(kind, tf):
    from plantdoc.serving import served_model

    data = encoded(noise(90, 70), kind)
    for end in range(20, len(data) - 12, 500):
        try:
            read = uploaded_image.read(data[:end], MANY)
        except Refused as error:
            assert error.status in (415, 422)
        else:
            with pytest.raises(tf.errors.InvalidArgumentError):
                served_model.decode(read.data)
            assert uploaded_image.undecodable(read).status == 422


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until it has about so many."""
    data = encoded(Image.new("L", (64, 64), 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def test_a_jpeg_of_thousands_of_passes_is_refused():
    assert Image.open(io.BytesIO(progressive(200))).load()
    assert (refused(progressive(200)).status, refused(progressive(200)).code) == (422, "too_many_scans")
    assert uploaded_image.read(progressive(50), MANY).width == 64


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_what_looks_like_a_pass_is_none(options):
    thumbnail = b"\xff\xda" * 300  # in a comment, and behind the end
    data = encoded(noise(300, 200), "JPEG", quality=95, comment=thumbnail, **options)
    assert uploaded_image.read(data + b"\xff\xda\x00\x02" * 500, MANY).width == 300


def test_notes_that_cannot_be_read_turn_nothing():
    data = encoded(noise(60, 40), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff rubbish")
    assert uploaded_image.read(data, MANY).orientation == 1
