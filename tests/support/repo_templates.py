"""Repositories and bundles that several tests start from: built once per run of pytest, copied for each user."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

# Set by conftest.py: a folder that all workers of one run share.
STORE = "PLANTDOC_TEST_TEMPLATES"


def copy(name: str, build: Callable[[Path], object], folder: Path) -> Path:
    """Copy what `build` makes to `folder`, which must not be there or be empty; returns `folder`.

    Args:
        name: of the template. Equal names are built once per run, by the first worker that asks; the others wait.
        build: makes the template in the folder that it is given. A build that fails leaves nothing.
    """
    made = Path(os.environ[STORE], name)
    with FileLock(f"{made}.lock"):
        if not made.exists():
            partial = made.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            build(partial)
            partial.rename(made)
    shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)
    return folder
