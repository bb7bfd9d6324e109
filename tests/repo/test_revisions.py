"""Commits, experiments and the workspace are read from git as they are, whatever is checked out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import fake_repo
import pytest
import script_runner
import small_repo

from plantdoc.core.errors import UserError
from plantdoc.repo import revisions


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A repository after `dvc repro`; HEAD~1 has no results yet."""
    return fake_repo.finished(tmp_path_factory.mktemp("revisions") / "repository")


@pytest.fixture
def repository(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "repository", symlinks=True)


def experiment(folder: Path, name: str, base: str = "HEAD", **values: object) -> str:
    """Leave an experiment on `base` as DVC would, with other params; returns its commit."""
    small_repo.set_params(folder, **values)
    small_repo.git(folder, "add", "--update")
    tree = small_repo.git(folder, "write-tree").strip()
    small_repo.git(folder, "reset", "-q", "--hard")
    parent = small_repo.git(folder, "rev-parse", base).strip()
    commit = small_repo.git(folder, "commit-tree", "-p", parent, "-m", name, tree).strip()
    small_repo.git(folder, "update-ref", f"refs/exps/{parent[:2]}/{parent[2:]}/{name}", commit)
    return commit


def test_a_commit_is_read_whatever_the_workspace_holds(repository):
    head = small_repo.git(repository, "rev-parse", "HEAD").strip()
    small_repo.set_params(repository, lr=0.3)
    (repository / "results/train/metrics.json").write_text('{"val_map50": 1}')
    small_repo.git(repository, "tag", "-a", "first", "-m", "first")
    for name in ("main", "HEAD", "first", head[:8]):
        found = revisions.find(name, repository)
        assert (found.name, found.commit, found.base) == (name, head, "")
        assert found.params["lr"] == 0.1 and found.params["train.epochs"] == 3
        assert found.metrics["train:val_map50"] == 0.539794
    workspace = revisions.find(root=repository)
    assert (workspace.commit, workspace.params["lr"], workspace.metrics["train:val_map50"]) == ("", 0.3, 1)


def test_a_commit_of_an_earlier_version_is_read_by_the_names_that_keys_have_now(repository):
    before = revisions.find("HEAD", repository).params
    text = (repository / "params.yaml").read_text()
    for key, section in (("min_map50", "deploy"), ("augment_workers", "augment")):
        (line,) = re.findall(rf"(?m)^  {key}: .*\n", text)
        text = text.replace(line, "").replace(f"\n{section}:\n", f"\n{section}:\n{line.replace('augment_', '')}")
    (repository / "params.yaml").write_text(text)
    small_repo.git(repository, "commit", "-q", "-a", "-m", "as in an earlier version")
    assert "deploy" in text and "  workers: " in text
    assert revisions.find("HEAD", repository).params == before
    assert revisions.find(root=repository).params == before


def test_metrics_are_flat_and_cost_is_among_them(repository):
    metrics = revisions.find("HEAD", repository).metrics
    assert metrics["evaluate:map50_low"] < metrics["evaluate:map50"] < metrics["evaluate:map50_high"]
    assert metrics["cost:train.minutes"] == 0.001 and metrics["cost:train.machine"] == "test"


def test_a_commit_without_results_has_no_metrics_and_no_lock(repository):
    before = revisions.find("HEAD~1", repository)
    assert before.metrics == {} and before.lock == {} and before.md5("models/detector") is None
    assert before.params["lr"] == 0.1


def test_md5_is_that_of_the_lock(repository):
    found = revisions.find("HEAD", repository)
    outs = {out["path"]: out["md5"] for stage in found.lock.values() for out in stage["outs"]}
    assert found.md5("models/detector") == outs["models/detector"] != outs["data/raw"]
    assert found.md5("models/detector").endswith(".dir")
    assert found.md5("no/such") is None


def test_files_are_read_as_bytes_and_a_missing_one_is_none(repository):
    found = revisions.find("HEAD", repository)
    assert found.read("LICENSE") == (repository / "LICENSE").read_bytes()
    assert found.read("data/raw") is None and found.read("no/such") is None
    assert revisions.find(root=repository).read("no/such") is None


def test_experiments_are_those_that_ended_well_in_the_order_of_their_names(repository):
    head = small_repo.git(repository, "rev-parse", "HEAD").strip()
    later, earlier = experiment(repository, "lr-0.2", lr=0.2), experiment(repository, "lr-0.05", lr=0.05)
    for internal in ("stash", "exec/EXEC_HEAD", "celery/stash", "apply/stash"):
        small_repo.git(repository, "update-ref", f"refs/exps/{internal}", "HEAD")
    found = revisions.experiments(repository)
    assert [(each.name, each.commit, each.base) for each in found] == [
        ("lr-0.05", earlier, head),
        ("lr-0.2", later, head),
    ]
    assert revisions.find("lr-0.05", repository).params["lr"] == 0.05


def test_a_number_that_dvc_writes_in_scientific_form_is_a_number(repository):
    experiment(repository, "small", lr=1e-05)
    assert b"1e-05" in revisions.find("small", repository).read("params.yaml")
    assert revisions.find("small", repository).params["lr"] == 1e-05


def test_ambiguous_experiment_means_the_one_on_the_current_commit(repository):
    here, there = experiment(repository, "same", lr=0.2), experiment(repository, "same", "HEAD~1", lr=0.3)
    assert revisions.find("same", repository).commit == here
    small_repo.git(repository, "checkout", "-q", "HEAD~1")
    assert revisions.find("same", repository).commit == there


def test_ambiguous_experiment_elsewhere_needs_its_commit(repository):
    here, there = experiment(repository, "same", lr=0.2), experiment(repository, "same", "HEAD~1", lr=0.3)
    small_repo.git(repository, "commit", "-q", "--allow-empty", "-m", "later")
    with pytest.raises(UserError, match="2 experiments are called same") as error:
        revisions.find("same", repository)
    assert here[:10] in str(error.value) and there[:10] in str(error.value)
    assert revisions.find(there[:10], repository).params["lr"] == 0.3


def test_a_removed_experiment_is_gone(repository):
    experiment(repository, "kept", lr=0.2)
    experiment(repository, "removed", lr=0.3)
    script_runner.run(repository, "dvc", "exp", "remove", "removed")
    assert [each.name for each in revisions.experiments(repository)] == ["kept"]
    with pytest.raises(UserError, match="removed is no commit, branch, tag or experiment here"):
        revisions.find("removed", repository)


@pytest.mark.parametrize("name", ["no-such", "--all", "HEAD~99", "", "main:params.yaml"])
def test_an_unknown_name_says_what_lists_the_known_ones(repository, name):
    with pytest.raises(UserError, match="dvc exp list"):
        revisions.find(name, repository)


@pytest.mark.parametrize("file", ["params.yaml", "dvc.lock", "results/train/metrics.json"])
def test_a_file_with_conflict_marks_is_named(repository, file):
    text = (repository / file).read_text()
    (repository / file).write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")
    found = revisions.find(root=repository)
    with pytest.raises(UserError, match=f"{file} of workspace .* merge conflict"):
        _ = found.params, found.lock, found.metrics


def test_outside_of_a_repository_git_says_so(tmp_path):
    with pytest.raises(UserError, match="not a git repository"):
        revisions.experiments(tmp_path)
