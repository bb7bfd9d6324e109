"""All sections of params.yaml at once, for what checks, changes or shows them; no stage imports this."""

from __future__ import annotations

from typing import ClassVar

from plantdoc.augment import augment_params
from plantdoc.augment.augment_params import Augment
from plantdoc.core.params import Root, Whole
from plantdoc.deploy import deploy_params
from plantdoc.deploy.deploy_params import Deploy
from plantdoc.detector.model_params import Model
from plantdoc.evaluate.evaluate_params import Evaluate
from plantdoc.fetch.fetch_params import Fetch
from plantdoc.settings.runner_params import Runner
from plantdoc.settings.serve_params import Serve
from plantdoc.train.train_params import LearningRate, Train


class Params(Root):
    """One section per stage, in stage order, what they share, and what changes no result: `serve` and `runner`."""

    MOVED: ClassVar[dict[str, str]] = augment_params.MOVED | deploy_params.MOVED

    seed: Whole
    lr: LearningRate
    fetch: Fetch
    augment: Augment
    model: Model
    train: Train
    evaluate: Evaluate
    deploy: Deploy
    serve: Serve
    runner: Runner
