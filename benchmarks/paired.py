"""The difference of two sides' mAP@50, each trained with several seeds: a bootstrap over pictures and seeds."""

from __future__ import annotations

import numpy as np

from plantdoc import bootstrap, coco, scores

SAMPLES = 1000


def resampled(truth: coco.Split, found: list[dict]) -> np.ndarray:
    """mAP@50 [1 + SAMPLES] of a run: its own, then of draws of pictures that are the same for every run."""
    result = scores.evaluate(truth, found)
    pictures = len(result.params.imgIds)
    weights = np.random.default_rng(0).multinomial(pictures, np.full(pictures, 1 / pictures), size=SAMPLES)
    return bootstrap.resampled(result, np.vstack([np.ones(pictures, int), weights]))[1]


def compare(ours: list[np.ndarray], ultralytics: list[np.ndarray]) -> dict[str, tuple[float | None, ...]]:
    """Mean over the runs, low and high end of its 95 % interval, of each side and of ours less Ultralytics'.

    Each sample draws pictures, the same for both sides, and of each side as many runs as it has; where a side has no
    run, its figures are None. Centred on the scores themselves, as in plantdoc.bootstrap.
    """
    rng = np.random.default_rng(0)
    means = {}
    for side, runs in {"ours": ours, "ultralytics": ultralytics}.items():
        if runs:
            values = np.stack(runs)
            drawn = rng.integers(len(runs), size=(len(runs), SAMPLES))
            samples = values[drawn, np.arange(1, SAMPLES + 1)].mean(axis=0)
            means[side] = np.concatenate([values[:, :1].mean(axis=0), samples])
    if len(means) == 2:
        means["difference"] = means["ours"] - means["ultralytics"]
    lows = {"ours": 0.0, "ultralytics": 0.0, "difference": -1.0}
    return {side: _interval(means.get(side), low) for side, low in lows.items()}


def _interval(values: np.ndarray | None, least: float) -> tuple[float | None, ...]:
    if values is None:
        return None, None, None
    score, samples = values[0], values[1:]
    low, high = np.clip(score + np.nanpercentile(samples, (2.5, 97.5)) - np.nanmean(samples), least, 1.0)
    return float(score), float(low), float(high)
