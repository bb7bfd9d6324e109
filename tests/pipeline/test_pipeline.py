"""The main job: `dvc repro` from a clean clone, all five stages."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import external_programs
import pytest
import small_repo
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A miniature after `dvc repro`, committed."""
    return small_repo.finished(tmp_path_factory.mktemp("pipeline") / "repository")


def stages_run(output: str) -> list[str]:
    """The stages that a `dvc` command ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


@pytest.mark.slow(80)
def test_leaves_what_the_readme_names(repository):
    for name in (
        "results/fetch/report.md",
        "results/fetch/report.json",
        "results/fetch/pictures/test.jpg",
        "data/tfrecords/meta.json",
        "models/detector/detector.weights.h5",
        "results/train/metrics.json",
        "results/evaluate/metrics.json",
        "results/evaluate/predictions.json",
        "results/deploy/check.json",
        "results/deploy/behaviour.json",
        "models/bundle/model.tar.gz",
        "results/cost.json",
    ):
        assert (repository / name).is_file(), name
    assert list((repository / "results/evaluate/pictures").glob("*.jpg"))
    with tarfile.open(repository / "models/bundle/model.tar.gz") as bundle:
        names = bundle.getnames()
    assert {"1/saved_model.pb", "labels.json", "README.md"} <= set(names)


def test_the_sample_says_that_it_is_drawn(repository):
    assert json.loads((repository / "data/raw/source.json").read_text())["note"] == "drawn, not photographed"
    assert "**Drawn, not photographed.**" in (repository / "results/fetch/report.md").read_text()


def test_costs_stay_out_of_the_lock(repository):
    lock = YAML(typ="safe").load(repository / "dvc.lock")
    assert list(lock["stages"]) == ["fetch", "augment", "train", "evaluate", "deploy"]
    assert "cost.json" not in (repository / "dvc.lock").read_text()
    costs = json.loads((repository / "results/cost.json").read_text())
    assert set(costs) == set(lock["stages"])
    assert all(len(figures["output"]) == 64 for figures in costs.values())


def test_a_second_repro_does_nothing(repository):
    done = small_repo.run(repository, "dvc", "repro")
    assert stages_run(done.stdout) == []
    assert "Data and pipelines are up to date" in done.stdout
    assert small_repo.git(repository, "status", "--porcelain") == ""


@pytest.mark.full(50)
def test_another_clean_clone_on_one_core_gives_the_same_lock(repository, tmp_path):
    pinned = [external_programs.program("taskset"), "-c", str(min(os.sched_getaffinity(0)))]
    clone = tmp_path / "clone"
    small_repo.git(tmp_path, "clone", "-q", str(repository), str(clone))
    (clone / "dvc.lock").unlink()
    done = small_repo.run(clone, *pinned, "dvc", "repro")
    assert stages_run(done.stdout) == ["fetch", "augment", "train", "evaluate", "deploy"]
    assert (clone / "dvc.lock").read_text() == (repository / "dvc.lock").read_text()
    assert set(small_repo.git(clone, "status", "--porcelain").split()) <= {"M", "results/cost.json"}


def test_another_learning_rate_leaves_fetch_and_augment_alone(repository, tmp_path):
    clone = Path(shutil.copytree(repository, tmp_path / "clone", symlinks=True))
    small_repo.set_params(clone, lr=0.2)
    # What follows depends on what train makes, which a dry run does not know.
    assert stages_run(small_repo.run(clone, "dvc", "repro", "--dry").stdout) == ["train"]


@pytest.mark.full(50)
def test_another_learning_rate_runs_train_evaluate_and_deploy_alone(repository, tmp_path):
    clone = Path(shutil.copytree(repository, tmp_path / "clone", symlinks=True))
    # One epoch, and the stages after it are only announced, since they do the same for any lr.
    changes = ("-S", "lr=2e-1", "-S", "train.epochs=1")
    done = small_repo.run(clone, "dvc", "exp", "run", "-n", "faster", *changes, "train")
    assert stages_run(done.stdout) == ["train"]
    made_from = json.loads((clone / "models/detector/config.json").read_text())["made_from"]
    assert made_from["lr"] == 0.2
    assert stages_run(small_repo.run(clone, "dvc", "repro", "--dry").stdout) == ["evaluate", "deploy"]
    shown = json.loads(small_repo.run(clone, "dvc", "exp", "show", "--json").stdout)
    text = json.dumps(shown)
    assert "faster" in text and "val_map50" in text and "pictures_per_second" in text


def test_the_number_of_workers_changes_nothing(repository, tmp_path):
    clone = Path(shutil.copytree(repository, tmp_path / "clone", symlinks=True))
    small_repo.set_params(clone, runner__augment_workers=2)
    assert stages_run(small_repo.run(clone, "dvc", "repro", "--dry").stdout) == []


def test_plots_show_draws_every_plot(repository, tmp_path):
    clone = Path(shutil.copytree(repository, tmp_path / "clone", symlinks=True))
    small_repo.run(clone, "dvc", "plots", "show", "-o", "page")
    page = (clone / "page/index.html").read_text()
    for title in ("Training loss: box", "Val mAP@50", "Learning rate", "Precision and recall", "Confusion", "AP@50"):
        assert title in page, title


@pytest.mark.full(100)
def test_real_pictures_go_through_all_stages(plantdoc_folder, tmp_path):
    folder = small_repo.make(
        tmp_path / "repository",
        fetch__source=str(plantdoc_folder),
        fetch__limit=60,
        train__epochs=1,
        train__plain_epochs=0,
        augment__size=64,
    )
    small_repo.run(folder, "dvc", "repro")
    metrics = json.loads((folder / "results/evaluate/metrics.json").read_text())
    assert metrics["pictures"] > 0 and metrics["boxes"] > metrics["pictures"]
