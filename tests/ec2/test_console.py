"""A training elsewhere, shown here: lines stay as they were printed, the bar stays at the foot."""

from __future__ import annotations

import io

import pytest

from plantdoc.ec2.console import Console, Log, progress_bar
from plantdoc.train.progress import TrainingProgress

EPOCH = "epoch 1: box 0.512, class 1.204, val mAP 0.0312, mAP@50 0.0801, the best so far"
PRINTED = (
    f"train: weights matched\n\r  10%|# | 1/9\r  20%|## | 2/9\r\x1b[K{EPOCH}\r\n\n\x1b[31mBlätter\x1b[0m: größer\r\n"
)


def test_lines_are_what_is_left_to_be_seen_of_them():
    assert Log().feed(PRINTED.encode()) == ["train: weights matched", EPOCH, "Blätter: größer"]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_it_does_not_matter_where_pieces_are_cut(size):
    content, log = PRINTED.encode(), Log()
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    assert [line for piece in pieces for line in log.feed(piece)] == Log().feed(content)


def test_a_line_that_has_not_ended_is_not_shown_yet():
    log = Log()
    assert log.feed(b"epoch 1: b") == []
    assert log.feed(b"ox 0.5\n") == ["epoch 1: box 0.5"]


def test_the_bar_says_how_far_the_training_is():
    now = TrainingProgress(epoch=2, epochs=4, step=15, steps=40, seconds_left=90.0, losses={"box": 0.5124})
    assert progress_bar(now) == "epoch 2/4: 38%, step 15/40, 1.5 min left, box 0.512"
    now.history, now.seconds_left = [{"val_map": 0.1, "val_map50": 0.25}, {"box": 1.0}], None
    assert progress_bar(now) == "epoch 2/4: 38%, step 15/40, box 0.512, val mAP@50 0.2500"
    assert progress_bar(TrainingProgress()) == progress_bar(TrainingProgress(epochs=4, steps=40)) == ""


def test_without_a_terminal_there_is_no_bar():
    out = io.StringIO()
    console = Console(terminal=False, stream=out)
    console.progress_bar("epoch 1/3: 10%", "[1 min]")
    console.line(EPOCH)
    assert out.getvalue() == EPOCH + "\n"


def test_a_terminal_has_the_bar_with_minutes_and_dollars_below(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    console = Console(terminal=True, stream=out)
    console.progress_bar("epoch 1/3: 10%, step 1/9, 0.1 min left, box 0.5", "[1.0 min, $0.01]")
    assert out.getvalue() == "\repoch 1/3: 10%, step 1 [1.0 min, $0.01]\x1b[K"
    assert len(out.getvalue().removeprefix("\r").removesuffix("\x1b[K")) < 40
    console.line(EPOCH)
    assert out.getvalue().endswith(f"\r\x1b[K{EPOCH}\n")
