"""A training elsewhere, shown here: lines stay as they were printed, the bar stays at the foot."""

from __future__ import annotations

import io

import pytest
from tqdm import tqdm

from plantdoc.ec2.screen import Log, Screen

EPOCH = "epoch 1: box 0.512, class 1.204, val mAP 0.0312, mAP@50 0.0801, the best so far"


def printed(steps: int = 3) -> bytes:
    """What a training with tqdm writes to a terminal."""
    out = io.StringIO()
    with tqdm(total=steps, file=out, ncols=60, mininterval=0, desc="epoch 1/3", unit="step") as bar:
        for _ in range(steps):
            bar.update()
        bar.write(EPOCH, file=out)
    return out.getvalue().replace("\n", "\r\n").encode()


def test_lines_and_bars_are_told_apart():
    seen = list(Log().feed(printed()))
    lines = [text for kind, text in seen if kind == "line"]
    assert lines[0] == EPOCH and lines[1].startswith("epoch 1/3: 100%|") and len(lines) == 2


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_it_does_not_matter_where_pieces_are_cut(size):
    content = printed() + "Blätter: größer\r\n".encode()
    whole = [text for kind, text in Log().feed(content) if kind == "line"]
    log = Log()
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    seen = [event for piece in pieces for event in log.feed(piece)]
    assert [text for kind, text in seen if kind == "line"] == whole and whole[-1] == "Blätter: größer"
    assert any(text.startswith("epoch 1/3: ") for kind, text in seen if kind == "bar")


def test_the_bar_that_is_not_finished_is_the_last_state():
    log = Log()
    assert list(log.feed(b"\repoch 1/3:  10%|# | 1/9\repoch 1/3:  20%|## | 2/9")) == [
        ("bar", "epoch 1/3:  20%|## | 2/9")
    ]
    assert list(log.feed(b"\r\x1b[A\x1b[K   \r")) == [("bar", "epoch 1/3:  20%|## | 2/9")]


def test_plain_output_has_lines_and_no_bar():
    out = io.StringIO()
    screen = Screen(terminal=False, stream=out)
    screen.bar("epoch 1/3:  10%|#", "[1 min]")
    for kind, text in Log().feed(printed()):
        if kind == "line":
            screen.line(text)
    assert out.getvalue() == EPOCH + "\n"


def test_a_terminal_has_the_bar_with_minutes_and_dollars_below(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    screen = Screen(terminal=True, stream=out)
    screen.bar("epoch 1/3:  10%|#         | 1/9 [00:01<00:08,  1.0step/s]", "[1.0 min, $0.01]")
    assert out.getvalue() == "\repoch 1/3:  10%|#      [1.0 min, $0.01]\x1b[K"
    assert len(out.getvalue().removeprefix("\r").removesuffix("\x1b[K")) < 40
    screen.line(EPOCH)
    assert out.getvalue().endswith(f"\r\x1b[K{EPOCH}\n")
