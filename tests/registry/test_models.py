"""The list of versions has their scores, the params in which they differ, their data, and where the outputs are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import finished_experiments
import pytest
import script_runner
import small_repo

from plantdoc.repo import revisions

MODELS = ("python", "scripts/models.py")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return finished_experiments.copy(tmp_path)


def tag(clone: Path, name: str, experiment: str) -> None:
    commit = revisions.find(experiment, clone).commit
    small_repo.git(clone, "tag", "-a", "-m", "x", name, commit)


def test_without_versions_it_says_how_to_get_one(clone):
    done = script_runner.run(clone, *MODELS)
    assert "no version is registered yet" in done.stdout
    assert "make promote" in done.stdout
    assert json.loads(script_runner.run(clone, *MODELS, "--json").stdout.partition("models: done")[0]) == []


def test_the_table_has_a_line_per_version_oldest_first(clone):
    tag(clone, "detector@v1.10.0", "lr-0.3")
    tag(clone, "detector@v1.9.0", "lr-0.2")
    header, first, second, *_ = script_runner.run(clone, *MODELS).stdout.splitlines()
    best = revisions.find("lr-0.2", clone)
    date = small_repo.git(clone, "tag", "--format=%(creatordate:short)").split()[0]
    assert header.split("  ")[0] == "version"
    assert first.split() == [
        "detector@v1.9.0", date, best.commit[:7], "0.6000", "0.5400", "(0.5000–0.5800)", "0.2",
        best.md5("data/raw")[:7], best.md5("data/tfrecords")[:7], "yes",
    ]  # fmt: skip
    assert second.split()[0] == "detector@v1.10.0"
    assert second.split()[6] == "0.3"


def test_only_params_that_differ_are_shown_and_lr_always(clone):
    finished_experiments.forge(clone, "longer", train__epochs=9)
    tag(clone, "detector@v1.0.0", "HEAD")
    rows = json.loads(script_runner.run(clone, *MODELS, "--json").stdout.partition("models: done")[0])
    assert [row["params"] for row in rows] == [{"lr": 0.1}]
    tag(clone, "detector@v1.1.0", "longer")
    rows = json.loads(script_runner.run(clone, *MODELS, "--json").stdout.partition("models: done")[0])
    assert [row["params"] for row in rows] == [{"lr": 0.1, "train.epochs": 3}, {"lr": 0.1, "train.epochs": 9}]
    assert rows[0]["raw"] == revisions.find("HEAD", clone).md5("data/raw")
    assert "remote" not in rows[0]


@pytest.mark.slow
def test_lists_outputs_in_cache_and_remote(clone):
    tag(clone, "detector@v1.0.0", "HEAD")
    tag(clone, "detector@v1.1.0", "lr-0.2")
    script_runner.run(clone, "dvc", "push")
    md5 = revisions.find("HEAD", clone).md5("models/detector")
    (clone / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    _, first, second, *_ = script_runner.run(clone, *MODELS, "--remote").stdout.splitlines()
    assert first.split()[-2:] == ["no", "yes"]
    assert second.split()[-2:] == ["yes", "no"]


def test_a_repository_without_a_remote_storage_is_told_so(clone):
    tag(clone, "detector@v1.0.0", "HEAD")
    script_runner.run(clone, "dvc", "remote", "remove", "storage")
    done = script_runner.run(clone, *MODELS, "--remote", check=False)
    assert done.returncode == 1
    assert "DVC has no default remote" in done.stdout
    assert "Traceback" not in done.stdout


def test_outside_of_a_repository_it_says_so(tmp_path):
    for name in ("scripts", "src"):
        shutil.copytree(small_repo.ROOT / name, tmp_path / name)
    done = small_repo.run(tmp_path, *MODELS, check=False, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert done.returncode == 1
    assert "not a git repository" in done.stdout
    assert "Traceback" not in done.stdout
