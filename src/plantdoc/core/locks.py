"""The locks (requirements*.txt): which of them says what a training ran on, and whether that is what is installed."""

from __future__ import annotations

from pathlib import Path

# A part of requirements.txt: what can change a model, without what cannot (linters, tests, servers).
TRAIN = "requirements-train.txt"
# What CUDA adds to it, where a GPU trains.
GPU = "requirements-gpu.txt"


def of_training(gpu: bool) -> tuple[str, ...]:
    """The locks that say what a training runs on, on a GPU or on none, wherever it runs."""
    return (TRAIN, GPU) if gpu else (TRAIN,)


def differences(lock: Path | str) -> list[str]:
    """Differences between the installed packages and a lock, one line for each package."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    found = []
    for line in Path(lock).read_text(encoding="utf-8").splitlines():
        if not line or line.startswith((" ", "#", "-")):
            continue
        wanted = Requirement(line.rstrip(" \\"))
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            installed = version(wanted.name)
        except PackageNotFoundError:
            installed = "missing"
        if installed == "missing" or installed not in wanted.specifier:
            found.append(f"{wanted.name} is {installed}, not {str(wanted.specifier).removeprefix('==')}")
    return found
