"""Trainings on EC2 to which things happen, one at a time and then drawn: each ends with the bits of a quiet one.

    make test TESTS="-s tests/ec2/test_ec2_faults.py"  prints the table
    make test TESTS="-s --times 50 tests/ec2/test_ec2_faults.py -k drawn"  50 draws, a quarter of an hour on two cores

After each: no machine is left and none outlived its deadline, there is one result, written once, and the outputs are
those of a training here; a command that failed on the way said why. A run that fails does so with its number and its
seed, and comes back with them as far as the clock lets it.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ec2_faults
import fake_ec2_account
import fake_s3_network
import fake_training
import pytest

pytest_plugins = ["ec2_fixtures"]
BUCKET, SEED = "faulty-leaves", 1
AT_ONCE = 3


@pytest.fixture(scope="module")
def world(swift, tmp_path_factory):
    with fake_ec2_account.running(swift, tmp_path_factory.mktemp("world"), BUCKET) as world:
        world.aws.rules.lag = 0.5
        yield world


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    return fake_training.prepared(tmp_path_factory.mktemp("origin") / "repository", BUCKET)


@pytest.fixture(scope="module")
def expected(origin, tmp_path_factory) -> dict[str, str]:
    """The outputs of a training here."""
    return fake_training.expected(origin, tmp_path_factory.mktemp("expected") / "clone")


@pytest.fixture(scope="module")
def stories(request, world, origin, expected, tmp_path_factory):
    """What comes of each fault that this session tests. They mostly wait, so some are under way at once."""
    chosen = [
        item.callspec.params["fault"]
        for item in request.session.items
        if item.path == request.path and item.originalname == "test_one_fault"
    ]

    def live_through(fault: str) -> ec2_faults.Story:
        number = 1000 + list(ec2_faults.FAULTS).index(fault)
        folder = tmp_path_factory.mktemp("ordeal") / "run"
        return ec2_faults.FaultyRun(world, origin, folder, number, (fault,), SEED).run(expected)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {fault: pool.submit(live_through, fault) for fault in chosen}


@pytest.mark.full
@pytest.mark.parametrize("fault", list(ec2_faults.FAULTS))
def test_one_fault(stories, fault):
    story = stories[fault].result()
    print("\n" + ec2_faults.table([story]), *story.errors, sep="\n")
    assert story.outcome == "right"


@pytest.mark.full
@pytest.mark.large
def test_faults_as_they_are_drawn(world, origin, expected, tmp_path, times):
    draw = random.Random(SEED)
    kinds = list(ec2_faults.FAULTS)
    plan = [(tuple(draw.sample(kinds, draw.choice([3, 1, 1, 2, 2]))), draw.randrange(2**32)) for _ in range(times)]

    wrong = []

    def live_through(number: int) -> ec2_faults.Story:
        faults, seed = plan[number]
        ordeal = ec2_faults.FaultyRun(world, origin, tmp_path / f"{number}", number, faults, seed)
        try:
            return ordeal.run(expected)
        except Exception as error:
            wrong.append(f"run {number}, {' + '.join(faults)}, seed {seed}: {error}")
            return ordeal.story

    with ThreadPoolExecutor(AT_ONCE) as pool:
        text = ec2_faults.table(list(pool.map(live_through, range(times))))
    (tmp_path / "faults.txt").write_text(text + "\n")
    print(f"\n{text}\n(also in {tmp_path / 'faults.txt'})")
    assert not wrong, "\n\n".join(wrong)
    world.settled()


@pytest.mark.full
def test_s3_that_is_gone_for_good(world, origin, expected, tmp_path):
    """A clear end here, no machine left; and when S3 is back the same command continues from the last epoch."""
    hold = tmp_path / "hold"
    hold.touch()
    folder = fake_training.copy(
        origin, tmp_path / "clone", runner__kind="ec2", runner__tags={"of": "gone"}, train__ema=0.5
    )
    with fake_s3_network.running(world.swift) as network:
        world.by_tag["gone"] = {"AWS_ENDPOINT_URL_S3": network.url, "FAKE_HOLD": str(hold)}
        command = world.start(folder, "python", "src/train.py", network=network)
        world.wait(lambda: "epoch 2: box" in command.text)
        network.down()
        assert command.ended() == 1
        assert "S3 has not answered" in command.text and "Traceback" not in command.text
        world.settled()
        network.up()
        hold.unlink()
        world.run(folder, "python", "src/train.py", network=network)
    _, second = world.of("of", "gone")
    assert "continuing after epoch" in world.log(second.tags["run"], 2)
    assert fake_training.outputs(folder).items() - expected.items() == {
        (
            "models/detector/config.json",
            fake_training.outputs(folder)["models/detector/config.json"],
        )  # it says train.ema
    }
