"""A sweep with machines under way: what it shows of them, and that none outlives it, however it ends."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import fake_ec2_account
import fake_training
import pytest

pytest_plugins = ["ec2_fixtures"]
BUCKET = "swept-leaves"
SWEEP = ("python", "scripts/sweep.py", "runner.kind=ec2", "--jobs", "2")


@pytest.fixture(scope="module")
def world(swift, tmp_path_factory):
    with fake_ec2_account.running(swift, tmp_path_factory.mktemp("world"), BUCKET) as world:
        yield world


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    return fake_training.prepared(tmp_path_factory.mktemp("origin") / "repository", BUCKET)


def held(world, origin: Path, folder: Path, rates: tuple[str, ...]) -> fake_ec2_account.Command:
    """A sweep of which every machine has finished an epoch and does not finish its last."""
    fake_training.copy(
        origin, folder, runner__tags={"of": folder.parent.name}
    )  # not committed, and no part of a trial's name
    hold = folder.parent / "hold"
    hold.touch()
    world.by_tag[folder.parent.name] = {"FAKE_HOLD": str(hold)}
    command = world.start(folder, *SWEEP, f"lr={','.join(rates)}")
    shown = [f"lr-{rate}: g5.xlarge in us-east-1" for rate in rates]
    summary = r", spot, epoch [1-4]/4, val mAP@50 0\.\d{4}, \d+\.\d min, \$\d+\.\d\d$"
    world.wait(
        lambda: (
            command.process.poll() is not None
            or all(re.search(f"^{re.escape(start)}.{summary}", command.text, re.MULTILINE) for start in shown)
        ),
    )
    assert command.process.poll() is None, command.text
    return command


def of(world, path: Path) -> list:
    return [machine for machine in world.machines.instances() if machine.tags.get("of") == path.name]


@pytest.mark.full(40)
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="Ctrl-C"),
        pytest.param(signal.SIGKILL, id="kill -9"),
    ],
)
def test_interrupted_or_killed_it_leaves_no_machine(world, origin, tmp_path, number):
    rate = 0.7 + number / 100
    command = held(world, origin, tmp_path / "clone", (f"{rate:g}", f"{rate + 0.001:g}"))
    command.process.send_signal(number)  # not to its commands
    code = command.ended()
    if number == signal.SIGINT:
        assert code == 130
        assert command.text.count("its machine is being ended") == 2
        assert command.text.splitlines()[-1] == "sweep: interrupted"
    world.settled()
    machines = of(world, tmp_path)
    assert len(machines) == 2
    assert not results(world)

    if number == signal.SIGINT:
        return
    # The same again goes on from there, on machines of its own, with trials of the same names.
    (tmp_path / "hold").unlink()
    rates = f"lr={rate:g},{rate + 0.001:g}"
    said = world.run(tmp_path / "clone", *SWEEP, rates)
    world.settled()
    assert len(of(world, tmp_path)) == 4 and "| dollars |" in said
    assert said.count("3 files pushed") == 0, "the data is there already"
    for key in results(world):
        world.swift.client().delete_object(Bucket=BUCKET, Key=key)


def results(world) -> list[str]:
    return [key for key in world.swift.objects(BUCKET, "runs/") if key.endswith("/result.json")]
