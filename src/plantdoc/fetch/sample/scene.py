"""Surroundings of the drawn leaves: ground, clutter that is no leaf, and light."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from plantdoc.fetch.sample import leaf_shape, leaf_texture

CLUTTER = 4  # at most this many stems, stones, fruits or labels in a picture
SHADE = 0.30  # the darkest and the brightest side of a picture differ by up to this, either way from the mean
WARMTH = 0.10  # red against blue, either way
NOISE = 10  # grain of the sensor, grey levels either way at most
BLUR = 0.8  # px, radius at most

Point = tuple[float, float]


def background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A picture (RGB) of `size` without leaves: soil, foliage out of focus or a table, and clutter on it."""
    kind = rng.random()
    paint_ground, pebbles = (
        (_soil, int(rng.integers(8, 30))) if kind < 0.35 else (_foliage if kind < 0.7 else _table, 0)
    )
    scale = leaf_texture.SUPERSAMPLING
    image = paint_ground(rng, size).resize((size[0] * scale, size[1] * scale), Image.Resampling.BILINEAR)
    for _ in range(pebbles):
        _stone(rng, image, 0.03)
    for _ in range(int(rng.integers(0, CLUTTER + 1))):
        (_stem, _stem, _stone, _fruit, _label)[int(rng.integers(5))](rng, image)
    return image.reduce(scale)


