"""A program in the place of Ultralytics', for tests of benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path


def put_yolo(folder: Path, program: str) -> None:
    """Make `program` (Python, from its first line on) what `yolo` is in the peers' environments below `folder`."""
    programs = folder / ".venv-peers/ultralytics/bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (programs / "yolo").write_text(program)
    (programs / "yolo").chmod(0o755)
