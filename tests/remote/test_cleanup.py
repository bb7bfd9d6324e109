"""Cleaning up shows what would go, removes just that, and never what a branch, a tag or a run needs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import finished_experiments
import psutil
import pytest
import script_runner
import small_repo

from plantdoc.remote import garbage
from plantdoc.repo import revisions

CLEANUP = ("python", "scripts/cleanup.py")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return finished_experiments.copy(tmp_path)


def cleanup(clone: Path, *flags: str) -> subprocess.CompletedProcess:
    return script_runner.run(clone, *CLEANUP, *flags, check=False)


def objects(folder: Path) -> dict[str, int]:
    """Bytes of each object in a cache or a remote storage."""
    return {str(path): path.stat().st_size for path in (folder / "files/md5").rglob("*") if path.is_file()}


def shown(text: str, where: str, verb: str = "") -> tuple[int, int]:
    """Objects and bytes that the output names."""
    number, size = re.search(rf"{verb}(\d+) objects, (\d+) bytes \([\d.]+ MB\) (?:in|from) {where}", text).groups()
    return int(number), int(size)


def checks_out(clone: Path, *names: str) -> bool:
    """Whether git and DVC bring back all outputs of each revision."""
    for name in names:
        small_repo.git(clone, "checkout", "-q", name)
        shutil.rmtree(clone / "models")
        shutil.rmtree(clone / "data")
        script_runner.run(clone, "dvc", "checkout")
        if not (clone / "models/bundle/model.tar.gz").exists() or not (clone / "data/raw/train/a.jpg").exists():
            return False
    return True


@pytest.mark.slow
def test_without_yes_it_only_shows_and_with_yes_just_that_goes(clone):
    """lr-0.3 becomes a tag and lr-0.2 a branch, so that only lr-0.05's objects go; a branch without DVC is no harm."""
    small_repo.git(clone, "tag", "-a", "-m", "x", "detector@v1.0.0", revisions.find("lr-0.3", clone).commit)
    small_repo.git(clone, "branch", "other", revisions.find("lr-0.2", clone).commit)
    empty = small_repo.git(clone, "commit-tree", "-m", "pictures", "4b825dc642cb6eb9a060e54bf8d69288fbee4904").strip()
    small_repo.git(clone, "branch", "pictures", empty)
    only = revisions.find("lr-0.05", clone).md5("models/detector")
    cache = clone / ".dvc/cache"
    before = objects(cache)

    done = cleanup(clone)
    assert done.returncode == 0, done.stdout
    assert "experiments to remove: 3" in done.stdout
    assert re.search(r"lr-0.05 +\d{4}-\d\d-\d\d +train:val_map50 0.479588, evaluate:map50 0.431629", done.stdout)
    assert "nothing was removed; --yes removes it" in done.stdout
    assert objects(cache) == before
    assert len(revisions.experiments(clone)) == 3

    announced = shown(done.stdout, "the cache")
    done = cleanup(clone, "--yes")
    assert done.returncode == 0, done.stdout
    after = objects(cache)
    assert after.items() < before.items()
    assert (len(before) - len(after), sum(before.values()) - sum(after.values())) == announced
    assert shown(done.stdout, "the cache", "removed ") == announced
    assert not (cache / "files/md5" / only[:2] / only[2:]).exists()
    assert revisions.experiments(clone) == []

    done = cleanup(clone, "--yes")
    assert shown(done.stdout, "the cache") == (0, 0)
    assert checks_out(clone, "other", "detector@v1.0.0", "main")


@pytest.mark.full
def test_keeps_named_experiments_and_resumes_a_killed_removal(clone):
    gone = revisions.find("lr-0.05", clone)
    small_repo.git(clone, "update-ref", "-d", f"refs/exps/{gone.base[:2]}/{gone.base[2:]}/lr-0.05")
    md5 = gone.md5("models/detector")
    done = cleanup(clone, "--keep", "lr-0.2", "--yes")
    assert done.returncode == 0, done.stdout
    assert [experiment.name for experiment in revisions.experiments(clone)] == ["lr-0.2"]
    assert not (clone / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).exists()
    assert checks_out(clone, revisions.find("lr-0.2", clone).commit)


