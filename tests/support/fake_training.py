"""The repository with a training that takes a second: the real src/train.py on the formula of fake_learner.py.

Hand-over, run id, lock, checkpoints, progress, epoch lines and outputs are the real ones; the other stages are those of
fake_repo.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import fake_learner
import fake_repo
import repo_templates
import small_repo
from ruamel.yaml import YAML

from plantdoc.core import params
from plantdoc.ec2 import instance_types
from plantdoc.settings import runner_params

EPOCHS = 4
OUTPUTS = ("models/detector", "results/train/live", "results/train/metrics.json")


def make(folder: Path, bucket: str, **overrides: object) -> Path:
    """The repository with the DVC remote in `bucket`, committed; not yet run."""
    given = {"train__epochs": EPOCHS, "train__plain_epochs": 1, "train__half_size": 0.0, "runner__disk_gb": 80}
    fake_repo.make(folder, **(given | overrides))
    shutil.copy(small_repo.ROOT / "src/train.py", folder / "src/train.py")
    fake_learner.install(folder)

    yaml = YAML()
    yaml.width = 200
    pipeline = yaml.load(folder / "dvc.yaml")
    whole = yaml.load(small_repo.ROOT / "dvc.yaml")
    pipeline["stages"]["train"]["deps"] = whole["stages"]["train"]["deps"]
    yaml.dump(pipeline, folder / "dvc.yaml")
    _set_bucket(folder, bucket)
    small_repo.git(folder, "add", "-A")
    small_repo.git(folder, "commit", "-q", "--amend", "-m", "light")
    return folder


def prepared(folder: Path, bucket: str, **overrides: object) -> Path:
    """The same after fetch and augment, their part of dvc.lock committed."""

    def build(new: Path) -> None:
        make(new, "none", **overrides)
        small_repo.run(new, "dvc", "repro", "augment")
        small_repo.git(new, "add", "-A")
        small_repo.git(new, "commit", "-q", "-m", "data")

    content = hashlib.sha256(repr(sorted(overrides.items())).encode()).hexdigest()[:12]
    repo_templates.copy(f"light-{content}", build, folder)
    _set_bucket(folder, bucket)
    small_repo.git(folder, "commit", "-q", "-a", "-m", "bucket")
    return folder


def _set_bucket(folder: Path, bucket: str) -> None:
    (folder / ".dvc/config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n    remote = storage\n"
        f"['remote \"storage\"']\n    url = s3://{bucket}/dvc\n    verify = true\n"
    )


def copy(origin: Path, folder: Path, **overrides: object) -> Path:
    """A copy of a prepared repository with its cache, and other params."""
    shutil.copytree(origin, folder, symlinks=True)
    if overrides:
        small_repo.set_params(folder, **overrides)
    return folder


def outputs(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of the train stage's outputs."""
    found = {}
    for path in map(Path, OUTPUTS):
        whole = folder / path
        for file in [f for f in whole.rglob("*") if f.is_file()] if whole.is_dir() else [whole] * whole.exists():
            found[file.relative_to(folder).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def expected(origin: Path, folder: Path, **overrides: object) -> dict[str, str]:
    """The outputs of a training here, on the kind of machine that runner.instance_types names; `folder` is for it."""
    copy(origin, folder, **overrides)
    programs = folder.with_name(f"{folder.name}-programs")
    programs.mkdir()
    gpu = instance_types.have_gpu(params.load(runner_params.Params, folder / "params.yaml").runner.instance_types)
    (programs / "nvidia-smi").write_text(f"#!/bin/sh\n{'echo NVIDIA stand-in' if gpu else 'exit 9'}\n")
    (programs / "nvidia-smi").chmod(0o755)
    path = f"{programs}{os.pathsep}{small_repo.environment()['PATH']}"
    small_repo.run(folder, "python", "src/train.py", PLANTDOC_RUNNER="local", PATH=path)
    return outputs(folder)
