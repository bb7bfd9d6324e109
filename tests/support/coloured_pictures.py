"""Pictures of coloured shapes: where a shape is after a transform can be read from the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from plantdoc.augment import augment_params
from plantdoc.coco import dataset
from plantdoc.core import params

COLOURS = ((230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 20), (230, 20, 230), (20, 230, 230))
BACKGROUND = (60, 60, 60)


def picture(width: int, height: int, shapes: dict[int, tuple[float, float, float, float]], kind: str) -> Image.Image:
    """Shapes by index of their colour, each filling its xyxy box; `kind` is "ellipse" or "rectangle"."""
    image = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for colour, (x1, y1, x2, y2) in shapes.items():
        getattr(draw, kind)((x1, y1, x2 - 1, y2 - 1), fill=COLOURS[colour])
    return image


def found(image: Image.Image | np.ndarray, colour: int) -> np.ndarray | None:
    """The xyxy box around all pixels nearer to a colour than to the ground; None where there are none."""
    away = np.linalg.norm(np.asarray(image, np.float32) - COLOURS[colour], axis=-1)
    rows, columns = np.nonzero(away < np.linalg.norm(np.subtract(COLOURS[colour], BACKGROUND)) / 2)
    if not len(rows):
        return None
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)


def shapes(random: np.random.Generator, width: int, height: int, colours: list[int]) -> dict[int, tuple]:
    """One shape for each colour, side by side, of random size and height."""
    step, placed = width / len(colours), {}
    for i, colour in enumerate(colours):
        w, h = random.integers(step * 0.4, step * 0.8), random.integers(height * 0.2, height * 0.6)
        x, y = round(i * step + random.uniform(0, step - w)), random.integers(0, height - h)
        placed[colour] = (x, int(y), x + int(w), int(y + h))
    return placed


def data_set(folder: Path, count: int, val: int = 0, *, size: tuple[int, int] = (200, 150), kind="rectangle") -> None:
    """Write train and val pictures of one shape each under `folder`; every seventh has no box."""
    random = np.random.default_rng(0)
    for split, number in (("train", count), ("val", val)):
        (folder / split).mkdir(parents=True)
        pictures = []
        for i in range(number):
            placed = shapes(random, *size, [i % 6]) if i % 7 < 6 else {}
            picture(*size, placed, kind).save(folder / split / f"leaf {i:04}.jpg", quality=95, subsampling=0)
            boxes = tuple(dataset.Box((x1, y1, x2 - x1, y2 - y1), c) for c, (x1, y1, x2, y2) in placed.items())
            pictures.append(dataset.Picture(i + 1, f"leaf {i:04}.jpg", *size, boxes))
        dataset.save(dataset.Split(tuple(f"colour {i}" for i in range(6)), tuple(pictures)), folder / split)


def settings(root: Path, **changes: float) -> augment_params.Augment:
    """The repository's settings of the augment stage, with colours left alone and these changes."""
    plain = {"brightness": 0.0, "saturation": 0.0, "hue": 0.0, "size": 128}
    return params.load(augment_params.Params, root / "params.yaml").augment.model_copy(update=plain | changes)
