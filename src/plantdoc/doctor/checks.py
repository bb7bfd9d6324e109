"""Checks of what a job needs on this machine. A check returns what it found, or raises a UserError with the remedy.

Nothing but the standard library is imported before a check runs: in a broken environment the others still say theirs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from plantdoc.core.errors import UserError

BASE = "requirements.txt"
DISK = 6e9  # bytes: the pictures of PlantDoc, their records, models and DVC's cache of all of these, with room to spare
PATIENCE = 10.0  # seconds for a program to answer


def python(job: str) -> str:
    """The Python that runs this is one that the lock is made for."""
    version = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11, 4) <= sys.version_info[:3] < (3, 14):
        raise UserError(f"{version}, but 3.11.4 to 3.13 is needed: `make setup PYTHON=/path/to/python3.12`")
    return f"{version}, {sys.executable}"


def environment(job: str) -> str:
    """Check the installed packages against the locks: requirements.txt, and what make has installed on top of it."""
    from plantdoc.core import locks

    if not Path(BASE).is_file():
        raise UserError(f"{BASE} is not there: restore it with `git checkout {BASE}`")
    recorded = sorted(path.name for path in Path(sys.prefix, "installed").glob("*.txt") if Path(path.name).is_file())
    names = list(dict.fromkeys([BASE, *recorded]))
    for lock in names:
        if differing := locks.differences(lock):
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            ours = Path(sys.prefix).resolve() == Path(".venv").resolve()
            remedy = f"make clean setup{' GPU=1' * (locks.GPU in names)}" if ours else f"pip install -r {lock}"
            raise UserError(f"not as {lock} says: {', '.join(differing[:3])}{more}: `{remedy}`")
    on_top = f", with {' and '.join(names[1:])} on top" if names[1:] else ""
    return f"as {BASE} says{on_top}"


def git(job: str) -> str:
    """This is a git repository with a commit; what is unusual about it is told."""
    from plantdoc.core.git import text
    from plantdoc.repo import commands

    commands.repository()
    commands.identity()
    lines = text("status", "--porcelain=v2", "--branch", "--untracked-files=no", timeout=PATIENCE).splitlines()
    about = dict(line.removeprefix("# branch.").split(" ", 1) for line in lines if line.startswith("# branch."))
    changed = sum(not line.startswith("#") for line in lines)
    if about["oid"] == "(initial)":
        raise UserError('no commit yet, and DVC and its experiments need one: `git add -A && git commit -m "first"`')
    if unmerged := [line.split(" ", 10)[10] for line in lines if line.startswith("u ")]:
        raise UserError(
            f"merge conflicts in {', '.join(unmerged)}: mend them and commit; after an update of this repository, the "
            "steps are in CHANGELOG.md"
        )
    found = [f"commit {about['oid'][:7]}"]
    if about["head"] == "(detached)":
        found.append("on no branch (`git switch BRANCH` before you commit)")
    else:
        found.append(f"on {about['head']}")
    if text("rev-parse", "--is-shallow-repository", timeout=PATIENCE) == "true":
        found.append("a shallow clone without the older commits (`git fetch --unshallow`)")
    if changed:
        found.append(f"{changed} changed file{'s' * (changed > 1)} not committed")
    if "origin" not in text("remote", timeout=PATIENCE).split():
        found.append("no origin (`git remote add origin URL` to share experiments and versions)")
    return ", ".join(found)


def code(job: str) -> str:
    """Folders that stages depend on hold no file that git does not track: DVC would count it, and no clone has it."""
    from plantdoc.core import stage_deps
    from plantdoc.core.params import read

    if not Path("dvc.yaml").is_file():
        return "no dvc.yaml: see DVC"
    listed = {dep for stage in read("dvc.yaml")["stages"].values() for dep in stage["deps"]}
    stage_deps.refuse_untracked(listed)
    return f"{len(stage_deps.files(listed))} files that stages depend on, none of them unknown to git"


def params(job: str) -> str:
    """params.yaml is valid, and no stage deletes the pictures that it names."""
    from plantdoc.core import params, workspace
    from plantdoc.fetch import source_place
    from plantdoc.settings import all_params

    values = params.load(all_params.Params)
    source_place.refuse_outputs(values.fetch.source, workspace.main_root())
    return f"params.yaml is valid: {values.model.family} on {values.fetch.source}, lr {values.lr:g}"


def dvc(job: str) -> str:
    """DVC knows this repository and its pipeline."""
    if missing := [name for name in (".dvc/config", "dvc.yaml") if not Path(name).is_file()]:
        lost = " ".join(missing)
        raise UserError(f"{lost} not found: run this from the root of a clone, or restore with `git checkout {lost}`")
    return "initialised" if Path("dvc.lock").is_file() else "initialised; the pipeline has not run yet (no dvc.lock)"


def disk(job: str) -> str:
    """There is room for data, models and cache."""
    free = shutil.disk_usage(".").free
    if free < DISK:
        raise UserError(
            f"{free / 1e9:.1f} GB free, about {DISK / 1e9:.0f} GB are needed: `make gc` removes what nothing needs"
        )
    return f"{free / 1e9:.0f} GB free, about {DISK / 1e9:.0f} GB are needed"


def gpu(job: str) -> str:
    """List the GPUs that train will use; none is no fault."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError:
        return "none: training runs on the CPU"
    except subprocess.TimeoutExpired:
        raise UserError(f"nvidia-smi gave no answer in {PATIENCE:.0f} s: restart the machine, or its driver") from None
    if done.returncode:
        raise UserError(f"nvidia-smi: {' '.join((done.stderr or done.stdout).split())}: mend the driver")
    return "; ".join(line.partition(" (UUID")[0] for line in done.stdout.splitlines())


def wandb(job: str) -> str:
    """Whether train logs to Weights & Biases; not to is no fault."""
    from plantdoc.tracking import wandb_run

    mode = os.environ.get("WANDB_MODE", "online")
    host = os.environ.get("WANDB_BASE_URL", wandb_run.HOST)
    if mode == "offline":
        return "offline: `wandb sync` sends it later"
    if mode == "disabled":
        return "off: WANDB_MODE is disabled"
    if not wandb_run.has_key(host):
        return "off: no key; WANDB_API_KEY or `wandb login` turns it on"
    return f"online, to {host}"
