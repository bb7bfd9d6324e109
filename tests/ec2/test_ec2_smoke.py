"""The trial of the way to EC2, on stand-ins: it says what it cost and leaves nothing behind, however it ends."""

from __future__ import annotations

import fake_ec2_account
import fake_training
import pytest
from fake_ec2_rules import IMAGE_PARAMETER

pytest_plugins = ["ec2_fixtures"]
BUCKET = "smoke-leaves"
COMMAND = ("python", "scripts/ec2_smoke.py", "--image", IMAGE_PARAMETER, "--disk", "80")


@pytest.fixture(scope="module")
def world(swift, tmp_path_factory):
    # The machine ends itself after an hour: long enough on a busy computer.
    with fake_ec2_account.running(swift, tmp_path_factory.mktemp("world"), BUCKET, minute=10) as world:
        yield world


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    return fake_training.prepared(tmp_path_factory.mktemp("origin") / "repository", BUCKET)


def untouched(world, folder) -> bool:
    """Whether neither the bucket nor the clone shows that anything was tried."""
    return not world.swift.objects(BUCKET) and not world.run(folder, "git", "status", "--porcelain")


@pytest.mark.slow
def test_it_trains_on_a_small_machine_tells_the_price_and_removes_everything(world, origin, tmp_path):
    folder = fake_training.copy(origin, tmp_path / "clone")
    assert untouched(world, folder)
    said = world.run(folder, *COMMAND)
    (machine,) = world.machines.instances()
    assert "ec2: machine " in said and ": t3.large in us-east-1" in said
    told = said.splitlines()[-3:]
    assert "files are back; t3.large in us-east-1" in told[0] and " min, $0." in told[0]
    assert told[1] == "ec2_smoke: no machine and no file of it is left"
    world.settled()
    assert untouched(world, folder) and machine.tags["run"] in said


@pytest.mark.full
def test_interrupted_it_ends_the_machine_and_removes_everything_too(world, origin, tmp_path):
    folder = fake_training.copy(origin, tmp_path / "clone")
    before = len(world.machines.instances())
    command = world.start(folder, *COMMAND)
    world.wait(lambda: "epoch 1: " in command.text)
    command.interrupt()
    assert command.ended() == 130, command.text
    assert len(world.machines.instances()) == before + 1
    world.settled()
    assert untouched(world, folder)


@pytest.mark.full
def test_a_training_that_fails_is_told_and_leaves_nothing_either(world, origin, tmp_path):
    folder = fake_training.copy(origin, tmp_path / "clone")
    learner = folder / "src/plantdoc/train/learner.py"
    text = learner.read_text()
    assert text.count("        self.epoch = epoch + 1\n") == 1
    learner.write_text(text.replace("        self.epoch = epoch + 1\n", "        1 / 0\n"))
    said = world.run(folder, *COMMAND, code=1)
    assert "ec2_smoke: the training did not end well" in said.splitlines()[-1]
    world.settled()
    assert not world.swift.objects(BUCKET)