def test_an_experiment_to_keep_that_is_not_there_stops_it(clone):
    done = cleanup(clone, "--keep", "lr-0.7", "--yes")
    assert done.returncode == 1
    assert "there is no experiment lr-0.7" in done.stdout
    assert len(revisions.experiments(clone)) == 3


@pytest.mark.full
def test_experiments_of_two_commits_with_one_name_both_go(clone):
    small_repo.git(clone, "commit", "-q", "--allow-empty", "-m", "later")
    finished_experiments.forge(clone, "lr-0.2", lr=0.2)
    assert [experiment.name for experiment in revisions.experiments(clone)].count("lr-0.2") == 2
    assert cleanup(clone, "--yes").returncode == 0
    assert revisions.experiments(clone) == []


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        pytest.param(b"\n", 3, marks=pytest.mark.slow),
        pytest.param(b"\x04", 3, marks=pytest.mark.full),
        pytest.param(b"y\n", 0, marks=pytest.mark.full),
    ],
)
def test_a_person_is_asked_and_only_yes_means_yes(clone, answer, left):
    """The second answer is Ctrl-D."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        CLEANUP, cwd=clone, env=small_repo.environment(), stdin=theirs, stdout=subprocess.PIPE, text=True
    )
    os.write(ours, answer)
    text = process.communicate(timeout=600)[0]
    assert process.returncode == 0
    assert "remove all this? [y/N]" in text
    assert ("nothing was removed" in text) == bool(left)
    assert len(revisions.experiments(clone)) == left


@pytest.mark.slow
def test_while_an_experiment_runs_nothing_goes(clone, tmp_path):
    log = tmp_path / "log"
    os.mkfifo(log)
    hold = tmp_path / "hold"
    hold.mkdir()
    (hold / "0.7").touch()
    runs = subprocess.Popen(
        ["dvc", "exp", "run", "--temp", "-S", "lr=0.7"],
        cwd=clone,
        env=small_repo.environment(TINY_HOLD=str(hold), TINY_LOG=str(log)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with open(log) as lines:  # opens when the first stage writes: the run is under way
            assert lines.readline().startswith("train lr=0.7")
        before = objects(clone / ".dvc/cache")
        done = cleanup(clone, "--yes")
    finally:
        for process in (*psutil.Process(runs.pid).children(recursive=True), runs):
            process.kill()
        runs.wait()
    assert done.returncode == 1
    assert f"at work in this repository: {runs.pid}" in done.stdout
    assert objects(clone / ".dvc/cache") == before
    assert len(revisions.experiments(clone)) == 3


@pytest.mark.slow
def test_what_killed_runs_left_goes_but_not_a_training_under_way(clone):
    copy = clone / ".dvc/tmp/exps/standalone/tmpabc"
    (copy / ".dvc").mkdir(parents=True)
    running, dead, foreign = (clone / ".dvc/tmp/plantdoc" / name for name in ("running", "dead", "sweep"))
    for folder in (running, dead, foreign):
        folder.mkdir(parents=True)
    for folder in (running, dead):
        (folder / "last.npz").write_bytes(b"123")
    with open(running.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = cleanup(clone, "--yes")
    assert done.returncode == 0, done.stdout
    assert ".dvc/tmp/exps/standalone/tmpabc: copy of the tree, 0 bytes" in done.stdout
    assert ".dvc/tmp/plantdoc/dead: checkpoint of a training that did not end, 3 bytes" in done.stdout
    assert ".dvc/tmp/plantdoc/running stays: its training is under way" in done.stdout
    assert not copy.exists()
    assert not dead.exists()
    assert (running / "last.npz").exists()
    assert foreign.exists()
    assert (clone / ".dvc/tmp/exps/run").exists()


@pytest.fixture
def shared(clone, tmp_path) -> Path:
    """The clone with a git remote and all experiments' data in the remote storage; returns the storage."""
    small_repo.git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
    small_repo.git(clone, "remote", "add", "origin", "../origin.git")
    small_repo.git(clone, "push", "-q", "-u", "origin", "main")
    # The layout of a remote that is a folder is the cache's: the same as `dvc push --all-experiments`, at no cost.
    storage = tmp_path / "plant-disease-storage"
    shutil.copytree(clone / ".dvc/cache/files", storage / "files")
    return storage


