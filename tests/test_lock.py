"""The locks belong to what was chosen: `make lock` after a change of requirements.in."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

CONTAINER = "infra/container/requirements.in"
# Each lock and what it is made of.
INPUTS = {
    "requirements.txt": ["requirements.in"],
    "requirements-gpu.txt": ["requirements.in", "requirements-gpu.in"],
    "infra/container/requirements.txt": [CONTAINER],
    "requirements-serving.txt": [CONTAINER, "requirements-serving.in"],
    "requirements-beam.txt": ["requirements-beam.in"],
    "benchmarks/peers/tfrecorder.txt": ["benchmarks/peers/tfrecorder.in"],
    "benchmarks/peers/ultralytics.txt": ["benchmarks/peers/ultralytics.in"],
}
LOCKS = list(INPUTS)


def chosen(path) -> list[Requirement]:
    """The requirements a .in file names itself; lines with options (-r, -c) aside."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def pinned(path) -> dict[str, list[tuple[Requirement, int]]]:
    """A lock as name → (pinned requirement, number of hashes), one for each kind of machine it differs on."""
    pins: dict[str, list[tuple[Requirement, int]]] = {}
    for block in re.split(r"\n(?=\S)", path.read_text()):
        requirement = Requirement(block.partition("\\")[0].strip())
        pins.setdefault(normal(requirement.name), []).append((requirement, block.count("--hash=sha256:")))
    return pins


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is no pin"
    return specifier.version


def test_each_choice_has_its_reason(root):
    for name in {name for names in INPUTS.values() for name in names} - {"requirements-gpu.in"}:
        for line in (root / name).read_text().splitlines():
            if line and not line.startswith(("#", "-")):
                assert re.search(r"\s# \w", line), f"{name}: say why: {line}"


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_in_a_lock_is_pinned_with_hashes(root, lock):
    for requirements in pinned(root / lock).values():
        for requirement, hashes in requirements:
            assert version(requirement)
            assert hashes, f"{lock}: {requirement.name} has no hash"


@pytest.mark.parametrize("lock", LOCKS)
def test_what_was_chosen_is_in_the_lock_and_within_bounds(root, lock):
    pins = pinned(root / lock)
    for requirement in [each for name in INPUTS[lock] for each in chosen(root / name)]:
        found = pins.get(normal(requirement.name))
        assert found, f"{lock} is older than its input: it has no {requirement.name}; run `make lock`"
        for pin, _ in found:
            assert requirement.specifier.contains(version(pin), prereleases=True), (
                f"{lock} is older than its input: {pin} does not fit {requirement}; run `make lock`"
            )


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_is_in_the_lock_for_a_choice_that_is_gone(root, lock):
    names = {normal(each.name) for name in INPUTS[lock] for each in chosen(root / name)}
    for block in re.split(r"\n(?=\S)", (root / lock).read_text()):
        name = normal(Requirement(block.partition("\\")[0].strip()).name)
        if re.search(r"# +(via )?-r \S*\.in\b", block):
            assert name in names, f"{lock} is older than its input: nobody asks for {name} any more; run `make lock`"


def test_all_locks_hold_the_same_versions(root):
    def versions(lock: str) -> dict[str, set[tuple[str, str]]]:
        return {
            name: {(version(r), str(r.marker or "")) for r, _ in found} for name, found in pinned(root / lock).items()
        }

    cpu, gpu, beam = map(versions, ("requirements.txt", "requirements-gpu.txt", "requirements-beam.txt"))
    assert {name: gpu.get(name) for name in cpu} == cpu
    assert all(name.startswith("nvidia-") or name in cpu for name in gpu), sorted(set(gpu) - set(cpu))
    # Installed beside the first. A package may be wanted on other kinds of machines there.
    assert {name: {v for v, _ in beam[name]} for name in beam.keys() & cpu} == {
        name: {v for v, _ in cpu[name]} for name in beam.keys() & cpu
    }


def test_the_container_has_the_same_pillow(root):
    pins = [pinned(root / lock)["pillow"][0][0] for lock in LOCKS if "peers" not in lock]
    assert len({version(pin) for pin in pins}) == 1, "what is decoded here and there must be decoded alike"


def test_the_installer_is_in_the_lock(root):
    assert "uv" in pinned(root / "requirements.txt"), "make setup takes uv, with its hashes, from the lock"
