"""The epochs of a training: which are at half size, without mosaic, validated, kept and told of."""

from __future__ import annotations

import re

import numpy as np
import pytest

from plantdoc.core import params
from plantdoc.tracking.wandb_run import Tracker
from plantdoc.train import progress, train_params
from plantdoc.train.checkpoint import Checkpoint, Progress
from plantdoc.train.loop import Loop, out_of_patience


class Recorder:
    """Learns nothing, and writes down what it is asked for; `maps` are the val mAP of the epochs."""

    steps = 3

    def __init__(self, maps: list[float]):
        self.maps, self.asked, self.half, self.epoch = maps, [], False, 0

    def resume(self, state):
        self.asked.append(("resume", float(state["w"])))

    def enter(self, half):
        self.half = half
        self.asked.append("half" if half else "full")

    def train_epoch(self, epoch, mosaic, on_step):
        self.epoch = epoch + 1
        self.asked.append((self.epoch, mosaic))
        for _ in range(self.steps):
            on_step({"box": 1.0, "class": 2.0})
        return {"box": 1.0, "class": 2.0, "lr": 0.1}

    def validate(self):
        self.asked.append("validated")
        return {"map": self.maps[self.epoch - 1], "map50": 0.5}

    def state(self):
        return {"w": np.array(float(self.epoch))}

    def averaged_weights(self):
        return [np.array(float(self.epoch))]


@pytest.fixture
def loop(root, tmp_path):
    """A function that makes a loop with changes of `train`."""
    base = params.load(train_params.Params, root / "params.yaml").train

    def make(maps: list[float], **changes: object) -> Loop:
        config = base.model_copy(update={"epochs": len(maps), "half_size": 0.0, "plain_epochs": 0} | changes)
        shown = progress.Writer(progress.TrainingProgress(), tmp_path)
        return Loop(config, Recorder(maps), Checkpoint(tmp_path / "checkpoint"), Tracker(), shown)

    return make


def test_sizes_mosaic_and_validation_have_their_epochs(loop):
    made = loop([0.1, 0.2, 0.3, 0.2, 0.1], half_size=0.4, mosaic=0.5, plain_epochs=2, validate_every=2)
    done = made.run()
    assert made.learner.asked == [
        "half", (1, 0.5), (2, 0.5),
        "full", (3, 0.5), (4, 0.0), "validated", (5, 0.0), "validated",
    ]  # fmt: skip
    assert (done.epochs, done.best_epoch) == (5, 4)
    assert [("val_map" in row) for row in done.history] == [False, False, False, True, True]
    assert made.saved.best(4)[0] == 4.0


@pytest.mark.parametrize(("finished", "first"), [(1, "half"), (2, "full"), (3, "full")])
def test_it_resumes_after_the_last_finished_epoch(loop, finished, first):
    rows = [{"box": 1.0, "class": 1.0, "lr": 0.1}] * finished
    made = loop([0.1, 0.2, 0.3, 0.4], half_size=0.5)
    made.saved.save(Progress(finished, 0, rows), {"w": np.array(float(finished))}, None)
    done = made.run()
    assert made.learner.asked[:3] == [("resume", finished), first, (finished + 1, made.config.mosaic)]
    assert made.learner.asked.count("full") == 1
    assert (made.first, done.epochs, len(done.history)) == (finished, 4, 4)
    assert (made.shown.now.resumed, made.shown.now.step, made.shown.now.steps) == (finished, 12, 12)


def test_a_training_that_is_done_but_for_its_outputs_trains_no_epoch(loop):
    made = loop([0.1, 0.2])
    made.run()
    again = loop([0.1, 0.2])
    again.run()
    assert again.learner.asked == [("resume", 2.0), "full"]


def test_patience_ends_it_and_the_best_weights_stay(loop):
    made = loop([0.1, 0.3, 0.3, 0.2, 0.9], patience=2)
    done = made.run()
    assert (done.epochs, done.best_epoch) == (4, 2), "an equal score is no better one"
    assert made.saved.best(2)[0] == 2.0


def test_patience_counts_epochs_since_the_best():
    assert not out_of_patience(Progress(9, 2, []), patience=0)
    assert not out_of_patience(Progress(4, 2, []), patience=3)
    assert out_of_patience(Progress(5, 2, []), patience=3)
    assert not out_of_patience(Progress(5, 0, []), patience=3)


def test_the_progress_file_follows(loop, capsys):
    made = loop([0.1, 0.3, 0.2])
    made.run()
    now = made.shown.now
    assert (now.state, now.epoch, now.epochs, now.step, now.steps) == ("training", 3, 3, 9, 9)
    assert (now.best_epoch, now.val_map50, now.losses, now.seconds_left) == (2, 0.5, {"box": 1.0, "class": 2.0}, 0.0)
    said = [line for line in capsys.readouterr().err.splitlines() if re.match(r"epoch \d: ", line)]
    assert said == [progress.line(now.history[:count]) for count in (1, 2, 3)]
