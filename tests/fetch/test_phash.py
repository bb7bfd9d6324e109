"""The perceptual hash tells the same photograph from another one."""

from __future__ import annotations

import io

import numpy as np
import source_folders
from PIL import Image, ImageDraw

from plantdoc.fetch import phash


def distance(a: Image.Image, b: Image.Image) -> int:
    pairs = phash.close_pairs([phash.of_image(a), phash.of_image(b)], 256)
    return pairs[0][2]


def test_scaling_recompression_and_a_watermark_keep_it_near():
    image = source_folders.image("one", (320, 240))
    marked = image.copy()
    ImageDraw.Draw(marked).text((100, 110), "a stock site's name", fill="white")
    for copy in (
        image.resize((160, 120)),
        Image.open(io.BytesIO(source_folders.encoded(image, quality=40))),
        image.point(lambda level: min(255, level + 12)),
        marked,
    ):
        assert distance(image, copy) <= 40


def test_other_pictures_are_far():
    images = [source_folders.image(i) for i in range(60)]
    assert phash.close_pairs([phash.of_image(image) for image in images], 64) == []


def test_close_pairs_are_those_of_a_plain_loop():
    rng = np.random.default_rng(3)
    hashes = [rng.bytes(32) for _ in range(300)]
    for i in range(0, 300, 3):  # near copies, on both sides of the limit
        bits = np.unpackbits(np.frombuffer(hashes[i], np.uint8))
        bits[rng.choice(256, i // 6, replace=False)] ^= 1
        hashes.append(np.packbits(bits).tobytes())
    whole = [int.from_bytes(h, "big") for h in hashes]
    expected = [
        (i, j, (whole[i] ^ whole[j]).bit_count())
        for i in range(len(whole))
        for j in range(i + 1, len(whole))
        if (whole[i] ^ whole[j]).bit_count() <= 32
    ]
    assert 50 < len(expected) < 100
    assert phash.close_pairs(hashes, 32) == expected


def test_real_near_duplicates_are_found(plantdoc_folder):
    def read(name: str) -> Image.Image:
        return Image.open(plantdoc_folder / "TRAIN" / name)

    one, same, other = read("Early-bligh_t.jpg"), read("Early-blight.jpg"), read("09c.jpg")
    assert distance(one, same) <= 8
    assert distance(one, other) > 80
