"""A copy of the repository, small enough that all five stages run in about a minute."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import repo_templates
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
# The sample's pictures: to draw all of them takes longer than the other stages together.
SAMPLE, DRAWN = "train: int = 320, test: int = 80", "train: int = 40, test: int = 16"
SMALL = {
    "fetch.limit": 24,
    "augment.size": 64,
    "augment.copies": 1,
    "runner.augment_workers": 1,
    "model.score_floor": 0.0001,  # what has learned next to nothing still reports boxes
    "train.epochs": 3,
    "train.half_size": 0.0,  # one size, since each is compiled, which takes longer than all epochs
    "train.plain_epochs": 1,
    "train.warmup_epochs": 0.5,
    "train.batch_size": 8,
    "evaluate.bootstrap": 20,
    "evaluate.pictures": 1,
    "deploy.check_pictures": 4,
    "deploy.behaviour_pictures": 4,
    "deploy.examples": 1,
}


def make(folder: Path, **overrides: object) -> Path:
    """Copy what git tracks (or would) to `folder`, set the params of SMALL and `overrides` (`section__key`), commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    generator = folder / "src/plantdoc/fetch/sample/generator.py"
    text = generator.read_text(encoding="utf-8")
    assert text.count(SAMPLE) == 1, f"{generator} has changed its shape"
    generator.write_text(text.replace(SAMPLE, DRAWN), encoding="utf-8")
    set_params(folder, **({key.replace(".", "__"): value for key, value in SMALL.items()} | overrides))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "miniature")
    return folder


def prepared(folder: Path, **overrides: object) -> Path:
    """The same after fetch and augment, committed."""
    return _after("augment", folder, overrides)


def finished(folder: Path, **overrides: object) -> Path:
    """The same after the whole `dvc repro`, committed."""
    return _after("deploy", folder, overrides)


def _after(stage: str, folder: Path, overrides: dict[str, object]) -> Path:
    def build(new: Path) -> None:
        make(new, **overrides)
        run(new, "dvc", "repro", stage)
        git(new, "add", "-A")
        git(new, "commit", "-q", "-m", "results")

    content = hashlib.sha256(repr(sorted(overrides.items())).encode()).hexdigest()[:12]
    return repo_templates.copy(f"miniature-{stage}-{content}", build, folder)


def set_params(folder: Path, **overrides: object) -> None:
    """Set values in params.yaml: `train__epochs=2`, or `lr=0.2`."""
    yaml = YAML()
    yaml.width = 200
    values = yaml.load(folder / "params.yaml")
    for name, value in overrides.items():
        *sections, key = name.split("__")
        place = values
        for section in sections:
            place = place[section]
        assert key in place, f"params.yaml has no {name}"
        place[key] = value
    yaml.dump(values, folder / "params.yaml")


def environment(**extra: str) -> dict[str, str]:
    """The environment a stage needs: this Python's programs first on PATH, a git author, quiet logs."""
    programs = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "Test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "Test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "WANDB_MODE": "disabled",
        **extra,
    }


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder`; returns what it printed."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment(), check=True, capture_output=True, text=True
    )
    return done.stdout


def run(folder: Path, *command: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess:
    """Run a command line in `folder` as a person would; stdout and stderr come back as one text in `stdout`."""
    done = subprocess.run(
        command, cwd=folder, env=environment(**extra), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert not check or done.returncode == 0, (
        f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    )
    return done
