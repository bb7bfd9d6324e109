"""The locks belong to what was chosen, by purpose: `make lock` after a change of a requirements*.in."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

CONTAINER = "infra/container/requirements.in"
# Each lock and what it is made of.
INPUTS = {
    "requirements.txt": ["requirements.in"],
    "requirements-train.txt": ["requirements-train.in"],
    "requirements-dev.txt": ["requirements-dev.in"],
    "requirements-gpu.txt": ["requirements-gpu.in"],
    "requirements-beam.txt": ["requirements-beam.in"],
    "infra/container/requirements.txt": [CONTAINER],
    "requirements-serving.txt": [CONTAINER, "requirements-serving.in"],
    "benchmarks/peers/tfrecorder.txt": ["benchmarks/peers/tfrecorder.in"],
    "benchmarks/peers/ultralytics.txt": ["benchmarks/peers/ultralytics.in"],
}
LOCKS = list(INPUTS)
BASE = "requirements.txt"
# What may be installed on top of it: these hold what they add, and nothing that stands in it.
ON_TOP = ("requirements-dev.txt", "requirements-gpu.txt", "requirements-beam.txt")
# What a user has to find in requirements.in.
NAMED = {"dvc", "dvc-s3", "tensorflow", "keras-cv", "pycocotools", "wandb", "boto3", "sagemaker", "pytest"}
# What a user never has to install; what else requirements-dev.in names, sagemaker may want as well.
NOT_A_USERS = {"ruff", "moto", "playwright", "hypothesis", "pytest-xdist", "swift", "cfn-lint", "zizmor"}
# A training does without what serves, tests, checks and installs.
NOT_TRAINING = {"sagemaker", "wandb", "fastapi", "uvicorn", "pytest", "ruff", "uv", "ipykernel", "matplotlib"}


def chosen(path) -> list[Requirement]:
    """The requirements a .in file names itself; lines with options (-r, -c) aside."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def pinned(path) -> dict[str, list[tuple[Requirement, int]]]:
    """A lock as name → (pinned requirement, number of hashes), one for each kind of machine it differs on."""
    pins: dict[str, list[tuple[Requirement, int]]] = {}
    for block in blocks(path):
        requirement = Requirement(block.partition("\\")[0].strip())
        pins.setdefault(normal(requirement.name), []).append((requirement, block.count("--hash=sha256:")))
    return pins


def blocks(path) -> list[str]:
    """The pins of a lock, each with its hashes and who asks for it."""
    return [block for block in re.split(r"\n(?=\S)", path.read_text()) if not block.startswith("#")]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is no pin"
    return specifier.version


def names(path) -> set[str]:
    return {normal(each.name) for each in chosen(path)}


def lines(path) -> dict[str, set[tuple[str, str]]]:
    """A lock as name → its versions, each with the kind of machine that it is for."""
    return {name: {(version(pin), str(pin.marker or "")) for pin, _ in found} for name, found in pinned(path).items()}


def test_each_choice_has_its_reason(root):
    for name in {name for names in INPUTS.values() for name in names}:
        for line in (root / name).read_text().splitlines():
            if line and not line.startswith(("#", "-")):
                assert re.search(r"\s# \w", line), f"{name}: say why: {line}"


def test_what_a_user_needs_is_chosen_by_name(root):
    assert names(root / "requirements.in") >= NAMED


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-train.txt"])
def test_a_lock_that_is_installed_alone_is_complete_by_itself(root, lock):
    assert not re.search(r"(?m)^-", (root / lock).read_text()), "pip would read another file"
    pins = pinned(root / lock)
    for name, found in pins.items():
        if not any(pin.marker is None or pin.marker.evaluate() for pin, _ in found):
            continue  # not for this kind of machine
        for wanted in map(Requirement, metadata.requires(name) or ()):
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                assert normal(wanted.name) in pins, f"{name} wants {wanted.name}, and {lock} has none"


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_in_a_lock_is_pinned_with_hashes(root, lock):
    for requirements in pinned(root / lock).values():
        for requirement, hashes in requirements:
            assert version(requirement)
            assert hashes, f"{lock}: {requirement.name} has no hash"


@pytest.mark.parametrize("lock", LOCKS)
def test_what_was_chosen_is_in_the_lock_and_within_bounds(root, lock):
    pins = pinned(root / lock)
    if lock in ON_TOP:
        pins = pinned(root / BASE) | pins
    for requirement in [each for name in INPUTS[lock] for each in chosen(root / name)]:
        found = pins.get(normal(requirement.name))
        assert found, f"{lock} is older than its input: it has no {requirement.name}; run `make lock`"
        for pin, _ in found:
            assert requirement.specifier.contains(version(pin), prereleases=True), (
                f"{lock} is older than its input: {pin} does not fit {requirement}; run `make lock`"
            )


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_is_in_the_lock_for_a_choice_that_is_gone(root, lock):
    asked = set().union(*(names(root / name) for name in INPUTS[lock]))
    for block in blocks(root / lock):
        name = normal(Requirement(block.partition("\\")[0].strip()).name)
        if re.search(r"# +(via )?-r \S*\.in\b", block):
            assert name in asked, f"{lock} is older than its input: nobody asks for {name} any more; run `make lock`"


def test_a_version_is_the_same_wherever_it_stands(root):
    seen: dict[str, set[str]] = {}
    for lock in (BASE, "requirements-train.txt", *ON_TOP):
        for name, found in lines(root / lock).items():
            versions = {version for version, _ in found}
            assert seen.setdefault(name, versions) == versions, f"{lock} has another {name}: run `make lock`"


def test_what_trains_is_a_part_of_what_a_user_has(root):
    base, train = lines(root / BASE), lines(root / "requirements-train.txt")
    assert train.keys() <= base.keys() and names(root / "requirements-train.in") <= names(root / "requirements.in")
    assert not NOT_TRAINING & train.keys()


@pytest.mark.parametrize("lock", ON_TOP)
def test_a_lock_on_top_holds_what_it_adds_alone(root, lock):
    base = lines(root / BASE)
    for name, found in lines(root / lock).items():
        # On more kinds of machines than there, perhaps.
        assert not found & base.get(name, set()), f"{name} stands in {BASE} already: run `make lock`"
    if lock == "requirements-gpu.txt":
        assert all(name.startswith("nvidia-") for name in pinned(root / lock))


def test_tests_and_linters_are_no_part_of_what_a_user_installs(root):
    assert names(root / "requirements-dev.in") >= NOT_A_USERS
    assert not NOT_A_USERS & pinned(root / BASE).keys()


def test_the_container_has_the_same_pillow(root):
    pins = [
        pinned(root / lock)["pillow"][0][0] for lock in LOCKS if "pillow" in pinned(root / lock) and "peers" not in lock
    ]
    assert len({version(pin) for pin in pins}) == 1, "what is decoded here and there must be decoded alike"


def test_a_package_of_the_container_is_one_wheel(root):
    """With more hashes, another index might give another wheel, and bundles differ: `make lock` leaves one."""
    for found in pinned(root / "infra/container/requirements.txt").values():
        assert [hashes for _, hashes in found] == [1]


def test_the_installer_is_in_the_lock(root):
    assert "uv" in pinned(root / "requirements.txt"), "make setup takes uv, with its hashes, from the lock"
