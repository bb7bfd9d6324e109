"""The train stage as a command: what it leaves, what happens when it is killed, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import child_processes
import psutil
import pytest
import small_repo

from plantdoc.core import hashing, params
from plantdoc.core.errors import UserError
from plantdoc.train import learner, progress, train_params

pytestmark = pytest.mark.slow(3)
EPOCHS = small_repo.SMALL["train.epochs"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A miniature repository, trained without a break."""
    return small_repo.finished(tmp_path_factory.mktemp("trained") / "repository")


@pytest.fixture
def untrained(trained, tmp_path) -> Path:
    """The same before its training: with what fetch and augment made."""
    folder = copy(trained, tmp_path / "repository")
    shutil.rmtree(folder / "models")
    shutil.rmtree(folder / "results/train")
    return folder


def copy(source: Path, target: Path) -> Path:
    """A copy of a repository with its cache and its outputs."""
    return Path(shutil.copytree(source, target, symlinks=True))


def outputs(folder: Path) -> dict[str, str]:
    """Hashes of all that the train stage leaves."""
    return {name: hashing.of_files([folder / name], folder) for name in ("models/detector", "results/train")}


def start(folder: Path) -> subprocess.Popen:
    """`dvc repro` of train, whatever the run cache has, in a process group of its own, as a terminal gives it."""
    return subprocess.Popen(
        ["dvc", "repro", "-f", "-s", "train"],
        cwd=folder,
        env=small_repo.environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def lines(process: subprocess.Popen) -> Iterator[str]:
    """What it prints, line by line; a progress bar's carriage returns count as line ends."""
    for chunk in process.stdout:
        yield from chunk.replace("\r", "\n").splitlines()


def wait_for(process: subprocess.Popen, text: str) -> list[str]:
    """Read until a line begins with `text`; returns what was read."""
    seen = []
    for line in lines(process):
        seen.append(line)
        if line.startswith(text):
            return seen
    pytest.fail(f"ended without printing {text!r}:\n" + "\n".join(seen[-30:]))


def stage_of(process: subprocess.Popen) -> psutil.Process:
    """The train stage that this dvc runs."""
    return child_processes.below(process.pid, "src/train.py")[-1]


def ctrl_c(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGINT)


def terminate_stage(process: subprocess.Popen) -> None:
    stage_of(process).terminate()


def kill_stage(process: subprocess.Popen) -> None:
    stage_of(process).kill()


def kill_dvc(process: subprocess.Popen) -> None:
    process.kill()


def train_until_ended(folder: Path, epoch: int, end: Callable[[subprocess.Popen], None]) -> None:
    """Start the training, end it as `end` does when it has finished `epoch`, and wait until all of it is gone."""
    process = start(folder)
    seen = wait_for(process, f"epoch {epoch}:")
    training = stage_of(process)
    if epoch > 1:
        assert any(f"continuing after epoch {epoch - 1} of" in line for line in seen), seen
    end(process)
    process.stdout.close()
    assert process.wait() != 0
    training.wait(timeout=120)


def test_leaves_a_detector_its_curves_and_its_figures(trained):
    config = json.loads((trained / "models/detector/config.json").read_text())
    assert len(config["classes"]) >= 6
    assert config["made_from"]["seed"] == 42
    assert set(config["made_from"]["data"]) == {"data/tfrecords"}
    figures = json.loads((trained / "results/train/metrics.json").read_text())
    assert figures["epochs"] == EPOCHS
    for curve in ("train/box", "train/class", "train/lr", "val/map", "val/map50"):
        rows = (trained / f"results/train/live/plots/metrics/{curve}.tsv").read_text().splitlines()
        assert rows[0].split("\t") == ["step", curve.split("/")[1]]
        assert len(rows) == 1 + EPOCHS
    assert not list((trained / ".dvc/tmp/plantdoc").glob("*/last.npz"))


def test_its_progress_is_in_a_file_that_nothing_depends_on(trained):
    now = progress.read(trained)
    figures = json.loads((trained / "results/train/metrics.json").read_text())
    assert (now.state, now.epoch, now.epochs, now.seconds_left) == ("done", EPOCHS, EPOCHS, 0.0)
    assert now.step == now.steps > 0
    assert (now.best_epoch, len(now.history)) == (figures["best_epoch"], EPOCHS)
    assert small_repo.git(trained, "status", "--porcelain") == ""
    assert "up to date" in small_repo.run(trained, "dvc", "status").stdout


def test_full_size_goes_on_with_what_half_size_has_learned(trained, monkeypatch, tf):
    monkeypatch.chdir(trained)
    made = learner.Learner(params.load(train_params.Params), {}, None, None)
    made.enter(half=True)
    assert made.trainer.detector.config.image_size == small_repo.SMALL["augment.size"] / 2
    learned = {name: array + 1 for name, array in made.state().items()}
    made.trainer.restore(learned)
    made.enter(half=False)
    assert made.trainer.detector.config.image_size == small_repo.SMALL["augment.size"]
    found = made.state()
    assert found.keys() == learned.keys() and all((found[name] == learned[name]).all() for name in found)


@pytest.mark.full(150)
def test_killed_in_every_way_it_goes_on_and_ends_with_the_same_bits(tmp_path):
    epochs = 5
    settings = {"train__epochs": epochs, "train__half_size": 0.4}
    whole = small_repo.prepared(tmp_path / "whole", **settings)
    small_repo.run(whole, "dvc", "repro", "train")
    folder = small_repo.prepared(tmp_path / "killed", **settings)
    for epoch, end in enumerate((ctrl_c, terminate_stage, kill_stage, kill_dvc), start=1):
        train_until_ended(folder, epoch, end)
    # After the last epoch, too: its outputs cannot be written while there is a file in their folder's place.
    obstacle = folder / "results/train"
    shutil.rmtree(obstacle, ignore_errors=True)
    obstacle.touch()
    assert small_repo.run(folder, "python", "src/train.py", check=False).returncode != 0
    obstacle.unlink()
    assert f"continuing after epoch {epochs} of {epochs}" in small_repo.run(folder, "dvc", "repro", "train").stdout
    assert outputs(folder) == outputs(whole)


@pytest.mark.full(40)
def test_a_second_start_of_the_same_training_is_refused(untrained):
    process = start(untrained)
    try:
        wait_for(process, "epoch 1:")
        stage_of(process).suspend()  # so that it is not done before the second one asks
        done = small_repo.run(untrained, "python", "src/train.py", check=False)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
    assert done.returncode == 1
    assert "already running in process" in done.stdout


@pytest.mark.full(60)
def test_starts_from_the_pretrained_mobilenet(untrained, root):
    weights = root.parent / "shared/weights/mobilenet_v2_1.0_imagenet_notop.weights.h5"
    if not weights.is_file():
        pytest.skip(f"pretrained weights are not at ../shared/weights: save Keras' MobileNetV2 as {weights.name} there")
    small_repo.set_params(
        untrained,
        model__backbone="mobilenet_v2",
        model__weights=str(weights),
        train__epochs=1,
        train__plain_epochs=0,
        train__backbone_lr=0.3,
    )
    done = small_repo.run(untrained, "python", "src/train.py")
    assert "260 of 260 tensors matched" in done.stdout
    config = json.loads((untrained / "models/detector/config.json").read_text())
    assert config["made_from"]["weights"] == hashing.of_file(weights)


@pytest.fixture
def main(monkeypatch, tf) -> Callable[[], None]:
    """The stage in this process, where signals stay as they are."""
    import train

    for name, value in small_repo.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("plantdoc.core.processes.end_on_terminate", lambda: None)
    return train.main


@pytest.mark.full(35)
def test_non_finite_loss_stops_and_keeps_the_last_model(trained, tmp_path, monkeypatch, main):
    folder = copy(trained, tmp_path / "repository")
    before = outputs(folder)
    small_repo.set_params(folder, lr=1e9)
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"(?s)the loss is not finite at step.*box = .*class = .*lower lr"):
        main()
    assert outputs(folder) == before


def test_a_repository_without_a_commit_is_refused_before_the_training(untrained, monkeypatch, main):
    shutil.rmtree(untrained / ".git")
    small_repo.git(untrained, "init", "-q")
    monkeypatch.chdir(untrained)
    with pytest.raises(UserError, match="has no commit yet"):
        main()
    assert not (untrained / "models").exists()


def test_freezing_random_layers_is_refused(untrained, monkeypatch, main):
    small_repo.set_params(untrained, train__frozen=0.5)
    monkeypatch.chdir(untrained)
    with pytest.raises(UserError, match="would freeze random layers"):
        main()


def test_pictures_that_cannot_be_halved_are_refused(untrained, monkeypatch, main):
    small_repo.set_params(untrained, train__half_size=0.4)
    meta = untrained / "data/tfrecords/meta.json"
    text = json.dumps(json.loads(meta.read_text()) | {"size": 96})
    meta.unlink()  # it may be a link into the cache
    meta.write_text(text)
    monkeypatch.chdir(untrained)
    with pytest.raises(UserError, match=r"train.half_size > 0.* 96 px"):
        main()
