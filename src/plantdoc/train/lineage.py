"""Lineage of a model as hashes: its inputs, not its commit, since the commit holds the model's own hash."""

from __future__ import annotations

from pathlib import Path

from plantdoc.core import hashing, locks, stage_deps
from plantdoc.core.errors import UserError
from plantdoc.train.train_params import Params

# The params in a record: those that the train stage tracks.
PARAMS = ("seed", "lr", "model", "train")


def gpu_trains() -> bool:
    """Whether a GPU trains here, as TensorFlow itself says; call after plantdoc.detector.tf_setup.configure.

    Raises:
        UserError: it sees a GPU by libraries that no lock names: nobody could say what the model was trained with.
    """
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return False
    if differing := locks.differences(locks.GPU):
        raise UserError(
            f"TensorFlow sees a GPU, but not by the libraries of {locks.GPU} ({differing[0]}): `make setup GPU=1` "
            "installs them, and CUDA_VISIBLE_DEVICES=-1 trains on the CPU"
        )
    return True


def made_from(stage_name: str, params: Params, weights: Path | None, gpu: bool) -> dict:
    """The inputs of a training stage: params, seed, and SHA-256 of its data, code, locks and weights.

    Data and code are the stage's own deps in dvc.yaml, so that nothing is named twice. `gpu` says whether a GPU trains:
    the CUDA libraries are then part of the environment. Until 7b9b9a6 `environment` was the hash of requirements.txt.

    Raises:
        UserError: a folder of code has files that git does not track.
    """
    listed = stage_deps.of(stage_name)
    stage_deps.refuse_untracked(listed)
    values = params.model_dump()
    return {
        **{name: values[name] for name in PARAMS},
        "data": {dep: hashing.of_files([dep], root=dep) for dep in stage_deps.data(listed)},
        "code": hashing.of_files(stage_deps.files(listed), root="."),
        "environment": {lock: hashing.of_file(lock) for lock in locks.of_training(gpu)},
        "weights": hashing.of_file(weights) if weights else None,
    }
