"""The learning rate over the steps of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WarmupCosine:
    """A linear climb to the peak over `warmup` steps, then half a cosine down to `floor` of it at `total` steps.

    `lr` is the peak per 256 pictures: the peak itself is lr x batch_size / 256, so that one value of lr means the same
    at any batch size and on any number of GPUs (linear scaling rule, Goyal et al. 2017, arXiv:1706.02677).
    """

    lr: float
    batch_size: int
    warmup: float
    total: int
    floor: float = 0.01

    @property
    def peak(self) -> float:
        """The highest learning rate that the optimizer is given."""
        return self.lr * self.batch_size / 256

    def __call__(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / max(1.0, self.total - self.warmup)
        return self.peak * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
