"""The learning rate: warm-up, peak by the linear scaling rule, cosine."""

from __future__ import annotations

import itertools

import pytest

from plantdoc.train.lr_schedule import WarmupCosine


def test_peak_follows_the_linear_scaling_rule():
    assert WarmupCosine(0.1, 256, 10, 100).peak == pytest.approx(0.1)
    assert WarmupCosine(0.1, 16, 10, 100).peak == pytest.approx(0.00625)


def test_climbs_linearly_reaches_the_peak_then_falls_to_the_floor():
    rate = WarmupCosine(0.256, 256, 10, 110, floor=0.01)
    climb = [rate(step) for step in range(11)]
    steps = [b - a for a, b in itertools.pairwise(climb)]
    assert climb[0] > 0
    assert steps == pytest.approx([steps[0]] * 10)
    assert rate(10) == pytest.approx(rate.peak)
    fall = [rate(step) for step in range(10, 111)]
    assert fall == sorted(fall, reverse=True)
    assert rate(60) == pytest.approx(rate.peak * (0.01 + 0.99 / 2))
    assert rate(110) == pytest.approx(rate.peak * 0.01)


def test_no_warmup_starts_at_the_peak_and_steps_past_the_end_stay_at_the_floor():
    rate = WarmupCosine(0.1, 256, 0, 10)
    assert rate(0) == pytest.approx(rate.peak)
    assert rate(500) == pytest.approx(rate.peak * rate.floor)
