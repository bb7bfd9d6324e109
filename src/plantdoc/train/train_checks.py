"""Checks before a training: refuse one that is pointless or whose result is useless."""

from __future__ import annotations

import subprocess

from plantdoc.core import environment
from plantdoc.core.errors import UserError
from plantdoc.train import train_params


def refuse_frozen_random_layers(settings: train_params.Params) -> None:
    """Stop where layers that have learned nothing would be kept as they are."""
    if settings.train.frozen and settings.model.weights == "none":
        raise UserError("train.frozen > 0 with model.weights = none would freeze random layers: set one of the two")


def refuse_without_commit() -> None:
    """Stop where DVCLive would, but before the training and not after it: in a git repository with no commit."""
    asked = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, text=True)
    if "safe.directory" in asked.stderr:  # the repository of another user: git says so, and what to do
        raise UserError(asked.stderr.strip())
    inside = asked.returncode == 0
    if inside and subprocess.run(["git", "rev-parse", "-q", "--verify", "HEAD"], capture_output=True).returncode:
        raise UserError("this git repository has no commit yet: make one, so that results can be told apart")


def refuse_other_run(run_id: str, gpu: bool) -> None:
    """Stop on an instance that would not train what it was started for: TensorFlow cannot use its GPU, for one."""
    wanted = environment.read().run_id or run_id
    if wanted != run_id:
        seen = "a GPU" if gpu else "no GPU"
        raise UserError(f"this machine was started for run {wanted} and would train {run_id}: TensorFlow sees {seen}")
