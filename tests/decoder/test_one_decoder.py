"""What fetch stores is what the served model sees, from the same file, or both refuse it with the same reason."""

from __future__ import annotations

import asyncio
import itertools
import struct
from pathlib import Path

import numpy as np
import odd_pictures
import pytest

from plantdoc.core import params
from plantdoc.decoder import file_kind, picture_decoder
from plantdoc.fetch import decode
from plantdoc.registry.bundles import Bundle
from plantdoc.server.limits import Limits
from plantdoc.server.local_backend import Local
from plantdoc.serving.handler import uploaded_image
from plantdoc.serving.handler.refusal import Refused
from plantdoc.serving.handler.request import Options
from plantdoc.serving.handler.uploaded_image import UploadedImage

MANY = 1_000_000
READABLE, UNREADABLE = odd_pictures.readable(), odd_pictures.unreadable()
PHONES = [name for name, data in READABLE.items() if file_kind.of(data) in file_kind.PHONES]
MUTATIONS = 300


def fetched(data: bytes) -> np.ndarray | str:
    """Upright pixels that fetch takes from a file, or the reason's code."""
    try:
        decoded = decode.decode(data, MANY)
    except decode.PictureError as error:
        return error.code
    decode.to_stored_form(decoded, data)
    return np.asarray(decoded.image)


@pytest.fixture(scope="module")
def served(tf):
    """The same of what the model is given: its own decoding and turning."""
    from plantdoc.serving import served_model

    def pixels(data: bytes, more: tuple[str, ...] = file_kind.PHONES) -> np.ndarray | str:
        try:
            given = uploaded_image.read(data, MANY, more)
        except Refused as refused:
            return refused.code
        return of_model(given)

    def of_model(given: UploadedImage) -> np.ndarray | str:
        try:
            shown = served_model.turn(served_model.decode(tf.constant(given.data)), tf.constant(given.orientation))
        except tf.errors.InvalidArgumentError:
            return uploaded_image.undecodable(given).code
        assert shown.shape == (given.height, given.width, 3)
        return shown.numpy()

    pixels.of_model = of_model
    return pixels


