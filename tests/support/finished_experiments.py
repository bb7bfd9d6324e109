"""A finished tiny repository with three experiments, made once for all tests that choose, list or remove some."""

from __future__ import annotations

import json
from pathlib import Path

import fake_repo
import repo_templates
import script_runner
import small_repo
from ruamel.yaml import YAML

RATES = (0.05, 0.2, 0.3)


def _build(folder: Path) -> None:
    fake_repo.finished(folder)
    script_runner.run(folder, "dvc", "exp", "run", "-n", f"lr-{RATES[0]}", "-S", f"lr={RATES[0]}")
    small_repo.git(folder, "checkout", "-q", "-f", "main")
    for rate in RATES[1:]:
        add(folder, f"lr-{rate}", lr=rate)
    script_runner.run(folder, "dvc", "checkout", "-q")


def add(folder: Path, name: str, **params: object) -> None:
    """An experiment of HEAD with other params (`section__key`), run by `dvc repro`.

    That takes half as long as `dvc exp run` and leaves the same: its outputs in the cache, a commit on HEAD under
    refs/exps. Outputs in the workspace stay those of the experiment.
    """
    branch = small_repo.git(folder, "branch", "--show-current").strip()
    small_repo.git(folder, "checkout", "-q", "--detach")
    small_repo.set_params(folder, **params)
    script_runner.run(folder, "dvc", "repro")
    _commit(folder, name, branch)


def _commit(folder: Path, name: str, branch: str) -> None:
    """Make the workspace the experiment `name` of HEAD, and go back to `branch`."""
    base = small_repo.git(folder, "rev-parse", "HEAD").strip()
    small_repo.git(folder, "commit", "-q", "-a", "--allow-empty", "-m", name)
    small_repo.git(folder, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", "HEAD")
    small_repo.git(folder, "checkout", "-q", branch)


def copy(folder: Path) -> Path:
    """A copy of the repository, with experiments lr-0.05, lr-0.2 and lr-0.3; HEAD has lr 0.1.

    It lies at `folder`/clone; its DVC remote is a folder beside it, not yet there.
    """
    return repo_templates.copy("trials", _build, folder / "clone")


def forge(clone: Path, name: str, *, size: int | None = None, metrics: dict | None = None, **params: object) -> None:
    """An experiment of HEAD that never ran, with other params (`section__key`), metrics of train or model size."""
    branch = small_repo.git(clone, "branch", "--show-current").strip()
    small_repo.git(clone, "checkout", "-q", "--detach")
    small_repo.set_params(clone, **params)
    file = clone / "results/train/metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | (metrics or {})))
    if size:
        yaml = YAML()
        lock = yaml.load(clone / "dvc.lock")
        lock["stages"]["train"]["outs"][0]["size"] = size
        yaml.dump(lock, clone / "dvc.lock")
    _commit(clone, name, branch)
