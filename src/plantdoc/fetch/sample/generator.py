"""The sample: leaf pictures drawn by the project, so that the pipeline runs without a network or an account.

Eight classes, species × disease. Shape tells the species, texture the disease: both must be right, as must the place,
for a detector to score. Drawn, not photographed: it shows that the pipeline works, not how well plants are diagnosed.

Every picture follows from (seed, split, index) alone, so a larger sample starts with the pictures of a smaller one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from plantdoc.coco import dataset
from plantdoc.fetch.sample import leaf_texture, scene

KINDS = (
    ("Apple", "healthy", "Apple leaf"),
    ("Apple", "rust", "Apple rust leaf"),
    ("Grape", "healthy", "Grape leaf"),
    ("Grape", "mildew", "Grape mildew leaf"),
    ("Peach", "healthy", "Peach leaf"),
    ("Peach", "rust", "Peach rust leaf"),
    ("Potato", "healthy", "Potato leaf"),
    ("Potato", "blight", "Potato blight leaf"),
)
CLASSES = tuple(name for _, _, name in KINDS)

# How hard it is; scene.py (light, clutter) and paint.py (lesions) have more.
SIZES = ((320, 240), (240, 320), (288, 288), (352, 240))  # px
NEGATIVES = 0.04  # share of pictures without a leaf
MAX_LEAVES = 6  # drawn from 1 to this; those that find no place are left out
LEAF_SIZE = (0.36, 0.72)  # a leaf's longer extent as a part of the picture's shorter side: from, to
CROWDED = 0.72  # factor on the upper end when there are MAX_LEAVES, in even steps from 1 for one leaf
ONE_SPECIES = 0.4  # share of pictures whose leaves are all of one species
MIN_VISIBLE = 0.6  # a leaf is put only where so much of it, and of every leaf below it, can be seen
QUALITY = (85, 93)  # JPEG


def write(folder: Path, seed: int, train: int = 320, test: int = 80) -> None:
    """Write `folder`/{train,test} with pictures (JPEG) and annotations.json, 30 ms each; same arguments, same bytes."""
    for split, count in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        pictures = []
        for index in tqdm(range(count), f"drawing {split}", unit="picture"):
            image, boxes, quality = draw(seed, split, index)
            name = f"drawn-{index:05d}.jpg"
            image.save(folder / split / name, quality=quality)
            pictures.append(dataset.Picture(index + 1, name, image.width, image.height, boxes))
        dataset.save(dataset.Split(CLASSES, tuple(pictures)), folder / split)


def draw(seed: int, split: str, index: int) -> tuple[Image.Image, tuple[dataset.Box, ...], int]:
    """Draw one picture; returns it (RGB), the boxes of its leaves in px, and the JPEG quality to save it with."""
    digest = hashlib.sha256(f"{seed}/{split}/{index}".encode()).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    size = SIZES[int(rng.integers(len(SIZES)))]
    image = scene.background(rng, size)
    boxes = _put_leaves(rng, image, 0 if rng.random() < NEGATIVES else int(rng.integers(1, MAX_LEAVES + 1)))
    return scene.illuminate(rng, image), boxes, int(rng.integers(*QUALITY))


def _put_leaves(rng: np.random.Generator, image: Image.Image, count: int) -> tuple[dataset.Box, ...]:
    """Put up to `count` leaves into the picture, later ones over earlier ones; returns their visible bounds."""
    largest = LEAF_SIZE[1] * (1 - (1 - CROWDED) * (count - 1) / (MAX_LEAVES - 1))
    only = KINDS[int(rng.integers(len(KINDS)))][0] if rng.random() < ONE_SPECIES else None
    owner = np.full((image.height, image.width), -1, np.int32)  # which leaf each pixel shows
    areas, categories = [], []
    for _ in range(count):
        category = int(rng.integers(len(KINDS)))
        while only and KINDS[category][0] != only:
            category = int(rng.integers(len(KINDS)))
        length = min(image.size) * (LEAF_SIZE[0] + (largest - LEAF_SIZE[0]) * rng.random())
        colours, cover = leaf_texture.leaf_patch(rng, *KINDS[category][:2], length)
        solid = np.asarray(cover) > 127
        at = _free_corner(rng, owner, solid, areas)
        if at is None:
            continue
        scene.cast_shadow(image, cover, at, reach=max(2, round(length * 0.03)))
        image.paste(colours, at, cover)
        inside, part = _overlap(owner, solid, at)
        inside[part] = len(areas)
        areas.append(int(solid.sum()))
        categories.append(category)
    return tuple(dataset.Box(_bounds(owner == i), category) for i, category in enumerate(categories))


def _free_corner(
    rng: np.random.Generator, owner: np.ndarray, solid: np.ndarray, areas: list[int]
) -> tuple[int, int] | None:
    """Upper left corner where the leaf `solid` hides too little to matter, or None after a dozen tries."""
    height, width = owner.shape
    area = int(solid.sum())
    shown = np.bincount(owner[owner >= 0], minlength=len(areas))
    for _ in range(12):
        x = int(rng.integers(width)) - solid.shape[1] // 2
        y = int(rng.integers(height)) - solid.shape[0] // 2
        inside, part = _overlap(owner, solid, (x, y))
        hidden = np.bincount(inside[part & (inside >= 0)], minlength=len(areas))
        if part.sum() >= MIN_VISIBLE * area and all(shown - hidden >= MIN_VISIBLE * np.array(areas)):
            return x, y
    return None


def _overlap(owner: np.ndarray, solid: np.ndarray, at: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The part of `owner` (a view) that `solid` covers with its corner at `at`, and that part of `solid`."""
    x, y = at
    x0, y0 = max(0, x), max(0, y)
    x1, y1 = min(owner.shape[1], x + solid.shape[1]), min(owner.shape[0], y + solid.shape[0])
    return owner[y0:y1, x0:x1], solid[y0 - y : y1 - y, x0 - x : x1 - x]


def _bounds(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Tight `[x, y, width, height]` of the true pixels."""
    ys, xs = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return float(xs[0]), float(ys[0]), float(xs[-1] - xs[0] + 1), float(ys[-1] - ys[0] + 1)
