"""The epochs of a training: sizes, mosaic, validation, patience, checkpoints, and what is told of them.

It knows no TensorFlow: what learns is a `plantdoc.train.learner.Learner`.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING

from tqdm import tqdm

from plantdoc.tracking.wandb_run import Tracker
from plantdoc.train import progress, train_params
from plantdoc.train.checkpoint import Checkpoint, Progress

if TYPE_CHECKING:
    from plantdoc.train.learner import Learner

log = logging.getLogger("plantdoc")


class Loop:
    """Trains from the last finished epoch, if there is one, to the last epoch or to the end of patience.

    Args:
        saved: where each finished epoch is kept.
        shown: the progress file.

    Attributes:
        done: epochs finished, one row of figures for each, and which of them was best.
        first: how many epochs an earlier process had finished.
    """

    def __init__(
        self, config: train_params.Train, learner: Learner, saved: Checkpoint, tracker: Tracker, shown: progress.Writer
    ):
        self.config, self.learner, self.saved, self.tracker, self.shown = config, learner, saved, tracker, shown
        self.done, self.first = Progress(), 0

    def run(self) -> Progress:
        """Train to the end; the learner then has a network of full size."""
        self._resume()
        self._begin_telling()
        config, steps = self.config, self.learner.steps
        quiet = 1 if sys.stderr.isatty() else 30
        with tqdm(
            total=config.epochs * steps, initial=self.first * steps, unit="step", mininterval=quiet, file=sys.stderr
        ) as self.bar:
            half = int(config.half_size * config.epochs)
            if self.done.epochs < half:
                self._train_until(half, half_size=True)
            self._train_until(config.epochs, half_size=False)
        return self.done

    def _resume(self) -> None:
        if found := self.saved.load():
            self.done, state = found
            self.first = self.done.epochs
            self.learner.resume(state)
            log.info("train: continuing after epoch %d of %d", self.first, self.config.epochs)

    def _train_until(self, end: int, half_size: bool) -> None:
        self.learner.enter(half_size)
        while self.done.epochs < end and not out_of_patience(self.done, self.config.patience):
            self._one_epoch()

    def _one_epoch(self) -> None:
        config, done = self.config, self.done
        self.bar.set_description(f"epoch {done.epochs + 1}/{config.epochs}")
        self.shown.now.epoch = done.epochs + 1
        mosaic = config.mosaic if done.epochs < config.epochs - config.plain_epochs else 0.0
        row = self.learner.train_epoch(done.epochs, mosaic, self._on_step)
        number = done.epochs + 1
        if self._is_validated(number):
            row |= {f"val_{name}": value for name, value in self.learner.validate().items()}
        done.finish_epoch(row)
        self.tracker.epoch(number, row)
        is_best = done.best_epoch == number
        self.saved.save(done, self.learner.state(), self.learner.averaged_weights() if is_best else None)
        self.bar.write(progress.line(done.history), file=sys.stderr)
        self.shown.now.history, self.shown.now.best_epoch = list(done.history), done.best_epoch
        self.shown.changed()

    def _is_validated(self, number: int) -> bool:
        """Whether epoch `number`, from 1, is: at half size the figures would be those of another network."""
        due = number % self.config.validate_every == 0 or number == self.config.epochs
        return due and not self.learner.half

    def _begin_telling(self) -> None:
        now, steps = self.shown.now, self.learner.steps
        now.state, now.epoch, now.epochs = "training", self.done.epochs, self.config.epochs
        now.step, now.steps = self.done.epochs * steps, self.config.epochs * steps
        now.history, now.best_epoch, now.resumed = list(self.done.history), self.done.best_epoch, self.first
        self._began, self._from = time.monotonic(), now.step
        self.shown.changed()

    def _on_step(self, terms: dict[str, float]) -> None:
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in terms.items()}, refresh=False)
        self.bar.update()
        now = self.shown.now
        now.step, now.losses = now.step + 1, terms
        pace = (time.monotonic() - self._began) / (now.step - self._from)
        now.seconds_left = round(pace * (now.steps - now.step), 1)
        self.shown.changed()


def out_of_patience(done: Progress, patience: int) -> bool:
    """Whether val mAP has not risen for `patience` epochs; 0 is endless patience."""
    return bool(patience and done.best_epoch and done.epochs - done.best_epoch >= patience)
