"""What a trainer refuses, without a network: its step is the test's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from plantdoc.core.errors import UserError


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_epoch(tf, value):
    from plantdoc.train.trainer import Trainer

    trainer = Trainer.__new__(Trainer)
    trainer.step, trainer.replicas, trainer.rate = 0, 1, lambda step: 0.5
    trainer.config, trainer.optimizer = SimpleNamespace(ema=0.9), SimpleNamespace()
    losses = iter((1.0, value, 1.0))
    trainer._step = lambda batch, decay: {"box": tf.constant(next(losses)), "class": tf.constant(2.0)}
    told = []
    with pytest.raises(
        UserError, match=r"not finite at step 1 \(box = (nan|inf), class = 2; learning rate 0.5\): lower lr"
    ):
        trainer.train_one_epoch([{}, {}, {}], told.append)
    assert told == [{"box": 1.0, "class": 2.0}]
