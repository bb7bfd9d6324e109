"""The section `augment` of params.yaml, and what the augment stage reads of `runner`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from plantdoc.core.params import Count, Fraction, Part, Root, Section, Whole

# Until 7b9b9a6.
MOVED = {"augment.workers": "runner.augment_workers", "augment.engine": "runner.augment_engine"}

Engine = Literal["local", "beam"]
Jitter = Annotated[float, Field(ge=0, le=0.9)]


class Augment(Section):
    """Augmentation of pictures on their way into TFRecords."""

    size: Annotated[int, Field(ge=64, le=1280, multiple_of=32)]
    copies: Count
    scale: Jitter
    aspect: Jitter
    rotation: Annotated[float, Field(ge=0, le=45)]
    brightness: Jitter
    saturation: Jitter
    hue: Annotated[float, Field(ge=0, le=0.5)]
    min_visible: Fraction
    quality: Annotated[int, Field(ge=50, le=100)]
    shard_mb: Count


class Runner(Part):
    """Engine and workers of augment, which change no result; plantdoc.settings.runner_params has the other keys."""

    augment_workers: Whole
    augment_engine: Engine


class Params(Root):
    """Params of the augment stage."""

    MOVED: ClassVar[dict[str, str]] = MOVED

    seed: Whole
    augment: Augment
    runner: Runner
