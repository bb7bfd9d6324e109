"""The progress file: whole at any time, seldom written, and of its own tree alone."""

from __future__ import annotations

import contextlib
import json
import logging
import threading

import pytest

from plantdoc.core.errors import UserError
from plantdoc.train import progress
from plantdoc.train.progress import TrainingProgress

ROWS = [
    {"box": 2.0, "class": 1.0, "lr": 0.1},
    {"box": 1.0, "class": 0.5, "lr": 0.1, "val_map": 0.1, "val_map50": 0.25},
    {"box": 0.5, "class": 0.2, "lr": 0.1, "val_map": 0.05, "val_map50": 0.125},
]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_written_is_read_and_only_from_its_own_tree(tmp_path):
    (tmp_path / "other").mkdir()
    assert progress.read(tmp_path) is None
    written = TrainingProgress(state="training", epoch=2, epochs=3, history=ROWS)
    progress.write(written, tmp_path)
    assert progress.read(tmp_path) == written
    assert progress.read(tmp_path / "other") is None
    assert [path.name for path in (tmp_path / progress.PATH).parent.iterdir()] == [progress.PATH.name]


def test_a_reader_passes_over_what_it_does_not_know(tmp_path):
    progress.write(TrainingProgress(epoch=2), tmp_path)
    path = tmp_path / progress.PATH
    values = json.loads(path.read_text())
    del values["steps"]
    path.write_text(json.dumps(values | {"of_tomorrow": 1}))
    found = progress.read(tmp_path)
    assert (found.epoch, found.steps) == (2, 0)


def test_the_docstring_has_every_key_of_the_file():
    for key in vars(TrainingProgress()):
        assert f" {key}" in progress.__doc__, key


def test_it_is_written_at_most_once_a_second_and_nothing_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 1.0)
    clock, steps = Clock(), []
    monkeypatch.setattr(progress, "write", lambda now, folder: steps.append(now.step))
    writer = progress.Writer(TrainingProgress(), tmp_path, clock)
    for step in range(100):
        writer.now.step = step
        writer.changed()
    assert steps == [0]
    writer._pending.cancel()
    writer._write_pending()  # as the timer calls it, a second later
    assert steps == [0, 99]
    clock.now += 2
    writer.now.step = 100
    writer.changed()
    assert steps == [0, 99, 100]
    writer.now.step = 101
    writer.close("done")
    writer.changed()
    assert steps == [0, 99, 100, 101] and writer.now.state == "done"


def test_what_waits_is_written_without_another_change(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    written = threading.Event()
    real = progress.write

    def write(now: TrainingProgress, folder) -> None:
        real(now, folder)
        if now.step == 2:
            written.set()

    monkeypatch.setattr(progress, "write", write)
    writer = progress.Writer(TrainingProgress(), tmp_path)
    for step in (1, 2):
        writer.now.step = step
        writer.changed()
    assert written.wait(20)
    assert progress.read(tmp_path).step == 2


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (UserError("the loss is not finite"), "failed", "the loss is not finite"),
        (KeyboardInterrupt(), "interrupted", ""),
        (ValueError("of ours"), "failed", "ValueError: of ours"),
        (None, "done", ""),
    ],
)
def test_the_file_says_how_it_ended(tmp_path, error, state, message):
    expected = pytest.raises(type(error)) if error else contextlib.nullcontext()
    with expected, progress.written(TrainingProgress(run="a"), tmp_path) as writer:
        assert progress.read(tmp_path).state == "starting"
        writer.now.epoch = 3
        if error:
            raise error
    found = progress.read(tmp_path)
    assert (found.run, found.epoch, found.state, found.message) == ("a", 3, state, message)


def test_a_file_that_cannot_be_written_ends_no_training(tmp_path, caplog):
    (tmp_path / ".dvc").write_text("a file in the folder's place")
    with caplog.at_level(logging.WARNING), progress.written(TrainingProgress(), tmp_path):
        pass
    assert len(caplog.records) == 1 and "cannot be written" in caplog.text


def test_a_line_says_what_an_epoch_brought():
    assert progress.line(ROWS[:1]) == "epoch 1: box 2.000, class 1.000"
    assert progress.line(ROWS[:2]) == (
        "epoch 2: box 1.000, class 0.500, val mAP 0.1000, mAP@50 0.2500, the best so far"
    )
    assert progress.line(ROWS) == "epoch 3: box 0.500, class 0.200, val mAP 0.0500, mAP@50 0.1250"
