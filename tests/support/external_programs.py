"""Programs and folders that some tests need and that no lock installs: skip without them, fail without them in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

GET = {
    "chromium": "`apt-get install chromium`, or Google Chrome",
    "curl": "`apt-get install curl`",
    "node": "install Node.js 20 or newer",
    "npm": "install Node.js 20 or newer, npm comes with it",
    "taskset": "`apt-get install util-linux`; Linux only",
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test with a reason that says how to get `what`; with CI=true, where all must be there, fail it."""
    reason = f"{what} is missing: {remedy}"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str) -> str:
    """The path of a program of `GET`, or skip the test."""
    candidates = CHROMIUM if name == "chromium" else (name,)
    return next(filter(None, map(shutil.which, candidates)), None) or missing(name, GET[name])
