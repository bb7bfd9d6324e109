"""Weights that have HDF5 read other files are refused before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from plantdoc.core.errors import UserError
from plantdoc.detector import weights_file


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource(str(secret), "x", shape=(4,))
    file["layers/dense"].create_virtual_dataset("0", layout)


def external(file: h5py.File, secret: Path) -> None:
    file["layers/dense"].create_dataset("0", (4,), "f4", external=[(str(secret), 0, 16)])


LEADING_ELSEWHERE: dict[str, Callable[[h5py.File, Path], None]] = {
    "external link to a dataset": lambda file, secret: file["layers/dense"].__setitem__(
        "0", h5py.ExternalLink(str(secret), "/x")
    ),
    "external link at the top": lambda file, secret: file.__setitem__("vars", h5py.ExternalLink(str(secret), "/")),
    "external link to nothing": lambda file, _: file.__setitem__("vars", h5py.ExternalLink("none.h5", "/")),
    "soft link": lambda file, _: file["layers/dense"].__setitem__("0", h5py.SoftLink("/layers")),
    "external storage": external,
    "virtual dataset": virtual,
}


def saved(path: Path) -> Path:
    """A file as Keras lays it out."""
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((2, 3), "f4")
        file["layers/again"] = file["layers/dense/vars"]  # a hard link
        file["layers/again/loop"] = file["layers"]
    return path


def test_a_file_that_holds_its_tensors_is_taken(tmp_path):
    weights_file.check(saved(tmp_path / "a.weights.h5"))


@pytest.mark.parametrize("kind", LEADING_ELSEWHERE)
def test_one_that_leads_elsewhere_is_refused(tmp_path, kind):
    path, secret = saved(tmp_path / "a.weights.h5"), tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.arange(4, dtype="f4")
    with h5py.File(path, "r+") as file:
        LEADING_ELSEWHERE[kind](file, secret)
    with pytest.raises(UserError, match=r"a\.weights\.h5: '.*(0|vars)' is not stored in this file"):
        weights_file.check(path)


def test_another_kind_of_file_is_left_to_the_caller(tmp_path):
    (tmp_path / "a.weights.h5").write_bytes(b"not hdf5")
    with pytest.raises(OSError, match="signature"):
        weights_file.check(tmp_path / "a.weights.h5")
