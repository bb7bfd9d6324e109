"""Optimizers: Muon, AdamW or SGD, all with a decoupled weight decay (arXiv:1711.05101)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from plantdoc.detector import keras_private
from plantdoc.train.train_params import Train

_Optimizer = keras.optimizers.Optimizer if TYPE_CHECKING else object  # what the mixin is mixed into

# Squared gradients are averaged over 100 steps, not 1000: small data sets have few steps, and the first ones, with
# every anchor wrong, have gradients a hundred times those of later ones.
BETA_2, EPSILON = 0.99, 1e-6


def optimizer(config: Train, shares: Sequence[float]) -> keras.optimizers.Optimizer:
    """The optimizer that params.yaml asks for.

    Args:
        shares: the parts of the learning rate that the trainable variables get, in their order.
    """
    keras_private.check()
    common = {"shares": shares, "learning_rate": 0.0, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        return ScaledSGD(momentum=config.momentum, nesterov=True, **common)
    common["epsilon"] = EPSILON
    if config.optimizer == "adamw":
        return ScaledAdamW(beta_1=config.momentum, beta_2=BETA_2, **common)
    return ConvMuon(
        momentum=config.momentum,
        adam_beta_1=config.momentum,
        adam_beta_2=BETA_2,
        adam_weight_decay=config.weight_decay,
        rms_rate=None,
        **common,
    )


class _Scaled(_Optimizer):
    """Mixin of an optimizer: scale the step of each variable by its share of the learning rate.

    It is the step that has to be scaled: Muon and AdamW do not depend on how large a gradient is.

    Args:
        shares: one number per variable, in the order of `build`; 1 for all where it is left out.
    """

    def __init__(self, shares: Sequence[float] | None = None, **settings):
        super().__init__(**settings)
        self.shares = None if shares is None else tuple(shares)

    def update_step(self, gradient, variable, learning_rate):
        if self.shares is not None:
            learning_rate *= self.shares[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate)


class ScaledSGD(_Scaled, keras.optimizers.SGD):
    """SGD with a share of the learning rate for each variable."""


class ScaledAdamW(_Scaled, keras.optimizers.AdamW):
    """AdamW with a share of the learning rate for each variable."""


class ConvMuon(_Scaled, keras.optimizers.Muon):
    """Muon for the kernels of convolutions, AdamW for all else; Keras's own takes matrices alone.

    Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon) steps by the orthogonal matrix nearest to the averaged
    gradient, so that what few pictures ask for is learned as fast as what most do. A kernel [height, width, in, out] is
    the matrix [height x width x in, out]; those of depthwise convolutions, of one column, are AdamW's.
    """

    # Root mean square of a step at a learning rate of 1. AdamW's is about the same, so that the same learning rates
    # serve both (Liu et al. 2025, arXiv:2502.16982).
    SIZE = 0.2

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) != 4 or variable.shape[-1] == 1

    def zeropower_via_newtonschulz5(self, x: tf.Tensor, steps: int) -> tf.Tensor:
        # Each iteration multiplies x by a polynomial of x @ x.T. All of them commute, so that the iteration can run on
        # that square of the shorter side, and x be multiplied once: half of the time of the usual form.
        matrix = tf.reshape(x, [-1, x.shape[-1]])
        matrix /= tf.norm(matrix) + 1e-7
        tall = matrix.shape[0] > matrix.shape[1]
        square = tf.matmul(matrix, matrix, transpose_a=tall, transpose_b=not tall)
        product = one = tf.eye(square.shape[0])
        for _ in range(steps):
            factor = self.muon_a * one + self.muon_b * square + self.muon_c * square @ square
            product = factor @ product
            square = factor @ factor @ square
        step = matrix @ product if tall else product @ matrix
        return tf.reshape(step, x.shape) * (self.SIZE * max(matrix.shape) ** 0.5)
