"""What a model was made from, as hashes: its inputs, not its commit, since the commit holds the model's own hash."""

from __future__ import annotations

from pathlib import Path

from plantdoc import hashing
from plantdoc.params import Params, read


def made_from(stage_name: str, params: Params, weights: Path | None) -> dict:
    """The inputs of a training stage: params, seed, and SHA-256 of its data, code, locked environment and weights.

    Data and code are the stage's own deps in dvc.yaml, so that nothing is named twice.
    """
    deps = read("dvc.yaml")["stages"][stage_name]["deps"]
    code = [dep for dep in deps if dep.endswith(".py")]
    data = [dep for dep in deps if dep not in code]
    return {
        "seed": params.seed,
        "lr": params.lr,
        "model": params.model.model_dump(),
        "train": params.train.model_dump(),
        "data": {dep: hashing.of_files([dep], root=dep) for dep in data},
        "code": hashing.of_files(code, root="."),
        "environment": hashing.of_file("requirements.txt"),
        "weights": hashing.of_file(weights) if weights else None,
    }
