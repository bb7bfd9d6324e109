"""Pretrained weights: where they come from, and which of them fit."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import h5py

from plantdoc.core import environment, s3_download, workspace
from plantdoc.core.errors import UserError
from plantdoc.detector import weights_file

if TYPE_CHECKING:
    import keras

log = logging.getLogger("plantdoc")
_LISTED = 6  # layers that a line names


@contextlib.contextmanager
def located(source: str) -> Iterator[tuple[str | None, Path | None]]:
    """`model.weights` as (preset, file), of which at most one is not None; an s3:// object is downloaded for the while.

    PLANTDOC_WEIGHTS names the file on a machine that it was brought to.

    Raises:
        UserError: the file or object is not there.
    """
    if source == "none":
        yield None, None
    elif brought := environment.read().weights:
        yield None, Path(brought)
    elif source.startswith("s3://"):
        with tempfile.TemporaryDirectory() as folder:
            yield None, s3_download.download(source, Path(folder) / Path(source).name)
    elif (path := workspace.main_root() / Path(source).expanduser()).is_file():
        yield None, path
    elif "/" in source or path.suffix:
        raise UserError(f"model.weights = {source}: there is no such file (looked for {path})")
    else:
        yield source, None


def load(path: Path, *models: keras.Model) -> None:
    """Load the tensors of a `.weights.h5` file that fit by place and shape into that one of `models` they fit best.

    Logs how many matched, and which layers did not. Models are tried in order; a detector's own weights fit the
    detector, a published backbone's fit the backbone.

    Raises:
        UserError: the file is no Keras weights file or leads to others, or nothing in it fits.
    """
    try:
        weights_file.check(path)
        stored = _tensors(path)
    except OSError as error:
        raise UserError(f"model.weights = {path}: not a Keras .weights.h5 file ({error})") from None
    with tempfile.TemporaryDirectory() as folder:
        best, matched, all_names, own = None, [], [], Path()
        for i, model in enumerate(models):
            file = Path(folder) / f"{i}.weights.h5"
            model.save_weights(file)
            wanted = _tensors(file)
            fitting = [name for name, shape in wanted.items() if stored.get(name) == shape]
            if len(fitting) > len(matched):
                best, matched, all_names, own = model, fitting, list(wanted), file
        if best is None:
            raise UserError(
                f"model.weights = {path}: none of its {len(stored)} tensors fits this model; "
                "is model.backbone, model.size or model.family another than the one they were made for?"
            )
        with h5py.File(own, "r+") as target, h5py.File(path, "r") as source:
            for name in matched:
                cast(h5py.Dataset, target[name])[...] = cast(h5py.Dataset, source[name])[...]
        best.load_weights(own)
    log.info(
        "train: weights of %s: %d of %d tensors matched, of %s", path.name, len(matched), len(all_names), best.name
    )
    if left := list(dict.fromkeys(name.rsplit("/vars/", 1)[0] for name in all_names if name not in set(matched))):
        more = f" and {len(left) - _LISTED} more layers" if len(left) > _LISTED else ""
        log.info("train: random as before: %s%s", ", ".join(left[:_LISTED]), more)


def _tensors(path: Path) -> dict[str, tuple[int, ...]]:
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.update({name: item.shape}) if isinstance(item, h5py.Dataset) else None)
    return found
