"""What a step of each optimizer does to kernels and to all else."""

from __future__ import annotations

import re

import numpy as np
import pytest

from plantdoc.core import params
from plantdoc.core.errors import UserError
from plantdoc.train import train_params

LR = 0.01


@pytest.fixture
def stepped(tf, root):
    """Take steps: `stepped(kind, values, gradients, shares=…, **train)` returns the values after one per gradient."""
    import keras

    from plantdoc.train.optimizer import optimizer

    def steps(kind: str, values: list, gradients: list[list], shares: list[float] | None = None, **changes) -> list:
        config = params.load(train_params.Params, root / "params.yaml").train
        config = config.model_copy(update={"optimizer": kind, "weight_decay": 0.0} | changes)
        variables = [keras.Variable(value, name=f"v{i}") for i, value in enumerate(values)]
        made = optimizer(config, shares or [1.0] * len(variables))
        made.build(variables)
        made.learning_rate = LR
        for each in gradients:
            made.apply([tf.constant(gradient) for gradient in each])
        return [variable.numpy() for variable in variables]

    return steps


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("shape", [(3, 3, 16, 24), (1, 1, 16, 64), (1, 1, 64, 16)])
def test_muon_steps_by_the_nearest_orthogonal_matrix(stepped, shape):
    gradient = drawn(*shape)
    (after,) = stepped("muon", [np.zeros(shape, "float32")], [[gradient]])
    step, matrix = -after.reshape(-1, shape[-1]) / LR, gradient.reshape(-1, shape[-1])
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ step @ v.T / (0.2 * max(matrix.shape) ** 0.5)
    sizes = np.diag(turned)
    assert ((sizes > 0.6) & (sizes < 1.3)).all(), "five iterations come so near to 1"
    np.testing.assert_allclose(turned, np.diag(sizes), atol=0.01)


def test_a_step_of_muon_is_as_large_as_one_of_adamw(stepped):
    """So that the learning rates of the one suit the other."""
    values, gradients = [np.zeros((3, 3, 32, 32), "float32")], [[drawn(3, 3, 32, 32, seed=i)] for i in range(30)]
    muon, adamw = (np.sqrt(np.mean(stepped(kind, values, gradients)[0] ** 2)) for kind in ("muon", "adamw"))
    assert 0.3 < muon / adamw < 3


def test_what_is_no_kernel_of_a_convolution_gets_the_steps_of_adamw(stepped):
    values = [drawn(8), drawn(3, 3, 8, 1), drawn(8, 4)]
    gradients = [[drawn(*value.shape, seed=i) for value in values] for i in range(3)]
    muon, adamw = (stepped(kind, values, gradients) for kind in ("muon", "adamw"))
    for one, other in zip(muon, adamw, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_the_size_of_gradients_does_not_matter(stepped, kind):
    values, gradients = [drawn(3, 3, 8, 8), drawn(8)], [[drawn(3, 3, 8, 8, seed=1), drawn(8, seed=1)]]
    small, large = (stepped(kind, values, [[g * size for g in each] for each in gradients]) for size in (1.0, 100.0))
    for one, other in zip(small, large, strict=True):
        np.testing.assert_allclose(one, other, atol=0.1 * LR)


@pytest.mark.parametrize("kind", ["muon", "adamw", "sgd"])
def test_shares_of_the_learning_rate(stepped, kind):
    values, gradients = [drawn(3, 3, 8, 8)] * 3, [[drawn(3, 3, 8, 8, seed=1)] * 3]
    whole, half, none = (
        after - before for after, before in zip(stepped(kind, values, gradients, [1.0, 0.5, 0.0]), values, strict=True)
    )
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)
    assert not none.any() and whole.any()


@pytest.mark.parametrize("kind", ["muon", "adamw", "sgd"])
def test_weights_decay_by_the_learning_rate(stepped, kind):
    values, gradients = [drawn(3, 3, 8, 8)], [[np.zeros((3, 3, 8, 8), "float32")]]
    (after,) = stepped(kind, values, gradients, weight_decay=0.5)
    np.testing.assert_allclose(after, values[0] * (1 - 0.5 * LR), rtol=1e-5)


@pytest.mark.parametrize("shape", [(16, 24), (64, 16)])
def test_on_a_matrix_muon_is_that_of_keras(tf, shape):
    """Which iterates on the matrix itself, in its usual form."""
    import keras

    from plantdoc.train.optimizer import ConvMuon

    gradient = tf.constant(drawn(*shape))
    usual = keras.optimizers.Muon().zeropower_via_newtonschulz5(gradient, 5) * 0.2 * max(shape) ** 0.5
    ours = ConvMuon().zeropower_via_newtonschulz5(gradient[None, None], 5)
    np.testing.assert_allclose(ours[0, 0], usual, atol=1e-4)


def test_another_keras_is_refused_with_what_to_do():
    from plantdoc.detector import keras_private

    keras_private.check()
    keras_private.check(f"{keras_private.TESTED}.99")
    with pytest.raises(UserError, match=r"Keras 4\.0\.1 is installed.*tested with .*`make setup`"):
        keras_private.check("4.0.1")


def test_the_locked_keras_is_the_tested_one(root):
    from plantdoc.detector import keras_private

    pinned = re.findall(r"(?m)^keras==(\S+)", (root / "requirements-train.txt").read_text())
    assert [version.rpartition(".")[0] for version in pinned] == [keras_private.TESTED]


@pytest.mark.parametrize(("kind", "name"), [("muon", "ConvMuon"), ("adamw", "ScaledAdamW"), ("sgd", "ScaledSGD")])
def test_each_kind_is_a_class_with_a_name(tf, root, kind, name):
    from plantdoc.train.optimizer import optimizer

    config = params.load(train_params.Params, root / "params.yaml").train.model_copy(update={"optimizer": kind})
    assert type(optimizer(config, [1.0])).__qualname__ == name
