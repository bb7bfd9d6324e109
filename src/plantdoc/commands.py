"""git and dvc as a person would type them, with their failures as messages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from plantdoc.errors import UserError

# No question in the middle of a script: git and ssh fail instead.
_SILENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes", "DVC_NO_ANALYTICS": "1"}


def git(*words: str, root: Path | str = ".", timeout: float | None = None) -> str:
    """What a git command prints, without the last line's end.

    Raises:
        UserError: it failed, or took longer than `timeout` seconds; the text has what git said.
    """
    return _run(["git", *words], f"git {words[0]}", root, timeout)


def dvc(*words: str, root: Path | str = ".") -> str:
    """What a dvc command of this Python's environment prints; raises UserError with what dvc said."""
    return _run([sys.executable, "-m", "dvc", *words], f"dvc {words[0]}", root, None)


def _run(line: list[str], name: str, root: Path | str, timeout: float | None) -> str:
    try:
        done = subprocess.run(
            line, cwd=root, env=_SILENT | os.environ, capture_output=True, text=True, errors="replace", timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{name} gave no answer in {timeout:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        # A remote's URL may have a password in it.
        raise UserError(f"{name} failed: " + re.sub(r"://[^/@\s]+@", "://", said))
    return done.stdout.rstrip("\n")
