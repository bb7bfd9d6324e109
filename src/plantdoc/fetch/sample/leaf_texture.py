"""The look of a drawn leaf: colour, relief of the veins, light on its surface, and what a disease does to it.

Pixels are made with sums, products and Pillow's whole numbers alone, which are the same on every processor.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from plantdoc.fetch.sample import leaf_shape

SUPERSAMPLING = 2  # leaves are painted this much larger than they end up, for smooth edges
LESION_SIZE = 1.0  # all lesions' size; smaller ones are harder to tell apart at 256 px
DULL = 0.08  # share of leaves, healthy or not, that have turned yellowish

# Mean blade colours, close to each other: shape shall tell the species, not colour.
_GREENS = {"Apple": (82, 130, 52), "Grape": (100, 140, 56), "Peach": (80, 128, 66), "Potato": (74, 120, 56)}
_YELLOW = (176, 164, 66)


def noise(rng: np.random.Generator, size: tuple[int, int], cells: float) -> Image.Image:
    """Smooth noise (mode L) of about `cells` bumps along the longer side."""
    step = max(size) / cells
    grid = rng.integers(0, 256, (max(2, round(size[1] / step)), max(2, round(size[0] / step))), dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def leaf_patch(rng: np.random.Generator, species: str, disease: str, length: float) -> tuple[Image.Image, Image.Image]:
    """A leaf whose longer extent is `length` px: its colours (RGB) and its coverage (L), of equal size."""
    shape = leaf_shape.shape_of(species, rng)
    frame = leaf_shape.frame_of(shape, rng, length * SUPERSAMPLING, margin=2 * SUPERSAMPLING)
    blade = Image.new("L", frame.size)
    pen = ImageDraw.Draw(blade)
    for outline in shape.blades:
        pen.polygon(frame.pixels(outline), fill=255)
    whole = blade.copy()
    _line(ImageDraw.Draw(whole), frame, shape.stalk, 0.022, 255)

    colours = _surface(rng, species, shape, frame)
    if disease != "healthy":
        DISEASES[disease](rng, colours, blade, frame)
    rim = Image.new("L", frame.size)
    for outline in shape.blades:
        _line(ImageDraw.Draw(rim), frame, outline[np.r_[: len(outline), 0]], 0.016, 255)
    colours.paste(ImageChops.multiply(colours, Image.new("RGB", frame.size, (176, 180, 170))), mask=rim)
    stalk = Image.new("RGB", frame.size, (126, 140, 78))
    stalk.paste(colours, mask=blade)
    return stalk.reduce(SUPERSAMPLING), whole.reduce(SUPERSAMPLING)


def _surface(rng: np.random.Generator, species: str, shape: leaf_shape.Shape, frame: leaf_shape.Frame) -> Image.Image:
    """The blade of a healthy leaf, painted over its whole patch."""
    base = np.array(_GREENS[species], np.float32) + (rng.random(3).astype(np.float32) - 0.5) * 20
    if rng.random() < DULL:
        base = base + (np.array(_YELLOW, np.float32) - base) * np.float32(0.3 + 0.4 * rng.random())
    base = base * np.float32(0.85 + 0.35 * rng.random())

    # Relief: one half of each blade turns away from the light, and the blade bulges between its veins.
    relief = Image.new("L", frame.size, 136)
    pen = ImageDraw.Draw(relief)
    for outline in shape.shaded:
        pen.polygon(frame.pixels(outline), fill=112)
    shift = np.array([0.012, -0.014])
    for points, width in shape.veins:
        _line(pen, frame, points + shift, width * 2.2, 96)
    relief = relief.filter(ImageFilter.BoxBlur(max(1, round(frame.length * 0.008))))
    pen = ImageDraw.Draw(relief)
    for points, width in shape.veins[::-1]:
        _line(pen, frame, points, width, 158 if width > 0.01 else 146)

    mottle = Image.blend(noise(rng, frame.size, 7), noise(rng, frame.size, 28), 0.35)
    tone = np.asarray(relief, np.float32) / 128 * (0.82 + np.asarray(mottle, np.float32) * np.float32(0.36 / 255))
    pixels = base * tone[..., None]
    shine = np.clip(np.asarray(noise(rng, frame.size, 3), np.float32) - 165, 0, None) * np.float32(0.35 * rng.random())
    pixels += shine[..., None]
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def _line(pen: ImageDraw.ImageDraw, frame: leaf_shape.Frame, points: np.ndarray, width: float, fill: int) -> None:
    pen.line(frame.pixels(points), fill=fill, width=max(1, round(width * frame.length)), joint="curve")


def _spread(rng: np.random.Generator, blade: Image.Image, few: int, many: int) -> list[tuple[float, float]]:
    """Points (px) all over the blade: `few` to `many` where it fills half of its patch, fewer on a narrow one.

    Each is the one of three random points that lies farthest from those before it (Mitchell's best candidate), so that
    a leaf half hidden still shows what ails it.
    """
    ys, xs = np.nonzero(np.asarray(blade))
    full = 0.5 * max(blade.size) * min(max(blade.size), 1.25 * min(blade.size))
    count = max(3, round(int(rng.integers(few, many)) * len(xs) / full))
    tries = rng.integers(0, len(xs), (count, 3))
    chosen = [tries[0, 0]]
    for candidates in tries[1:]:
        away = (xs[candidates, None] - xs[chosen]) ** 2 + (ys[candidates, None] - ys[chosen]) ** 2
        chosen.append(candidates[away.min(axis=1).argmax()])
    return [(float(xs[i]), float(ys[i])) for i in chosen]


def blob(rng: np.random.Generator, at: tuple[float, float], radius: float, corners: int, rough: float) -> list:
    """An irregular closed outline around `at`; few corners make it angular."""
    turn = 2 * np.pi * (np.arange(corners) + rng.random(corners) * 0.6) / corners
    reach = radius * (1 - rough + 2 * rough * rng.random(corners))
    points = np.stack([at[0] + reach * np.cos(turn), at[1] + reach * np.sin(turn)], axis=1)
    return [tuple(point) for point in (np.round(points * 16) / 16).tolist()]


def _rust(rng: np.random.Generator, colours: Image.Image, blade: Image.Image, frame: leaf_shape.Frame) -> None:
    """Many small orange spots, yellow around, dark inside."""
    extent = max(frame.size)
    places = _spread(rng, blade, 16, 34)
    spots = [(at, extent * LESION_SIZE * (0.016 + 0.016 * rng.random())) for at in places]
    halo = Image.new("L", frame.size)
    pen = ImageDraw.Draw(halo)
    for (x, y), r in spots:
        pen.ellipse((round(x - 1.9 * r), round(y - 1.9 * r), round(x + 1.9 * r), round(y + 1.9 * r)), fill=190)
    halo = halo.filter(ImageFilter.BoxBlur(max(1, round(extent * 0.008))))
    colours.paste((206, 190, 70), mask=halo)
    pen = ImageDraw.Draw(colours)
    for at, r in spots:
        pen.polygon(blob(rng, at, r, 10, 0.18), fill=(206 + int(rng.integers(30)), 104 + int(rng.integers(24)), 22))
        pen.polygon(blob(rng, at, r * 0.4, 7, 0.2), fill=(128, 54, 18))


def _blight(rng: np.random.Generator, colours: Image.Image, blade: Image.Image, frame: leaf_shape.Frame) -> None:
    """A few large brown patches with corners, rings inside and a pale rim."""
    extent = max(frame.size)
    halo, patch, rings = (Image.new("L", frame.size) for _ in range(3))
    for at in _spread(rng, blade, 6, 11):
        r = extent * LESION_SIZE * (0.055 + 0.065 * rng.random())
        outline = np.array(blob(rng, at, r, 9, 0.22))
        for image, grow, fill in ((halo, 1.35, 200), (patch, 1.0, 255), (rings, 0.75, 255), (rings, 0.55, 0)):
            points = np.round((at + (outline - at) * grow) * 16) / 16
            ImageDraw.Draw(image).polygon([tuple(p) for p in points.tolist()], fill=fill)
        points = np.round((at + (outline - at) * 0.32) * 16) / 16
        ImageDraw.Draw(rings).polygon([tuple(p) for p in points.tolist()], fill=255)
    colours.paste((190, 180, 84), mask=halo.filter(ImageFilter.BoxBlur(max(1, round(extent * 0.012)))))
    brown = np.array((112, 76, 44), np.float32)
    tone = 0.75 + np.asarray(noise(rng, frame.size, 24), np.float32) * np.float32(0.5 / 255)
    colours.paste(
        Image.fromarray((brown * tone[..., None]).astype(np.uint8)), mask=patch.filter(ImageFilter.BoxBlur(1))
    )
    colours.paste((66, 42, 26), mask=rings.filter(ImageFilter.BoxBlur(1)).point([v * 150 // 255 for v in range(256)]))


def _mildew(rng: np.random.Generator, colours: Image.Image, blade: Image.Image, frame: leaf_shape.Frame) -> None:
    """White powder in soft patches."""
    extent = max(frame.size)
    powder = Image.new("L", frame.size)
    pen = ImageDraw.Draw(powder)
    for at in _spread(rng, blade, 9, 16):
        r = extent * LESION_SIZE * (0.04 + 0.06 * rng.random())
        pen.polygon(blob(rng, at, r, 12, 0.3), fill=int(rng.integers(170, 256)))
    powder = powder.filter(ImageFilter.BoxBlur(max(1, round(extent * 0.014))))
    grain = np.asarray(noise(rng, frame.size, 60), np.float32) * np.float32(0.7 / 255) + np.float32(0.55)
    cover = np.clip(np.asarray(powder, np.float32) * grain, 0, 235).astype(np.uint8)
    colours.paste((226, 228, 220), mask=Image.fromarray(cover))


# Each paints over `colours` (RGB), of which only what `blade` (L) covers will be seen.
DISEASES: dict[str, Callable[[np.random.Generator, Image.Image, Image.Image, leaf_shape.Frame], None]] = {
    "rust": _rust,
    "blight": _blight,
    "mildew": _mildew,
}