def same(one: np.ndarray | str, other: np.ndarray | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and one == other
    return one.shape == other.shape and bool((one == other).all())


@pytest.mark.parametrize("name", READABLE)
def test_the_same_pixels(served, name):
    pixels = fetched(READABLE[name])
    assert isinstance(pixels, np.ndarray), pixels
    assert same(pixels, served(READABLE[name]))


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_same_reason(served, name):
    data, code = UNREADABLE[name]
    assert fetched(data) == code
    assert served(data) == code


def test_the_local_server_gives_the_model_these_pixels(served):
    given: list[UploadedImage] = []

    class Model:
        def ask(self, images):
            given.extend(images)
            return [{"boxes": [], "scores": [], "class_ids": [], "class_names": []}] * len(images)

    async def main() -> list[dict]:
        about = {"threshold": 0.5, "max_pixels": MANY}
        service = Local(Bundle(Path(), "bundle-1", ["leaf"], about, "x"), Model(), Limits(), wait=0)
        await service.start()
        try:
            return [await service.predict("image/jpeg", data, Options()) for data in READABLE.values()]
        finally:
            await service.stop()

    answers = asyncio.run(main())
    for (name, data), image, answer in zip(READABLE.items(), given, answers, strict=True):
        pixels = fetched(data)
        assert same(pixels, served.of_model(image)), name
        assert pixels.shape == (answer["height"], answer["width"], 3), name


def test_of_mutated_files_too(served):
    """100,000 gave no difference: raise MUTATIONS to repeat it."""
    outcomes = []
    for number, data in enumerate(odd_pictures.mutations(MUTATIONS)):
        one, other = fetched(data), served(data)
        elsewhere = {"too_small", "not_a_picture"}  # of uploads alone
        assert same(one, other) or (isinstance(other, str) and other in elsewhere), f"mutation {number}"
        outcomes.append(one if isinstance(one, str) else "pixels")
    assert {"pixels", "damaged"} <= set(outcomes) <= {"pixels", "damaged", "not_a_picture", "too_many_pixels"}


def test_what_cannot_be_decoded_by_tensorflow_is_not_kept_as_it_is(served):
    for name, data in READABLE.items():
        decoded = decode.decode(data, MANY)
        kept, kind = decode.to_stored_form(decoded, data)
        again = decode.decode(kept, MANY)
        assert again.plain and again.format == kind, name
        assert (kept == data) == decoded.plain, name
        assert same(np.asarray(again.image), served(kept)), name
        assert decoded.plain or decoded.repairs, name


@pytest.mark.parametrize(
    "name",
    ["JPEG", "progressive JPEG", "JPEG of fifty scans", "MPO", "PNG", "APNG", "orientation in XMP alone"],
)
def test_ordinary_files_stay_as_they_are(name):
    data = READABLE[name]
    assert decode.decode(data, MANY).plain == (name != "JPEG of fifty scans")  # which is grey
    assert uploaded_image.read(data, MANY).data == data


@pytest.mark.parametrize("name", PHONES)
def test_the_container_refuses_what_phones_make_and_says_what_to_do(name):
    with pytest.raises(Refused) as refused:
        uploaded_image.read(READABLE[name], MANY)
    error = refused.value
    assert (error.status, error.code) == (415, "not_read_here")
    assert error.message.startswith(name[:4]) and "Most Compatible" in error.message and "JPEG" in error.message


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_is_turned_by_its_own_tag_and_not_by_xmp(orientation):
    notes = {700: odd_pictures.XMP.partition(b"\0")[2]} | ({} if orientation == 1 else {0x0112: orientation})
    data = odd_pictures.encoded(odd_pictures.image(), "TIFF", tiffinfo=notes)
    decoded = decode.decode(data, MANY)
    assert decoded.image.size == decoded.stored_size == ((96, 64) if orientation == 1 else (64, 96))


def test_transparent_pixels_are_white():
    for name in ("RGBA PNG", "grey PNG with alpha", "WebP with alpha", "16-bit grey PNG with a transparent level"):
        pixels = fetched(READABLE[name])
        assert (pixels[40:, 1] == 255).all(), name
    assert (fetched(READABLE["HEIC with alpha"])[50, 10] > 250).all()


def test_of_16_bits_the_upper_ones_count():
    assert fetched(READABLE["16-bit grey PNG"])[0, :, 0].tolist() == [(i * 65536 // 20) >> 8 for i in range(20)]
    assert fetched(READABLE["16-bit grey PNG of low levels"])[0, :, 0].tolist() == [i * 200 // 20 for i in range(20)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_tags_of_any_type_turn_nothing_and_break_nothing(order):
    jpeg, values = READABLE["JPEG"], (bytes(4), b"72dp", struct.pack(f"{order}I", 38), b"\xff" * 4)
    names = (0x0100, 0x010E, 0x010F, 0x011A, 0x0128, 0x0132, 0x0211, 0x8298, 0x8769, 0x8825, 0xA005)
    for name, kind, count in itertools.product(names, range(14), (0, 1, 5, 2**31)):
        for value in values:
            entries = sorted([(name, kind, count, value), odd_pictures.turned_by(order)], key=lambda each: each[0])
            found = picture_decoder.header(
                odd_pictures.with_app1(jpeg, odd_pictures.tags(order, *entries)), MANY, "fetch.max_pixels"
            )
            assert found.orientation == 6 and found.plain


@pytest.mark.parametrize(("kind", "expected"), [("B", 6), ("H", 6), ("I", 6)])
def test_the_orientation_may_be_a_whole_number_of_any_type(kind, expected):
    block = odd_pictures.tags("<", odd_pictures.turned_by("<", 6, kind))
    decoded = decode.decode(odd_pictures.with_app1(READABLE["JPEG"], block), MANY)
    assert (decoded.orientation, decoded.image.size, decoded.stored_size) == (expected, (64, 96), (96, 64))


def test_a_50_megapixel_phone_is_within_the_limit_and_more_is_a_setting(root):
    data = odd_pictures.encoded(odd_pictures.Image.new("L", (8160, 6144)), quality=20)
    settings = params.read(root / "params.yaml")
    for section in ("fetch", "deploy"):
        limit = settings[section]["max_pixels"]
        assert picture_decoder.header(data, limit, f"{section}.max_pixels").width == 8160
        with pytest.raises(picture_decoder.PictureError, match=rf"8160 × 6144 pixels.*raise {section}\.max_pixels"):
            picture_decoder.header(data, 50_000_000, f"{section}.max_pixels")
