"""The real training on machines that are taken away, with an S3 that errs and a computer that dies: the same bits."""

from __future__ import annotations

import random
from pathlib import Path

import child_processes
import fake_ec2_account
import fake_s3_network
import fake_training
import psutil
import pytest
import small_repo

pytest_plugins = ["ec2_fixtures"]
SEED = 5
BUCKET = "trained-leaves"
REMOTE = f"[core]\n    analytics = false\n    remote = storage\n['remote \"storage\"']\n    url = s3://{BUCKET}/dvc\n"


@pytest.fixture(scope="module")
def world(swift, tmp_path_factory):
    # As slow as a real clock: this training takes a minute, and the notice comes two before the end.
    with fake_ec2_account.running(swift, tmp_path_factory.mktemp("world"), BUCKET, minute=60) as world:
        yield world
        world.abandon()


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A miniature with its data, committed."""
    # Types without a GPU: the real training would find none here, and refuse a run that is for one.
    folder = small_repo.prepared(tmp_path_factory.mktemp("origin") / "repository", runner__instance_types=["t3.micro"])
    (folder / ".dvc/config").write_text(REMOTE)
    small_repo.git(folder, "commit", "-q", "-a", "-m", "a bucket")
    return folder


@pytest.fixture(scope="module")
def expected(origin, tmp_path_factory) -> dict[str, str]:
    """The outputs of an uninterrupted training here."""
    folder = fake_training.copy(origin, tmp_path_factory.mktemp("expected") / "clone")
    small_repo.run(folder, "dvc", "repro", "-s", "train")
    return fake_training.outputs(folder)


def training(machine) -> psutil.Process | None:
    """The machine's training, where it is under way."""
    return next(iter(child_processes.below(machine.process.pid, "src/train.py")), None)


@pytest.mark.full(200)
def test_an_experiment_in_a_fresh_clone_to_which_much_happens(world, origin, expected, tmp_path):
    """A notice, an S3 that errs, the death of the computer, the death of the training; then the whole experiment."""
    small_repo.git(tmp_path, "clone", "-q", str(origin), "clone")
    folder, draw = tmp_path / "clone", random.Random(SEED)
    small_repo.set_params(folder, runner__kind="ec2")
    with fake_s3_network.running(world.swift) as here, fake_s3_network.running(world.swift) as there:
        world.by_tag["plant-disease-detector"] = {"AWS_ENDPOINT_URL_S3": there.url}
        for network in (here, there):
            network.fail_some(draw, 0.05)
        command = world.start(folder, "dvc", "repro", "train", network=here)
        # This computer is slow and shared, and the first machine comes after fetch and augment.
        world.wait(lambda: any(world.store.has(f"{run}/checkpoint/last.npz") for run in world.runs()), 1200)
        (first,) = world.machines.instances()
        world.machines.spot_notice(first.id)
        world.wait(lambda: first.ended is not None, 600)
        assert first.why == "shutdown", "it did not use its two minutes"

        world.wait(lambda: len(world.machines.instances()) == 2, 600)
        second = world.machines.instances()[1]
        process = world.wait(lambda: training(second), 600)
        command.kill()
        process.kill()
        world.wait(lambda: second.ended is not None, 600)
        assert here.harmed and there.harmed
        said = world.run(folder, "dvc", "repro", "train", network=here, code=255)
        assert "the training was ended by SIGKILL" in said

        world.run(folder, "dvc", "exp", "run", network=here)
        world.settled()
    assert fake_training.outputs(folder) == expected
    assert (folder / "models/bundle").is_dir()
    (run,) = world.runs()
    assert (len(world.machines.instances()), world.results(run)) == (3, 1)
    assert "train: continuing after epoch" in world.log(run, 3)
