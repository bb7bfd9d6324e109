"""The section `train` of params.yaml with `lr`, and what the train stage reads besides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plantdoc.core.params import Count, Fraction, Part, Root, Section, Whole
from plantdoc.detector.model_params import Model

LearningRate = Annotated[float, Field(gt=0)]


class Train(Section):
    """Training of the detector."""

    epochs: Count
    half_size: Annotated[float, Field(ge=0, lt=1)]
    batch_size: Count
    warmup_epochs: Annotated[float, Field(ge=0)]
    optimizer: Literal["muon", "adamw", "sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    clip_norm: Annotated[float, Field(gt=0)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    backbone_lr: Fraction
    frozen: Fraction
    flip: Fraction
    mosaic: Fraction
    plain_epochs: Whole
    validate_every: Count
    patience: Whole
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]
    threads: Count


class Runner(Part):
    """Whether the training is handed over; to whom is for scripts/ec2.py, which checks the whole section."""

    kind: str


class Params(Root):
    """Params of the train stage."""

    seed: Whole
    lr: LearningRate
    model: Model
    train: Train
    runner: Runner
