"""Environments of their own, for what is not in requirements.txt."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plantdoc import hashing

BIN = Path(sys.executable).parent


def python(config: pytest.Config, name: str, lock: Path) -> Path:
    """The Python of an environment with a lock's packages, kept between runs for as long as the lock is."""
    place = config.cache.mkdir(name) / hashing.of_file(lock)[:12]
    if not (place / "done").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([BIN / "uv", "venv", "--quiet", "--python", sys.executable, place], check=True)
        install = [BIN / "uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--python", place]
        subprocess.run([*install, "-r", lock], check=True)
        (place / "done").touch()
    return place / "bin/python"
