"""The real training on machines that are taken away, with an S3 that errs and a computer that dies: the same bits."""

from __future__ import annotations

import random
import time
from pathlib import Path

import ec2_world
import light
import miniature
import psutil
import pytest
import s3_faults

pytestmark = pytest.mark.slow
SEED = 5
REMOTE = "[core]\n    analytics = false\n    remote = storage\n['remote \"storage\"']\n    url = s3://leaves/dvc\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    # As slow as a real clock, nearly: this training takes a minute, and the notice comes two before the end.
    with ec2_world.running(tmp_path_factory.mktemp("world"), minute=20) as world:
        yield world


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A miniature with its data, committed."""
    # Types without a GPU: the real training would find none here, and refuse a run that is for one.
    folder = miniature.make(tmp_path_factory.mktemp("origin") / "repository", runner__instance_types=["t3.micro"])
    (folder / ".dvc/config").write_text(REMOTE)
    miniature.run(folder, "dvc", "repro", "augment")
    miniature.git(folder, "add", "-A")
    miniature.git(folder, "commit", "-q", "-m", "data")
    return folder


@pytest.fixture(scope="module")
def expected(origin, tmp_path_factory) -> dict[str, str]:
    """The outputs of an uninterrupted training here."""
    folder = light.copy(origin, tmp_path_factory.mktemp("expected") / "clone")
    miniature.run(folder, "dvc", "repro", "-s", "train")
    return light.outputs(folder)


@pytest.fixture
def network(world):
    """S3 as machines see it; S3 remembers no run of another test."""
    with s3_faults.running(world.swift) as network:
        client = world.swift.client()
        for key in world.swift.objects(world.bucket, "runs/"):
            client.delete_object(Bucket=world.bucket, Key=key)
        world.machines.machines.clear()
        network.since = len(world.swift.requests())
        world.by_tag["plant-disease-detector"] = {"AWS_ENDPOINT_URL_S3": network.url}
        yield network
        world.abandon()


@pytest.fixture
def draw() -> random.Random:
    return random.Random(SEED)


def first_epoch(world):
    """The machine that has finished an epoch, once it has told so."""

    def there():
        for run in world.runs():
            if world.store.has(f"{run}/checkpoint/last.npz"):
                return world.machines.alive()

    return world.wait(there, 600)[0]  # a busy machine augments, sends and traces first


def check(world, network, folder: Path, expected: dict[str, str], attempts: int) -> None:
    world.settled()
    (run,) = world.runs()
    assert light.outputs(folder) == expected
    assert (len(world.machines.instances()), world.results(run, network.since)) == (attempts, 1)
    logs = [key for key in world.store.keys(f"{run}/{attempts}/log/")]
    assert "train: going on after epoch" in b"".join(map(world.store.get, logs)).decode()


def test_a_whole_experiment_in_a_fresh_clone_whose_machine_is_taken_away(
    world, origin, expected, network, tmp_path, draw
):
    miniature.git(tmp_path, "clone", "-q", str(origin), "clone")
    folder = tmp_path / "clone"
    command = world.start(folder, "dvc", "exp", "run", "-S", "runner.kind=ec2")
    machine = first_epoch(world)
    time.sleep(draw.uniform(0, 2))
    world.machines.kill(machine.id)
    assert command.ended() == 0, command.text
    check(world, network, folder, expected, attempts=2)
    assert (folder / "models/bundle").is_dir()


def test_a_notice_and_an_s3_that_errs(world, origin, expected, network, tmp_path, draw):
    folder = light.copy(origin, tmp_path / "clone", runner__kind="ec2")
    with s3_faults.running(world.swift) as here:
        here.fail_some(draw, 0.05)
        network.fail_some(draw, 0.05)
        command = world.start(folder, "dvc", "repro", "-s", "train", network=here)
        machine = first_epoch(world)
        world.machines.spot_notice(machine.id)
        assert command.ended() == 0, command.text
        assert here.harmed or network.harmed
    assert machine.why == "shutdown", "it did not use its two minutes"
    check(world, network, folder, expected, attempts=2)


def test_a_computer_that_dies_and_a_training_that_is_killed(world, origin, expected, network, tmp_path, draw):
    folder = light.copy(origin, tmp_path / "clone", runner__kind="ec2")
    command = world.start(folder, "dvc", "repro", "-s", "train")
    machine = first_epoch(world)
    command.kill()
    below = psutil.Process(machine.process.pid).children(recursive=True)
    (training,) = [process for process in below if "src/train.py" in process.cmdline()]
    training.kill()
    said = world.run(folder, "dvc", "repro", "-s", "train", code=255)
    assert "the training was ended by SIGKILL" in said
    world.run(folder, "dvc", "repro", "-s", "train")
    check(world, network, folder, expected, attempts=2)
