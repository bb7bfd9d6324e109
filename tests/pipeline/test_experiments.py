"""DVC's own experiments work on this pipeline as DVC documents them."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import fake_repo
import pytest
import small_repo

from plantdoc.repo import revisions


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return fake_repo.finished(tmp_path_factory.mktemp("experiments") / "repository")


@pytest.fixture
def repository(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "repository", symlinks=True)


def test_exp_run_sets_a_number_in_scientific_form(repository, tmp_path):
    with open(repository / "src/train.py", "a") as file:
        file.write("from plantdoc.core import params as ours; from plantdoc.train import train_params as of\n")
        file.write(f"Path({str(tmp_path / 'seen')!r}).write_text(repr(ours.load(of.Params).lr))\n")
    small_repo.run(repository, "dvc", "exp", "run", "-n", "small", "-S", "lr=1e-5")
    assert (tmp_path / "seen").read_text() == "1e-05"
    made_from = json.loads((repository / "models/detector/config.json").read_text())["made_from"]
    assert made_from["lr"] == 1e-05
    assert revisions.find("small", repository).params["lr"] == 1e-05


@pytest.mark.full
def test_a_number_in_scientific_form_is_one_in_a_copy_of_the_tree_too(repository, tmp_path):
    with open(repository / "src/train.py", "a") as file:
        file.write("from plantdoc.core import params as ours; from plantdoc.train import train_params as of\n")
        file.write(f"Path({str(tmp_path / 'seen')!r}).write_text(repr(ours.load(of.Params).lr) + ' ' + os.getcwd())\n")
    small_repo.run(repository, "dvc", "exp", "run", "--temp", "-n", "small", "-S", "lr=1e-5")
    number, folder = (tmp_path / "seen").read_text().split()
    assert number == "1e-05" and Path(folder).is_relative_to(repository / ".dvc/tmp/exps")
    assert revisions.find("small", repository).params["lr"] == 1e-05
    assert revisions.find(root=repository).params["lr"] == 0.1


@pytest.mark.full
def test_the_queue_runs_every_value_and_shares_fetch_and_augment(repository, tmp_path):
    log = tmp_path / "log"
    queued = small_repo.run(repository, "dvc", "exp", "run", "--queue", "-S", "lr=0.05,0.1,0.2")
    assert queued.stdout.count("Queued experiment") == 3
    small_repo.run(repository, "dvc", "queue", "start", "-j", "2", TINY_LOG=str(log))
    try:
        deadline = time.monotonic() + 300
        while len(revisions.experiments(repository)) < 3 and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        small_repo.run(repository, "dvc", "queue", "stop", "--kill")
    rates = {each.params["lr"]: each.metrics["train:val_map50"] for each in revisions.experiments(repository)}
    assert rates == {0.05: 0.479588, 0.1: 0.539794, 0.2: 0.6}
    ran = [line.split()[0] for line in log.read_text().splitlines()]
    assert "fetch" not in ran and "augment" not in ran
    assert ran.count("train") == 2  # lr = 0.1 is that of the commit
    assert revisions.find(root=repository).params["lr"] == 0.1