@pytest.mark.slow
def test_the_remote_storage_keeps_what_branches_and_experiments_of_others_need(clone, shared, tmp_path):
    for name, ref in (("lr-0.2", "refs/heads/theirs"), ("lr-0.3", None)):
        experiment = revisions.find(name, clone)
        own = f"refs/exps/{experiment.base[:2]}/{experiment.base[2:]}/{name}"
        small_repo.git(clone, "push", "-q", "origin", f"{experiment.commit}:{ref or own}")
    models = {name: revisions.find(name, clone).md5("models/detector") for name in ("lr-0.05", "lr-0.2", "lr-0.3")}
    before = objects(shared)
    done = cleanup(clone, "--remote", "--yes")
    assert done.returncode == 0, done.stdout
    there = {name: (shared / "files/md5" / md5[:2] / md5[2:]).exists() for name, md5 in models.items()}
    assert there == {"lr-0.05": False, "lr-0.2": True, "lr-0.3": True}
    after = objects(shared)
    freed = (len(before) - len(after), sum(before.values()) - sum(after.values()))
    assert freed[0] > 0
    assert shown(done.stdout, "the remote storage") == freed
    assert shown(done.stdout, "the remote storage", "removed ") == freed

    small_repo.git(tmp_path, "clone", "-q", "origin.git", "other")
    for name in ("main", "theirs"):
        small_repo.git(tmp_path / "other", "checkout", "-q", name)
        script_runner.run(tmp_path / "other", "dvc", "pull")
        assert (tmp_path / "other/models/bundle/model.tar.gz").exists()


def test_the_remote_storage_keeps_what_a_branch_a_tag_or_an_experiment_of_the_git_remote_has(clone, shared):
    made = {name: revisions.find(name, clone) for name in ("lr-0.05", "lr-0.2", "lr-0.3")}
    base = made["lr-0.3"].base
    where = ("refs/tags/detector@v1.0.0", "refs/heads/theirs", f"refs/exps/{base[:2]}/{base[2:]}/lr-0.3")
    for revision, ref in zip(made.values(), where, strict=True):
        small_repo.git(clone, "push", "-q", "origin", f"{revision.commit}:{ref}")
    head = revisions.find("HEAD", clone).commit
    assert set(garbage.keepers_elsewhere(clone)) == {head, *(revision.commit for revision in made.values())}


@pytest.mark.slow
def test_the_remote_storage_stays_where_it_is_unknown_what_others_need(clone, shared, tmp_path):
    before = objects(shared)
    small_repo.git(tmp_path, "clone", "-q", "origin.git", "other")
    small_repo.git(tmp_path / "other", "checkout", "-q", "-b", "theirs")
    small_repo.git(tmp_path / "other", "commit", "-q", "--allow-empty", "-m", "theirs")
    small_repo.git(tmp_path / "other", "push", "-q", "origin", "theirs")
    done = cleanup(clone, "--remote", "--yes")
    assert done.returncode == 1
    assert "origin has refs/heads/theirs, unknown here" in done.stdout
    assert "git fetch origin --tags" in done.stdout

    (tmp_path / "origin.git").rename(tmp_path / "gone.git")
    done = cleanup(clone, "--remote", "--yes")
    assert done.returncode == 1
    assert "git ls-remote failed" in done.stdout

    small_repo.git(clone, "remote", "remove", "origin")
    done = cleanup(clone, "--remote", "--yes")
    assert done.returncode == 1
    assert "no git remote to ask" in done.stdout
    assert objects(shared) == before
    assert len(revisions.experiments(clone)) == 3


@pytest.mark.slow
def test_a_listing_that_is_nowhere_stops_the_cleaning_of_the_remote_storage(clone, shared):
    md5 = revisions.find("HEAD", clone).md5("models/detector")
    for store in (clone / ".dvc/cache", shared):
        (store / "files/md5" / md5[:2] / md5[2:]).unlink()
    before = objects(shared)
    done = cleanup(clone, "--remote", "--yes")
    assert done.returncode == 1
    assert "what is needed cannot be told, so no data was removed" in done.stdout
    assert objects(shared) == before
