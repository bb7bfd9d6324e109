"""Checks of what a shell, a checkout and git's settings bring along from other projects. See plantdoc.doctor.checks."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from plantdoc.core import environment
from plantdoc.core.errors import UserError

# What a run writes to.
WRITTEN = (".", ".git", ".dvc", ".dvc/tmp", ".dvc/cache", "data", "models", "results")
IMPORTED = ("numpy", "PIL", "tensorflow", "keras", "keras_cv", "pycocotools", "dvc")
PATIENCE = 10.0  # seconds


def imports(job: str) -> str:
    """Check that Python imports this environment's own packages."""
    from plantdoc.core import foreign_packages

    if found := foreign_packages.foreign():
        raise UserError(foreign_packages.explained(found))
    strangers = {}
    for name in IMPORTED:
        found = importlib.util.find_spec(name)
        if found and found.origin and not Path(found.origin).is_relative_to(sys.prefix):
            strangers[name] = str(Path(found.origin).parent)
    if strangers:
        name, folder = next(iter(strangers.items()))
        raise UserError(
            f"{', '.join(strangers)} would be imported from {folder}, not from {sys.prefix}: use this project's own "
            "environment (`. .venv/bin/activate`), which `make setup` makes"
        )
    return f"from {sys.prefix}"


def shell(job: str) -> str:
    """List the variables and files of other projects that are ignored; they are no fault."""
    from plantdoc.core import entry
    from plantdoc.detector import tf_environment

    found = []
    # Set by the Makefile, which has taken them away.
    if by_make := sorted(environment.read().left_out.split()):
        found.append(f"make leaves out {', '.join(by_make)} (for commands without make: `unset {' '.join(by_make)}`)")
    if steering := tf_environment.found():
        found.append(f"kept from TensorFlow: {', '.join(steering)}")
    if dropped := entry.dropped:
        found.append(f"kept from git: {', '.join(dropped)}")
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "keras.json")
    if keras.is_file():
        found.append(f"{keras} is not read")
    encoding = sys.stdout.encoding or ""
    if encoding.lower().replace("-", "") != "utf8":
        found.append(f"output in {encoding}: other characters become `?` (`export LC_ALL=C.UTF-8`)")
    return "; ".join(found) or "nothing of other projects in its way"


def checkout(job: str) -> str:
    """This user can write what a run writes, and the files lie on the disk as git holds them."""
    locked = [path for path in WRITTEN if Path(path).exists() and not os.access(path, os.W_OK)]
    if locked:
        raise UserError(
            f"{', '.join(locked)} cannot be written by this user: work in a clone of your own (`git clone`), or have "
            "its owner make it writable"
        )
    if crlf := _with_crlf():
        more = f" and {len(crlf) - 3} more" if len(crlf) > 3 else ""
        raise UserError(
            f"{', '.join(crlf[:3])}{more}: lines end with CRLF on this disk, which DVC takes for a change and no shell "
            "runs: commit or stash what is yours, then `git rm -r -q --cached . && git reset -q --hard`"
        )
    return "can be written, and its files are as git holds them"


def _with_crlf() -> list[str]:
    """Tracked files that git holds with LF and that lie on the disk with CRLF."""
    from plantdoc.core import git

    done = git.run("ls-files", "--eol", timeout=PATIENCE)  # nothing where there is no repository
    lines = (line.split("\t", 1) for line in done.stdout.decode(errors="replace").splitlines())
    return [path for about, path in lines if about.startswith("i/lf") and ("w/crlf" in about or "w/mixed" in about)]
