"""Pretrained weights: found, matched, refused."""

from __future__ import annotations

import logging

import pytest

from plantdoc.core.errors import UserError
from plantdoc.train import pretrained_weights


@pytest.fixture(scope="module")
def keras(tf):
    """Keras, set up as in the stages."""
    import keras

    return keras


def small(keras, head: int):
    """A model of two dense layers, with `head` outputs."""
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(head)])


def test_loads_what_fits_and_says_how_many(tmp_path, keras, caplog):
    source, target = small(keras, 2), small(keras, 5)
    source.save_weights(tmp_path / "a.weights.h5")
    before = target.layers[1].kernel.numpy()
    with caplog.at_level(logging.INFO):
        pretrained_weights.load(tmp_path / "a.weights.h5", target)
    assert "2 of 4 tensors matched" in caplog.text
    assert "random as before: layers/dense_1\n" in caplog.text
    assert (target.layers[0].kernel.numpy() == source.layers[0].kernel.numpy()).all()
    assert (target.layers[1].kernel.numpy() == before).all()


def test_takes_the_model_that_fits_best(tmp_path, keras, caplog):
    backbone = small(keras, 2)
    backbone.save_weights(tmp_path / "b.weights.h5")
    other, same = small(keras, 7), small(keras, 2)
    with caplog.at_level(logging.INFO):
        pretrained_weights.load(tmp_path / "b.weights.h5", other, same)
    assert "4 of 4 tensors matched" in caplog.text
    assert "random as before" not in caplog.text
    assert (same.layers[1].kernel.numpy() == backbone.layers[1].kernel.numpy()).all()


def test_nothing_that_fits_is_an_error(tmp_path, keras):
    small(keras, 2).save_weights(tmp_path / "c.weights.h5")
    stranger = keras.Sequential([keras.Input((9,)), keras.layers.Dense(9)])
    with pytest.raises(UserError, match="none of its 4 tensors fits"):
        pretrained_weights.load(tmp_path / "c.weights.h5", stranger)


def test_a_file_of_another_kind_is_an_error(tmp_path, keras):
    (tmp_path / "d.weights.h5").write_bytes(b"not hdf5")
    with pytest.raises(UserError, match="not a Keras"):
        pretrained_weights.load(tmp_path / "d.weights.h5", small(keras, 2))


def test_sources_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.weights.h5").write_bytes(b"x")
    with pretrained_weights.located("none") as found:
        assert found == (None, None)
    with pretrained_weights.located("imagenet") as found:
        assert found == ("imagenet", None)
    with pretrained_weights.located("w.weights.h5") as found:
        assert found == (None, tmp_path / "w.weights.h5")
    with (
        pytest.raises(UserError, match=r"nowhere/w\.h5: there is no such file"),
        pretrained_weights.located("nowhere/w.h5"),
    ):
        pass


def test_an_s3_object_that_is_not_reachable_is_named(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with (
        pytest.raises(UserError, match=r"s3://bucket/w\.h5 cannot be read"),
        pretrained_weights.located("s3://bucket/w.h5"),
    ):
        pass


def test_a_file_that_leads_to_others_is_an_error(tmp_path, keras):
    import h5py

    model = small(keras, 2)
    model.save_weights(tmp_path / "e.weights.h5")
    with h5py.File(tmp_path / "e.weights.h5", "r+") as file:
        file["stolen"] = h5py.ExternalLink("/etc/secret.h5", "/")
    with pytest.raises(UserError, match="'/stolen' is not stored in this file"):
        pretrained_weights.load(tmp_path / "e.weights.h5", model)
