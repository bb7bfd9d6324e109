"""The learning side of a training: the network, its data and its optimizer, behind what plantdoc.train.loop asks for.

The loop knows epochs, checkpoints and patience, and no TensorFlow. This module knows TensorFlow, and nothing of epochs
but their number. Tests of what goes on around a training put a formula in the place of this file:
tests/support/fake_learner.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from plantdoc.core.errors import UserError
from plantdoc.detector import tf_setup
from plantdoc.train import lineage, pretrained_weights, train_params

if TYPE_CHECKING:
    import numpy as np

    from plantdoc.train.trainer import Trainer

RECORDS = "data/tfrecords"
_VAL_BATCH = 16


def start(settings: train_params.Params) -> bool:
    """Start TensorFlow; returns whether a GPU trains."""
    tf_setup.configure(settings.train.threads, settings.seed)
    return lineage.gpu_trains()


class Learner:
    """Trains one network epoch by epoch, first on pictures of half the size if wanted.

    Args:
        preset, file: what plantdoc.train.pretrained_weights.located found for model.weights.
    """

    def __init__(self, settings: train_params.Params, made_from: dict, preset: str | None, file: Path | None):
        from plantdoc.train import input_pipeline
        from plantdoc.train.lr_schedule import WarmupCosine

        self.made_from, self.preset, self.file = made_from, preset, file
        self.seed, self.model, self.config = settings.seed, settings.model, settings.train
        config = self.config
        self.meta = input_pipeline.meta(RECORDS)
        self.truth = input_pipeline.val_truth(RECORDS, about=self.meta)
        self.steps = input_pipeline.steps(self.meta, config.batch_size)  # in an epoch
        self.strategy, self.precision = tf_setup.devices(config.precision)
        self._refuse_impossible()
        self.rate = WarmupCosine(
            settings.lr, config.batch_size, config.warmup_epochs * self.steps, config.epochs * self.steps
        )
        self._trainer: Trainer | None = None
        self.half = False
        self._resumed: dict[str, np.ndarray] = {}

    @property
    def trainer(self) -> Trainer:
        """The trainer of the network that `enter` has built."""
        assert self._trainer is not None, "no network was built"
        return self._trainer

    def resume(self, state: dict[str, np.ndarray]) -> None:
        """Have the first network start from the `state` of an earlier process."""
        self._resumed = state

    def enter(self, half: bool) -> None:
        """Build the network for pictures of half or of full size.

        It starts from the state of the network before it, which has the same variables. The first one starts from what
        `resume` was given, or else with the weights of model.weights.
        """
        import keras

        from plantdoc.detector import detector
        from plantdoc.train.trainer import Trainer

        state = self._trainer.state() if self._trainer else self._resumed
        self.half = half
        size = self.meta.size // 2 if half else self.meta.size
        keras.utils.clear_session()  # layers' names stand in the weights file, and are counted
        with self.strategy.scope():
            form = detector.Config.of(self.model, size, self.meta.classes, self.made_from)
            model = detector.Detector(form, self.preset, self.precision)
            if self.file and not state:
                pretrained_weights.load(self.file, model.model, model.network.backbone)
        self._trainer = Trainer(model, self.config, self.rate, self.strategy)
        if state:
            self.trainer.restore(state)

    def train_epoch(self, epoch: int, mosaic: float, on_step: Callable[[dict[str, float]], None]) -> dict[str, float]:
        """Train epoch `epoch`, counted from 0; returns the mean of each loss term and the last learning rate.

        Args:
            mosaic: share of pictures made of four.
            on_step: is called with the loss terms of each step.
        """
        from plantdoc.train import input_pipeline

        config = self.config
        batches = input_pipeline.train(
            RECORDS,
            epoch,
            seed=self.seed,
            batch_size=config.batch_size,
            flip=config.flip,
            mosaic=mosaic,
            half=self.half,
            about=self.meta,
        )
        return self.trainer.train_one_epoch(batches, on_step)

    def validate(self) -> dict[str, float]:
        """COCO figures of the averaged weights on the val pictures, at full size."""
        from plantdoc.train import input_pipeline

        return self.trainer.validate(input_pipeline.val(RECORDS, _VAL_BATCH, about=self.meta), self.truth)

    def state(self) -> dict[str, np.ndarray]:
        """All that the next epoch depends on, as named arrays."""
        return self.trainer.state()

    def averaged_weights(self) -> list[np.ndarray]:
        """The moving average of the weights, which is what is validated and kept, in the model's order."""
        return [variable.numpy() for variable in self.trainer.average]

    def save(self, kept: list[np.ndarray], folder: Path) -> None:
        """Write the detector with the weights `kept` into `folder`."""
        from plantdoc.detector import detector

        model = self.trainer.detector
        for variable, value in zip(model.model.variables, kept, strict=True):
            variable.assign(value)
        detector.save(model, folder)

    def _refuse_impossible(self) -> None:
        config, replicas = self.config, self.strategy.num_replicas_in_sync
        if config.batch_size % replicas:
            raise UserError(
                f"train.batch_size = {config.batch_size} cannot be shared out evenly over the {replicas} GPUs here: "
                "choose a multiple"
            )
        if int(config.half_size * config.epochs) and self.meta.size % 64:
            raise UserError(
                "train.half_size > 0 needs pictures whose half is a multiple of 32 px, not of "
                f"{self.meta.size} px: change augment.size, or set train.half_size to 0"
            )
