"""Confidence intervals of the scores by the bootstrap over test pictures (Efron 1979)."""

from __future__ import annotations

import numpy as np
from pycocotools.cocoeval import COCOeval

from plantdoc.core import hashing


def intervals(result: COCOeval, samples: int, seed: int) -> dict[str, float]:
    """95 % intervals over pictures: `map_low`, `map_high`, `map50_low`, `map50_high`; empty with `samples` = 0.

    Each sample draws as many pictures as there are, with replacement; a model's luck in training is not in it.
    Average precision grows when pictures repeat (its envelope picks the peaks), so plain percentiles may lie wholly
    above the score itself; the samples are therefore centred on it.
    """
    if not samples:
        return {}
    pictures = len(result.params.imgIds)
    rng = np.random.Generator(np.random.Philox(key=int(hashing.of_value(["bootstrap", seed])[:32], 16)))
    weights = rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=samples)
    weights = np.vstack([np.ones(pictures, int), weights])
    bounds = {}
    for name, (score, *values) in zip(("map", "map50"), resampled(result, weights), strict=True):
        low, high = np.clip(score + np.nanpercentile(values, (2.5, 97.5)) - np.nanmean(values), 0, 1)
        bounds |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return bounds


def resampled(result: COCOeval, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """COCO's map and map50 if picture i stood in the split weights[s, i] times.

    Re-accumulates the matches that pycocotools already made, as COCOeval.accumulate does, for all samples at once.

    Args:
        result: an evaluation that has run; pictures are in the order of `result.params.imgIds`.
        weights: whole numbers [samples, pictures].

    Returns:
        map [samples] and map50 [samples]; NaN where a sample holds no box at all.
    """
    params = result.params
    per_class = np.full((len(params.catIds), len(params.iouThrs), len(weights)), np.nan)
    for k in range(len(params.catIds)):
        per_class[k] = _precision(result, k, weights)
    held = ~np.isnan(per_class)
    counts = held[:, 0].sum(axis=0)  # classes with a box in the sample
    means = np.divide(
        np.where(held, per_class, 0).sum(axis=0), counts, where=counts > 0, out=np.full(per_class[0].shape, np.nan)
    )
    return means.mean(axis=0), means[0]


def _precision(result: COCOeval, k: int, weights: np.ndarray) -> np.ndarray:
    """Average precision [IoU thresholds, samples] of class `k` over all areas; NaN where it has no box."""
    params = result.params
    pictures = len(params.imgIds)
    start = k * len(params.areaRng) * pictures
    matched = [(i, e) for i, e in enumerate(result.evalImgs[start : start + pictures]) if e is not None]
    average = np.full((len(params.iouThrs), len(weights)), np.nan)
    boxes = np.zeros(pictures, int)
    for i, e in matched:
        boxes[i] = np.count_nonzero(e["gtIgnore"] == 0)
    total = weights @ boxes
    known = total > 0
    if not known.any():
        return average
    picture = np.concatenate([np.full(len(e["dtScores"]), i) for i, e in matched])
    order = np.argsort(-np.concatenate([e["dtScores"] for _, e in matched]), kind="mergesort")
    # What lies in a region of many leaves is neither right nor wrong.
    counts = np.concatenate([e["dtIgnore"] for _, e in matched], axis=1)[:, order] == 0
    right = counts & (np.concatenate([e["dtMatches"] for _, e in matched], axis=1)[:, order] > 0)
    weight = weights[known][:, picture[order]]  # [samples, detections], best first
    all_reported = np.cumsum(weight, axis=1)
    for t, hits in enumerate(right):
        reported = all_reported if counts[t].all() else np.cumsum(weight * counts[t], axis=1)
        at = np.flatnonzero(hits)  # recall grows, and precision peaks, at the hits alone
        hit = np.cumsum(weight[:, at], axis=1).astype(float)
        precision = hit / (reported[:, at] + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        envelope = np.pad(envelope, ((0, 0), (0, 1)))  # recall that is never reached counts as precision 0
        recall = hit / total[known, None]
        points = [e[np.searchsorted(r, params.recThrs)].mean() for e, r in zip(envelope, recall, strict=True)]
        average[t, known] = points
    return average
