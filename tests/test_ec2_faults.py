"""Trainings on EC2 to which things happen, one at a time and then drawn: each ends with the bits of a quiet one.

    make test TESTS="-s tests/test_ec2_faults.py"      prints the table
    PLANTDOC_FAULTS=50 make test TESTS="-s tests/test_ec2_faults.py -k drawn"      50 draws, 13 minutes on two cores
    PLANTDOC_FAULTS=200 PLANTDOC_SEED=7 make test TESTS="-s tests/test_ec2_faults.py -k drawn"

After each: no machine is left and none outlived its deadline, there is one result, written once, and the outputs are
those of a training here; a command that failed on the way said why. A run that fails does so with its number and its
seed, and comes back with them as far as the clock lets it.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ec2_ordeal
import ec2_world
import light
import pytest
import s3_faults

pytestmark = pytest.mark.slow
COUNT, SEED = int(os.environ.get("PLANTDOC_FAULTS", 16)), int(os.environ.get("PLANTDOC_SEED", 1))
AT_ONCE = 4


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with ec2_world.running(tmp_path_factory.mktemp("world")) as world:
        world.aws.rules.lag = 0.5
        yield world


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    return light.prepared(tmp_path_factory.mktemp("origin") / "repository", "leaves")


@pytest.fixture(scope="module")
def expected(origin, tmp_path_factory) -> dict[str, str]:
    """The outputs of a training here."""
    return light.expected(origin, tmp_path_factory.mktemp("expected") / "clone")


@pytest.mark.parametrize("fault", ec2_ordeal.FAULTS)
def test_one_fault(world, origin, expected, tmp_path, fault):
    number = 1000 + list(ec2_ordeal.FAULTS).index(fault)
    story = ec2_ordeal.Ordeal(world, origin, tmp_path / "run", number, (fault,), SEED).run(expected)
    print("\n" + ec2_ordeal.table([story]), *story.errors, sep="\n")


def test_faults_as_they_are_drawn(world, origin, expected, tmp_path):
    draw = random.Random(SEED)
    kinds = list(ec2_ordeal.FAULTS)
    plan = [(tuple(draw.sample(kinds, draw.choice([1, 1, 2, 2, 3]))), draw.randrange(2**32)) for _ in range(COUNT)]

    wrong = []

    def live_through(number: int) -> ec2_ordeal.Story:
        faults, seed = plan[number]
        ordeal = ec2_ordeal.Ordeal(world, origin, tmp_path / f"{number}", number, faults, seed)
        try:
            return ordeal.run(expected)
        except Exception as error:
            wrong.append(f"run {number}, {' + '.join(faults)}, seed {seed}: {error}")
            return ordeal.story

    with ThreadPoolExecutor(AT_ONCE) as pool:
        text = ec2_ordeal.table(list(pool.map(live_through, range(COUNT))))
    (tmp_path / "faults.txt").write_text(text + "\n")
    print(f"\n{text}\n(also in {tmp_path / 'faults.txt'})")
    assert not wrong, "\n\n".join(wrong)
    world.settled()


def test_s3_that_is_gone_for_good(world, origin, expected, tmp_path):
    """A clear end here, no machine left; and when S3 is back the same command goes on from the last epoch."""
    hold = tmp_path / "hold"
    hold.touch()
    folder = light.copy(origin, tmp_path / "clone", runner__kind="ec2", runner__tags={"of": "gone"}, train__ema=0.5)
    with s3_faults.running(world.swift) as network:
        world.by_tag["gone"] = {"AWS_ENDPOINT_URL_S3": network.url, "LIGHT_HOLD": str(hold)}
        command = world.start(folder, "python", "src/train.py", network=network)
        world.wait(lambda: "epoch 3: box" in command.text)
        network.down()
        assert command.ended() == 1
        assert "S3 has not answered" in command.text and "Traceback" not in command.text
        world.settled()
        network.up()
        hold.unlink()
        world.run(folder, "python", "src/train.py", network=network)
    _, second = world.of("of", "gone")
    assert "going on after epoch" in world.log(second.tags["run"], 2)
    assert light.outputs(folder).items() - expected.items() == {
        ("models/detector/config.json", light.outputs(folder)["models/detector/config.json"])  # it says train.ema
    }
