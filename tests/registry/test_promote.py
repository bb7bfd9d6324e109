"""Promoting takes the best experiment by a metric of val, says why, and makes it a version, wholly or not at all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import finished_experiments
import psutil
import pytest
import script_runner
import small_repo

from plantdoc.registry import selection, version_tags
from plantdoc.remote import cached_outputs
from plantdoc.repo import revisions

PROMOTE = ("python", "scripts/promote.py", "train:val_map50")
KILL = "kill -9 $(awk '{print $4}' /proc/$PPID/stat)"  # in a hook: the process that runs git


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return finished_experiments.copy(tmp_path)


def promote(clone: Path, *flags: str, command: tuple = PROMOTE) -> subprocess.CompletedProcess:
    return script_runner.run(clone, *command, *flags, check=False)


def state(clone: Path) -> dict[str, object]:
    """What a promotion that fails must leave as it was."""
    return {
        "commit": small_repo.git(clone, "rev-parse", "HEAD"),
        "tags": small_repo.git(clone, "tag"),
        "changes": small_repo.git(clone, "status", "--porcelain"),
        "outputs": {
            str(path): path.read_bytes()
            for folder in ("models", "results", "data/raw")
            for path in sorted((clone / folder).rglob("*"))
            if path.is_file()
        },
    }


def hook(clone: Path, name: str, script: str) -> Path:
    file = clone / ".git/hooks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def is_promoted(clone: Path, name: str, tag: str = "detector@v1.0.0") -> bool:
    """Whether branch, files and outputs are those of the experiment, and the tag is there."""
    best, head = revisions.find(name, clone), revisions.find("HEAD", clone)
    made_from = json.loads((clone / "models/detector/config.json").read_text())["made_from"]
    return (
        [version.revision.commit for version in version_tags.versions(clone) if version.name == tag] == [head.commit]
        and head.lock == best.lock
        and head.params == best.params
        and not small_repo.git(clone, "status", "--porcelain")
        and made_from["lr"] == best.params["lr"]
    )


@pytest.mark.slow
def test_best_experiment_becomes_a_version_once(clone):
    scores = {one.name: one.metrics["train:val_map50"] for one in revisions.experiments(clone)}
    scores["HEAD"] = revisions.find("HEAD", clone).metrics["train:val_map50"]
    assert max(scores, key=scores.get) == "lr-0.2"
    (clone / "notes.txt").write_text("untracked")
    done = promote(clone)
    assert done.returncode == 0, done.stdout
    assert "lr-0.2 has the highest train:val_map50 of 4: 0.6000" in done.stdout
    assert "0.0352 better than lr-0.3: within the noise" in done.stdout
    assert "0.0602 better than HEAD: more than the noise" in done.stdout
    assert "git remote add origin URL" in done.stdout
    assert (clone / "notes.txt").read_text() == "untracked"
    (clone / "notes.txt").unlink()
    assert is_promoted(clone, "lr-0.2")
    assert small_repo.git(clone, "log", "-1", "--format=%s").strip() == "Promote lr-0.2: train:val_map50 0.6"
    assert small_repo.git(clone, "cat-file", "-t", "detector@v1.0.0").strip() == "tag"
    assert "v1.0.0" in small_repo.run(clone, "gto", "show").stdout

    before = state(clone)
    again = promote(clone)
    assert again.returncode == 0, again.stdout
    assert "nothing to do: detector@v1.0.0 is the model of HEAD" in again.stdout
    assert state(clone) == before


@pytest.mark.full
def test_others_fetch_a_version_after_the_printed_commands(clone, tmp_path):
    small_repo.git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
    small_repo.git(clone, "remote", "add", "origin", "../origin.git")
    done = promote(clone)
    assert "git push -u origin main --follow-tags" in done.stdout
    small_repo.git(clone, "push", "-q", "-u", "origin", "main", "--follow-tags")
    script_runner.run(clone, "dvc", "push")
    small_repo.git(tmp_path, "clone", "-q", "origin.git", "other")
    got = script_runner.run(
        tmp_path / "other", "dvc", "artifacts", "get", ".", "detector", "--rev", "v1.0.0", "-o", "got"
    )
    assert "Downloaded 2 file(s)" in got.stdout
    for name in ("detector.weights.h5", "config.json"):
        assert (tmp_path / "other/got" / name).read_bytes() == (clone / "models/detector" / name).read_bytes()


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("evaluate:map50", "measured on the test pictures"),
        ("cost:train.minutes", "no metric of val"),
        ("train:val_map5", "there is: train:best_epoch, train:epochs, train:val_map, train:val_map50"),
    ],
)
def test_a_metric_that_is_not_of_val_or_that_nobody_has_is_refused(clone, metric, says):
    before = state(clone)
    done = promote(clone, command=("python", "scripts/promote.py", metric))
    assert done.returncode == 1
    assert says in done.stdout
    assert "Traceback" not in done.stdout
    assert state(clone) == before


def test_without_a_finished_experiment_of_head_it_says_how_to_make_some(clone):
    small_repo.git(clone, "commit", "-q", "--allow-empty", "-m", "later")
    done = promote(clone)
    assert done.returncode == 1
    assert "no finished experiment started from HEAD" in done.stdout
    assert "(3 started from other commits)" in done.stdout
    assert "make sweep" in done.stdout


def test_changes_not_committed_are_refused_and_named(clone):
    with open(clone / "README.md", "a") as file:
        file.write("more\n")
    before = state(clone)
    done = promote(clone)
    assert done.returncode == 1
    assert "not committed, in README.md" in done.stdout
    assert state(clone) == before


def test_a_detached_head_is_refused(clone):
    small_repo.git(clone, "checkout", "-q", "--detach")
    done = promote(clone)
    assert done.returncode == 1
    assert "HEAD is on no branch" in done.stdout


def test_a_best_that_is_worse_than_the_last_version_is_refused(clone):
    finished_experiments.forge(clone, "better", metrics={"val_map50": 0.7})
    small_repo.git(clone, "tag", "-a", "-m", "x", "detector@v1.0.0", revisions.find("better", clone).commit)
    best = revisions.find("better", clone)
    small_repo.git(clone, "update-ref", "-d", f"refs/exps/{best.base[:2]}/{best.base[2:]}/better")
    before = state(clone)
    done = promote(clone)
    assert done.returncode == 1
    assert "lr-0.2 has a worse train:val_map50 than detector@v1.0.0" in done.stdout
    assert "0.6000 against 0.7000" in done.stdout
    assert state(clone) == before
    done = promote(clone, "--allow-worse", "--bump", "patch")
    assert done.returncode == 0, done.stdout
    assert is_promoted(clone, "lr-0.2", "detector@v1.0.1")


@pytest.mark.full
def test_rejected_commit_changes_nothing_and_can_be_repeated(clone):
    rejecting = hook(clone, "pre-commit", "echo not on a friday >&2; exit 1")
    before = state(clone)
    done = promote(clone)
    assert done.returncode == 1
    assert "git commit failed: not on a friday" in done.stdout
    assert state(clone) == before
    rejecting.unlink()
    assert promote(clone).returncode == 0
    assert is_promoted(clone, "lr-0.2")


@pytest.mark.full
def test_a_tag_made_in_between_takes_the_commit_back(clone):
    hook(clone, "post-commit", "git tag detector@v1.0.0 HEAD~1")
    before = state(clone)
    done = promote(clone)
    assert done.returncode == 1
    assert "tag 'detector@v1.0.0' already exists" in done.stdout
    assert state(clone) == before | {"tags": "detector@v1.0.0\n"}


@pytest.mark.full
@pytest.mark.parametrize("name", ["pre-commit", "post-commit"])
def test_killed_before_or_after_the_commit_the_same_command_goes_on(clone, name):
    killing = hook(clone, name, f"echo $PPID > .git/killed; {KILL}; exit 1")
    assert small_repo.run(clone, *PROMOTE, check=False).returncode == -9
    git = int((clone / ".git/killed").read_text())
    if psutil.pid_exists(git):
        psutil.wait_procs([psutil.Process(git)], timeout=30)
    assert version_tags.versions(clone) == []
    killing.unlink()
    done = promote(clone)
    assert done.returncode == 0, done.stdout
    assert is_promoted(clone, "lr-0.2")


@pytest.mark.full
def test_an_interruption_takes_all_back(clone):
    hook(clone, "pre-commit", "kill -INT $(awk '{print $4}' /proc/$PPID/stat); exit 1")
    before = state(clone)
    done = small_repo.run(clone, *PROMOTE, check=False)
    assert done.returncode == 130, done.stdout
    assert state(clone) == before


def test_outputs_that_are_not_in_the_cache_are_named(clone):
    md5 = revisions.find("lr-0.2", clone).md5("models/detector")
    (clone / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    before = state(clone)
    done = promote(clone)
    assert done.returncode == 1
    assert "models/detector of lr-0.2 are not in DVC's cache" in done.stdout
    assert state(clone) == before


@pytest.mark.full
def test_an_output_changed_by_hand_is_not_overwritten(clone):
    weights = clone / "models/detector/detector.weights.h5"
    weights.unlink()
    weights.write_bytes(b"by hand")
    before = state(clone)
    done = promote(clone)
    assert done.returncode == 1
    assert "models/detector" in done.stdout
    assert state(clone) == before


def test_a_version_that_only_the_git_remote_has_is_fetched_first(clone, tmp_path):
    small_repo.git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
    small_repo.git(clone, "remote", "add", "origin", "../origin.git")
    small_repo.git(clone, "tag", "-a", "-m", "x", "detector@v1.0.0")
    small_repo.git(clone, "push", "-q", "origin", "main", "--tags")
    small_repo.git(clone, "tag", "-d", "detector@v1.0.0")
    done = promote(clone)
    assert done.returncode == 1
    assert "origin has detector@v1.0.0, unknown here: `git fetch origin --tags` first" in done.stdout


def test_an_experiment_that_did_not_run_to_the_end_is_not_compared(clone):
    """Its evaluation was of another model than the one it has."""
    finished_experiments.forge(clone, "half", metrics={"val_map50": 0.9})
    whole = revisions.find("half", clone)
    assert names(clone)[0] == "half"
    small_repo.git(clone, "checkout", "-q", whole.commit)
    before, evaluate, after = (clone / "dvc.lock").read_text().partition("  evaluate:")
    stale = after.replace(whole.md5("models/detector"), "0" * 32 + ".dir")
    (clone / "dvc.lock").write_text(before + evaluate + stale)
    small_repo.git(clone, "commit", "-q", "-a", "--amend", "-m", "half")
    small_repo.git(clone, "update-ref", f"refs/exps/{whole.base[:2]}/{whole.base[2:]}/half", "HEAD")
    small_repo.git(clone, "checkout", "-q", "main")
    assert "half" not in names(clone)


def names(clone: Path, lowest: bool = False) -> list[str]:
    head = revisions.find("HEAD", clone)
    return [one.name for one in selection.ranked(selection.candidates(head), "train:val_map50", lowest)]


@pytest.mark.full
def test_ties_go_to_the_smaller_model_then_to_head_then_by_name(clone):
    finished_experiments.forge(clone, "small", size=99_000, metrics={"val_map50": 0.6})
    finished_experiments.forge(clone, "big", size=101_000, metrics={"val_map50": 0.6})
    assert names(clone)[:3] == ["small", "lr-0.2", "big"]
    assert names(clone, lowest=True)[0] == "lr-0.05"
    finished_experiments.forge(clone, "as-head", lr=0.4)
    assert names(clone).index("HEAD") + 1 == names(clone).index("as-head")


def test_a_score_that_is_no_number_is_not_compared(clone):
    finished_experiments.forge(clone, "nan", metrics={"val_map50": float("nan")})
    finished_experiments.forge(clone, "none", metrics={"val_map50": None})
    assert not {"nan", "none"} & set(names(clone))


def test_repeated_seeds_tell_the_noise(clone):
    """Two groups of two runs: the pooled variance is (2 × 0.01² + 2 × 0.03²) / 2 = 0.001, Student's t is 4.30."""
    for name, rate, seed, score in (("a", 1.0, 1, 0.50), ("b", 1.0, 2, 0.52), ("c", 2.0, 1, 0.40), ("d", 2.0, 2, 0.46)):
        finished_experiments.forge(clone, name, lr=rate, seed=seed, metrics={"val_map50": score})
    head = revisions.find("HEAD", clone)
    bound, text = selection.noise(selection.ranked(selection.candidates(head), "train:val_map50"), "train:val_map50")
    assert bound == pytest.approx(4.30 * 0.001**0.5 * 2**0.5)
    assert "standard deviation of 0.0316 (4 runs in 2 groups)" in text


def test_without_repeated_seeds_the_interval_on_test_gives_the_scale(clone):
    found = selection.ranked(selection.candidates(revisions.find("HEAD", clone)), "train:val_map50")
    bound, text = selection.noise(found, "train:val_map50")
    assert bound == pytest.approx(0.04)
    assert "unknown on val" in text
    assert selection.noise(found, "train:best_epoch")[0] is None


def test_what_is_missing_in_the_cache_is_told_by_output(clone):
    head, cache = revisions.find("HEAD", clone), cached_outputs.cache(clone)
    assert cached_outputs.missing(head, cache) == []
    listed = cached_outputs.cached(head)
    assert set(listed) == {
        "data/raw", "data/tfrecords", "models/bundle", "models/detector", "results/evaluate/pictures",
        "results/evaluate/predictions.json", "results/fetch/pictures", "results/fetch/report.md",
    }  # fmt: skip
    part = revisions.find("HEAD", clone).md5("results/evaluate/predictions.json")
    (cache / part[:2] / part[2:]).unlink()
    assert cached_outputs.missing(head, cache) == ["results/evaluate/predictions.json"]
