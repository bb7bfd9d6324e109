"""The section `evaluate` of params.yaml."""

from __future__ import annotations

from plantdoc.core.params import Root, Section, Threads, Whole


class Evaluate(Section):
    """Evaluation of the detector."""

    bootstrap: Whole
    pictures: Whole


class Params(Root):
    """Params of the evaluate stage."""

    seed: Whole
    evaluate: Evaluate
    train: Threads
