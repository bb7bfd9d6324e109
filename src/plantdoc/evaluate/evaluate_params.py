"""The section `evaluate` of params.yaml."""

from __future__ import annotations

from plantdoc.core.params import Root, Section, Threads, Whole


class Evaluate(Section):
    """How the detector is judged."""

    bootstrap: Whole
    pictures: Whole


class Params(Root):
    """What the evaluate stage reads."""

    seed: Whole
    evaluate: Evaluate
    train: Threads
