"""The geometry of a drawn leaf: outline and veins by species, and where they land in pixels.

A leaf lives in its own plane: its base at (0, 0), its tip at (0, 1), x across. `Frame` takes that plane to pixels and
rounds to 1/16 px: the last bit of a sine differs between processors, the drawing must not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPECIES = ("Apple", "Grape", "Peach", "Potato")

# Polar outline of a grape leaf: degrees from the tip, distance from where the veins meet.
# fmt: off
_GRAPE = (
    (0, 1.0), (13, 0.82), (31, 0.55), (47, 0.80), (61, 0.95), (76, 0.78), (95, 0.56), (112, 0.72), (126, 0.80),
    (142, 0.68), (162, 0.62), (172, 0.46), (180, 0.14),
)
# fmt: on


@dataclass(frozen=True)
class Shape:
    """A leaf in its own plane, all parts as points [N, 2].

    `blades` are closed outlines; `shaded` are the parts of them that turn away from the light; `veins` are open lines,
    each with its width in leaf lengths, the thickest first; `stalk` is an open line that the blades sit on.
    """

    blades: list[np.ndarray]
    shaded: list[np.ndarray]
    veins: list[tuple[np.ndarray, float]]
    stalk: np.ndarray


@dataclass(frozen=True)
class Frame:
    """Position of a leaf's plane in its patch of `size` (width, height) px; `length` px is one leaf length."""

    matrix: tuple[float, float, float, float]
    bend: float
    length: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    size: tuple[int, int] = (0, 0)

    def turn(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 2] of the leaf's plane in px, unrounded."""
        a, b, c, d = self.matrix
        x, y = points[:, 0] + self.bend * points[:, 1] ** 2, points[:, 1]
        return np.stack([a * x + b * y, c * x + d * y], axis=1) * self.length + self.offset

    def pixels(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Points [N, 2] of the leaf's plane as Pillow wants them."""
        return [tuple(point) for point in (np.round(self.turn(points) * 16) / 16).tolist()]


def shape_of(species: str, rng: np.random.Generator) -> Shape:
    """A leaf of the species; no two are alike."""
    if species == "Apple":
        return _simple(0.29 + 0.05 * rng.random(), rise=0.70, lean=0.85, teeth=22, tooth=0.05, pairs=7)
    if species == "Peach":
        return _simple(0.125 + 0.03 * rng.random(), rise=0.85, lean=0.80, teeth=30, tooth=0.03, pairs=11)
    if species == "Grape":
        return _lobed(rng)
    return _compound(rng)


def frame_of(shape: Shape, rng: np.random.Generator, length: float, margin: int) -> Frame:
    """Turn, bend and foreshorten the leaf at random; its longer extent is `length` px, around it `margin` px."""
    angle, narrow, bend = 2 * np.pi * rng.random(), 0.8 + 0.2 * rng.random(), 0.3 * (rng.random() - 0.5)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = Frame((cos * narrow, -sin, sin * narrow, cos), bend)
    points = np.concatenate([turned.turn(part) for part in (*shape.blades, shape.stalk)])
    low, high = points.min(axis=0), points.max(axis=0)
    scale = length / (high - low).max()
    width, height = (int(v) + 2 * margin + 1 for v in np.round((high - low) * scale * 16) / 16)
    return Frame(turned.matrix, bend, scale, tuple(margin - low * scale), (width + width % 2, height + height % 2))


def _simple(half_width: float, rise: float, lean: float, teeth: int, tooth: float, pairs: int) -> Shape:
    """A single blade on a midrib: egg-shaped or lance-shaped, its edge like a saw."""
    t = np.linspace(0, 1, 4 * teeth + 1)
    saw = (t * teeth % 1) * tooth * np.minimum(1, 8 * (1 - t))
    w = half_width * np.sin(np.pi * t**lean) ** rise * (1 + saw) * (1 - 0.25 * t**6)
    right, left = np.stack([w, t], axis=1), np.stack([-w, t], axis=1)
    midrib = np.stack([0 * t, t * 0.97], axis=1)
    veins = [(midrib, 0.016)]
    for k in range(pairs):
        start = 0.06 + 0.80 * k / pairs
        end = min(0.97, start + 0.20 - 0.04 * k / pairs)
        reach = 0.90 * half_width * np.sin(np.pi * end**lean) ** rise
        s = np.linspace(0, 1, 7)
        for side in (-1, 1):
            veins.append((np.stack([side * reach * s, start + (end - start) * s**1.4], axis=1), 0.007))
    stalk = np.array([(0.0, 0.02), (0.01, -0.08), (0.03, -0.16)])
    return Shape([np.concatenate([right, left[::-1]])], [np.concatenate([right, midrib[::-1]])], veins, stalk)


def _lobed(rng: np.random.Generator) -> Shape:
    """A hand-shaped blade with five lobes and coarse teeth."""
    known = np.array(_GRAPE)
    depth = 0.9 + 0.3 * rng.random()
    angles = np.linspace(-180, 180, 181)
    radius = np.interp(np.abs(angles), known[:, 0], 0.7 + depth * (known[:, 1] - 0.7))
    radius = np.maximum(radius, 0.08) * (1 + 0.10 * (np.abs(angles) / 9.5 % 1) * (np.abs(angles) < 160))
    x, y = np.sin(np.radians(angles)), np.cos(np.radians(angles))
    # Taken from the centre of the veins to a plane of length 1: the lobes beside the stalk reach below that centre.
    centre, scale = 0.36, 0.62
    outline = np.stack([x * radius * scale, centre + y * radius * scale], axis=1)
    middle = np.array([[0.0, centre]])
    veins, shaded = [], []
    for lobe, sinus in ((0, 31), (61, 95), (126, 162), (-61, -31), (-126, -95)):
        reach = 0.9 * scale * np.interp(abs(lobe), known[:, 0], known[:, 1])
        direction = np.array([np.sin(np.radians(lobe)), np.cos(np.radians(lobe))])
        across = np.array([direction[1], -direction[0]])
        veins.append((np.concatenate([middle, middle + reach * direction]), 0.014))
        for k in range(1, 5):
            root = middle + reach * direction * (0.15 + 0.17 * k)
            for side in (-1, 1):
                out = reach * (0.34 - 0.05 * k) * (0.7 * direction + 0.75 * side * across)
                veins.append((np.concatenate([root, root + 0.5 * out, root + out * (1, 1.04)]), 0.006))
        sector = outline[(angles >= min(lobe, sinus)) & (angles <= max(lobe, sinus))]
        shaded.append(np.concatenate([middle, sector]))
    veins.sort(key=lambda vein: -vein[1])
    return Shape([outline], shaded, veins, np.array([(0.0, centre), (0.02, 0.12), (0.06, -0.10)]))


def _compound(rng: np.random.Generator) -> Shape:
    """Five smooth leaflets on a common stalk."""
    parts = Shape([], [], [], np.array([(0.0, 0.75), (0.0, 0.3), (0.02, -0.08)]))
    spread = 58 + 16 * rng.random()
    width = 0.33 + 0.06 * rng.random()
    leaflets = [(0.53, 0, 0.47)]
    for y, length in ((0.44, 0.42), (0.17, 0.35)):
        leaflets += [(y, -spread, length), (y - 0.03, spread, length)]
    for y, degrees, length in leaflets:
        leaflet = _simple(width, rise=0.8, lean=0.82, teeth=7, tooth=0.0, pairs=4)
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.array([[cos, -sin], [sin, cos]])

        def to_leaf(points: np.ndarray, turn=turn, y=y, length=length) -> np.ndarray:
            return (points[:, :1] * turn[0] + (points[:, 1:] + 0.07) * turn[1]) * length + (0, y)

        parts.blades.extend(map(to_leaf, leaflet.blades))
        parts.shaded.extend(map(to_leaf, leaflet.shaded))
        parts.veins.extend((to_leaf(points), thick * 0.6) for points, thick in leaflet.veins)
        parts.veins.append((to_leaf(np.array([(0.0, -0.07), (0.0, 0.1)])), 0.014))
    parts.veins.sort(key=lambda vein: -vein[1])
    return parts
