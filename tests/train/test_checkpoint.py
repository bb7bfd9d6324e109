"""A training's state on disk."""

from __future__ import annotations

import numpy as np
import pytest

from plantdoc.train.checkpoint import Checkpoint, Progress


def test_round_trip_of_state_and_best(tmp_path):
    saved = Checkpoint(tmp_path / "run")
    assert saved.load() is None
    arrays = {"model/0": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7)}
    saved.save(Progress(1, 1, [{"val_map": 0.25}]), arrays, best=[np.ones(3)])
    saved.save(Progress(2, 1, [{"val_map": 0.25}, {"val_map": 0.125}]), arrays, best=None)
    progress, found = saved.load()
    assert progress == Progress(2, 1, [{"val_map": 0.25}, {"val_map": 0.125}])
    assert found.keys() == arrays.keys()
    np.testing.assert_array_equal(found["model/0"], arrays["model/0"])
    np.testing.assert_array_equal(saved.best(1)[0], np.ones(3))


def test_only_the_newest_best_is_kept_and_nothing_after_removal(tmp_path):
    saved = Checkpoint(tmp_path / "run")
    for epoch in (1, 2):
        saved.save(Progress(epoch, epoch, []), {}, best=[np.full(2, epoch)])
    assert sorted(path.name for path in saved.folder.iterdir()) == ["best-2.npz", "last.npz"]
    saved.remove()
    assert not saved.folder.exists()


def test_the_best_epoch_is_the_first_with_the_highest_score():
    progress = Progress()
    for row in ({}, {"val_map": 0.0}, {"val_map": 0.25}, {"val_map": 0.25}, {}, {"val_map": 0.125}):
        progress.finish_epoch(row)
    assert (progress.epochs, progress.best_epoch) == (6, 3)


def test_killed_while_writing_leaves_the_state_before(tmp_path, monkeypatch):
    saved = Checkpoint(tmp_path / "run")
    saved.save(Progress(1, 1, []), {"x": np.zeros(4)}, best=[np.zeros(1)])

    def die(file, **_):
        file.write(b"half a fi")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", die)
    with pytest.raises(KeyboardInterrupt):
        saved.save(Progress(2, 2, []), {"x": np.ones(4)}, best=[np.ones(1)])
    progress, arrays = saved.load()
    assert progress.epochs == 1
    np.testing.assert_array_equal(arrays["x"], np.zeros(4))
    np.testing.assert_array_equal(saved.best(1)[0], np.zeros(1))