def cast_shadow(image: Image.Image, cover: Image.Image, at: tuple[int, int], reach: int) -> None:
    """Darken the ground beside a leaf whose coverage (mode L) goes to `at`."""
    soft = Image.new("L", (cover.width + 4 * reach, cover.height + 4 * reach))
    soft.paste(cover, (2 * reach, 2 * reach))
    soft = soft.filter(ImageFilter.BoxBlur(reach)).point([v * 2 // 5 for v in range(256)])
    image.paste((14, 16, 10), (at[0] - reach, at[1] - reach), soft)


def illuminate(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """The picture under uneven, tinted light, seen through a lens and a sensor that are not perfect."""
    radius = BLUR * rng.random()
    if radius > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(round(radius * 16) / 16))
    width, height = image.size
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(SHADE * (rng.random() - 0.5))
    down = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(SHADE * (rng.random() - 0.5))
    exposure = np.float32(0.80 + 0.4 * rng.random())
    warm = np.float32(WARMTH * (2 * rng.random() - 1))
    tint = np.array([1 + warm, 1, 1 - warm], np.float32) * exposure
    grain = rng.integers(0, 256, (height, width, 1), dtype=np.uint8).astype(np.float32) - np.float32(127.5)
    grain = grain * np.float32(NOISE * rng.random() / 127.5)
    pixels = np.asarray(image, np.float32) * (1 + across[None, :, None] + down[:, None, None]) * tint + grain
    return Image.fromarray(np.clip(pixels + np.float32(0.5), 0, 255).astype(np.uint8))


def _blend(
    rng: np.random.Generator, size: tuple[int, int], dark: npt.ArrayLike, bright: npt.ArrayLike, octaves: tuple
) -> Image.Image:
    """Noise between two colours; `octaves` are bump counts, coarse to fine."""
    field = leaf_texture.noise(rng, size, octaves[0])
    for cells in octaves[1:]:
        field = Image.blend(field, leaf_texture.noise(rng, size, cells), 0.4)
    part = np.asarray(field, np.float32)[..., None] * np.float32(1 / 255)
    low, high = np.array(dark, np.float32), np.array(bright, np.float32)
    return Image.fromarray((low + (high - low) * part).astype(np.uint8))


def _soil(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    tone = 0.7 + 0.6 * rng.random()
    dark, bright = (np.array(c) * tone for c in ((44, 32, 22), (156, 122, 90)))
    return _blend(rng, size, dark, bright, (6, 30, 110))


def _foliage(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    tone = 0.6 + 0.7 * rng.random()
    image = _blend(rng, size, (18 * tone, 34 * tone, 14 * tone), (70 * tone, 104 * tone, 50 * tone), (4, 9))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(10, 22))):
        shape = leaf_shape.shape_of(leaf_shape.SPECIES[int(rng.integers(4))], rng)
        frame = leaf_shape.frame_of(shape, rng, min(size) * (0.2 + 0.4 * rng.random()), margin=0)
        x, y = int(rng.integers(-40, size[0])), int(rng.integers(-40, size[1]))
        green = 0.5 + 0.9 * rng.random()
        fill = tuple(round(v * tone * green) for v in (70, 112, 52))
        for outline in shape.blades:
            pen.polygon([(px + x, py + y) for px, py in frame.pixels(outline)], fill=fill)
    return image.filter(ImageFilter.GaussianBlur(5 + int(rng.integers(5))))


def _table(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    colours = ((214, 212, 206), (186, 190, 196), (196, 172, 138), (150, 116, 84), (120, 126, 130), (228, 226, 224))
    bright = np.array(colours[int(rng.integers(len(colours)))])
    wood = leaf_texture.noise(rng, (size[0], 8), 40).resize(size, Image.Resampling.BICUBIC)
    plain = _blend(rng, size, bright * 0.84, bright, (3, 60))
    grain = Image.composite(plain, Image.eval(plain, lambda v: v * 7 // 8), wood)
    return grain if rng.random() < 0.5 else plain


def _stem(rng: np.random.Generator, image: Image.Image) -> None:
    """A bent stem or twig from edge to edge, lit from one side."""
    width, height = image.size
    ends = [(-10, height * rng.random()), (width + 10, height * rng.random())]
    if rng.random() < 0.5:
        ends = [(width * rng.random(), -10), (width * rng.random(), height + 10)]
    middle = (width * rng.random(), height * rng.random())
    s = np.linspace(0, 1, 24)[:, None]
    points = (1 - s) ** 2 * ends[0] + 2 * s * (1 - s) * middle + s**2 * ends[1]
    thick = max(3, round(min(image.size) * (0.012 + 0.03 * rng.random())))
    colour = np.array(((96, 74, 50), (120, 132, 70), (92, 110, 56), (140, 112, 76))[int(rng.integers(4))])
    pen = ImageDraw.Draw(image)
    for shift, part, shade in ((0.0, 1.0, 0.6), (-0.12, 0.7, 1.0), (-0.22, 0.25, 1.25)):
        line = np.round((points + shift * thick) * 16) / 16
        fill = tuple(int(v) for v in colour * shade)
        pen.line([tuple(p) for p in line.tolist()], fill=fill, width=max(1, round(thick * part)), joint="curve")


def _stone(rng: np.random.Generator, image: Image.Image, scale: float = 0.12) -> None:
    at = np.array([image.width * rng.random(), image.height * rng.random()])
    radius = min(image.size) * scale * (0.3 + 0.7 * rng.random())
    outline = np.array(leaf_texture.blob(rng, (0.0, 0.0), radius, 11, 0.14)) * (1.25, 0.85)
    colour = np.array((118, 112, 104)) * (0.7 + 0.6 * rng.random())
    pen = ImageDraw.Draw(image)
    for shift, grow, shade in ((0.12, 1.05, 0.35), (0.0, 1.0, 0.8), (-0.10, 0.72, 1.0), (-0.2, 0.35, 1.12)):
        points = np.round((at + shift * radius + outline * grow) * 16) / 16
        pen.polygon([tuple(p) for p in points.tolist()], fill=tuple(int(v) for v in colour * shade))


def _fruit(rng: np.random.Generator, image: Image.Image) -> None:
    radius = min(image.size) * (0.05 + 0.08 * rng.random())
    x, y = image.width * rng.random(), image.height * rng.random()
    colour = np.array(((176, 40, 34), (206, 120, 36), (96, 48, 92), (150, 160, 60))[int(rng.integers(4))])
    pen = ImageDraw.Draw(image)
    for k in range(12):
        r, shift, shade = radius * (1 - k / 12), -0.35 * radius * k / 12, 0.6 + 0.7 * k / 12
        box = [round(v) for v in (x + shift - r, y + shift - r, x + shift + r, y + shift + r)]
        pen.ellipse(box, fill=tuple(min(255, int(v)) for v in colour * shade))


def _label(rng: np.random.Generator, image: Image.Image) -> None:
    """A plant label: a pale rectangle with lines of writing."""
    width, height = (round(min(image.size) * v) for v in (0.30 + 0.1 * rng.random(), 0.11 + 0.05 * rng.random()))
    tag = Image.new("RGBA", (width, height), (226, 224, 210, 255))
    pen = ImageDraw.Draw(tag)
    for y in range(height // 4, height - 3, max(4, height // 4)):
        pen.line(
            [(width // 10, y), (width // 10 + int(rng.integers(width // 3, width * 4 // 5)), y)], fill=(90, 90, 96, 255)
        )
    tag = tag.rotate(int(rng.integers(360)), Image.Resampling.BILINEAR, expand=True)
    image.paste(tag.convert("RGB"), (int(rng.integers(image.width)) - width // 2, int(rng.integers(image.height))), tag)
