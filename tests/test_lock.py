"""The locks belong to what was chosen: `make lock` after a change of requirements.in."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

LOCKS = ["requirements.txt", "requirements-gpu.txt"]


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
    for line in (root / "requirements.in").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.search(r"\s# \w", line), f"requirements.in: say why: {line}"


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_in_a_lock_is_pinned_with_hashes(root, lock):
    for requirements in pinned(root / lock).values():
        for requirement, hashes in requirements:
            assert version(requirement)
            assert hashes, f"{lock}: {requirement.name} has no hash"


@pytest.mark.parametrize("lock", LOCKS)
def test_what_was_chosen_is_in_the_lock_and_within_bounds(root, lock):
    pins = pinned(root / lock)
    wanted = chosen(root / "requirements.in") + chosen(root / lock.replace(".txt", ".in"))
    for requirement in wanted:
        found = pins.get(normal(requirement.name))
        assert found, f"{lock} is older than its input: it has no {requirement.name}; run `make lock`"
        for pin, _ in found:
            assert requirement.specifier.contains(version(pin), prereleases=True), (
                f"{lock} is older than its input: {pin} does not fit {requirement}; run `make lock`"
            )


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_is_in_the_lock_for_a_choice_that_is_gone(root, lock):
    names = {normal(r.name) for r in chosen(root / "requirements.in") + chosen(root / lock.replace(".txt", ".in"))}
    for block in re.split(r"\n(?=\S)", (root / lock).read_text()):
        name = normal(Requirement(block.partition("\\")[0].strip()).name)
        if "# via -r requirements" in block or re.search(r"#   -r requirements", block):
            assert name in names, f"{lock} is older than its input: nobody asks for {name} any more; run `make lock`"


def test_both_locks_hold_the_same_versions(root):
    def versions(lock: str) -> dict[str, set[tuple[str, str]]]:
        return {
            name: {(version(r), str(r.marker or "")) for r, _ in found} for name, found in pinned(root / lock).items()
        }

    cpu, gpu = versions("requirements.txt"), versions("requirements-gpu.txt")
    assert {name: gpu.get(name) for name in cpu} == cpu
    assert all(name.startswith("nvidia-") or name in cpu for name in gpu), sorted(set(gpu) - set(cpu))


def test_the_installer_is_in_the_lock(root):
    assert "uv" in pinned(root / "requirements.txt"), "make setup takes uv, with its hashes, from the lock"
