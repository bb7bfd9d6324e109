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
    for rate in RATES:
        script_runner.run(folder, "dvc", "exp", "run", "-n", f"lr-{rate}", "-S", f"lr={rate}")
    small_repo.git(folder, "checkout", "-q", "-f", "main")
    script_runner.run(folder, "dvc", "checkout", "-q")


def copy(folder: Path) -> Path:
    """A copy of the repository, with experiments lr-0.05, lr-0.2 and lr-0.3; HEAD has lr 0.1.

    It lies at `folder`/clone; its DVC remote is a folder beside it, not yet there.
    """
    return repo_templates.copy("trials", _build, folder / "clone")


def forge(clone: Path, name: str, *, size: int | None = None, metrics: dict | None = None, **params: object) -> None:
    """An experiment of HEAD that never ran, with other params (`section__key`), metrics of train or model size."""
    branch = small_repo.git(clone, "branch", "--show-current").strip()
    base = small_repo.git(clone, "rev-parse", "HEAD").strip()
    small_repo.git(clone, "checkout", "-q", "--detach")
    small_repo.set_params(clone, **params)
    file = clone / "results/train/metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | (metrics or {})))
    if size:
        yaml = YAML()
        lock = yaml.load(clone / "dvc.lock")
        lock["stages"]["train"]["outs"][0]["size"] = size
        yaml.dump(lock, clone / "dvc.lock")
    small_repo.git(clone, "commit", "-q", "-a", "--allow-empty", "-m", name)
    small_repo.git(clone, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", "HEAD")
    small_repo.git(clone, "checkout", "-q", branch)
