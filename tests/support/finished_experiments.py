"""A finished tiny repository with three experiments, made once for all tests that choose, list or remove some."""

from __future__ import annotations

import json
from pathlib import Path

import cli
import miniature
import templates
import tiny
from ruamel.yaml import YAML

RATES = (0.05, 0.2, 0.3)


def _build(folder: Path) -> None:
    tiny.finished(folder)
    for rate in RATES:
        cli.run(folder, "dvc", "exp", "run", "-n", f"lr-{rate}", "-S", f"lr={rate}")
    miniature.git(folder, "checkout", "-q", "-f", "main")
    cli.run(folder, "dvc", "checkout", "-q")


def copy(folder: Path) -> Path:
    """A copy of the repository, with experiments lr-0.05, lr-0.2 and lr-0.3; HEAD has lr 0.1.

    It lies at `folder`/clone; its DVC remote is a folder beside it, not yet there.
    """
    return templates.copy("trials", _build, folder / "clone")


def forge(clone: Path, name: str, *, size: int | None = None, metrics: dict | None = None, **params: object) -> None:
    """An experiment of HEAD that never ran, with other params (`section__key`), metrics of train or model size."""
    branch = miniature.git(clone, "branch", "--show-current").strip()
    base = miniature.git(clone, "rev-parse", "HEAD").strip()
    miniature.git(clone, "checkout", "-q", "--detach")
    miniature.set_params(clone, **params)
    file = clone / "results/train/metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | (metrics or {})))
    if size:
        yaml = YAML()
        lock = yaml.load(clone / "dvc.lock")
        lock["stages"]["train"]["outs"][0]["size"] = size
        yaml.dump(lock, clone / "dvc.lock")
    miniature.git(clone, "commit", "-q", "-a", "--allow-empty", "-m", name)
    miniature.git(clone, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", "HEAD")
    miniature.git(clone, "checkout", "-q", branch)
