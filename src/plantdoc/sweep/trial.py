"""One trial of a sweep: `dvc exp run` in a copy of the repository, watched by its files, and fetch the experiment."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from plantdoc.core import git
from plantdoc.core.errors import UserError
from plantdoc.sweep import child_processes, grid, remote_trials
from plantdoc.sweep.observer import Observer
from plantdoc.sweep.snapshot import Snapshot

COPIES = Path(".dvc/tmp/exps/sweep")  # under .dvc/tmp/exps, so that plantdoc.core.workspace finds the main repository
LOGS = Path(".dvc/tmp/plantdoc/sweep")
_NO_REASON = ("ERROR: failed to reproduce", "Having any troubles?")
_LOOK = 1.0  # seconds between two looks at what a trial does


def run(
    name: str,
    trial: grid.Trial,
    start: Snapshot,
    launch: child_processes.Start,
    say: Callable[[str], None],
    machine: remote_trials.RemoteTrial,
    show: Callable[[], None],
) -> str | None:
    """Run a trial from `start` as the experiment `name`; returns what went wrong, None when all went well.

    `say` gets a line for each stage that is done and each epoch; all that DVC and the stages print is in `log`. Where
    the trial trains on EC2, `machine` hears of it, and `show` is called when that has something new to tell.
    """
    settings = [f"--set-param={key}={_quoted(value)}" for key, value in trial.items()]
    log(start.root, name).parent.mkdir(parents=True, exist_ok=True)
    _mark(start.root, name).unlink(missing_ok=True)
    try:
        with start.copy(start.root / COPIES / name) as folder:
            seen = Observer(folder, machine, say, show)
            with open(log(start.root, name), "w") as file:
                command = ["dvc", "exp", "run", "--name", name, *settings]
                process = launch(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
                while not _ended(process):
                    seen.look()
            seen.look()
            if seen.restored:
                _mark(start.root, name).touch()
            if process.returncode:
                return reason(log(start.root, name).read_text(errors="replace"))
            ref = f"refs/exps/{start.commit[:2]}/{start.commit[2:]}/{name}"
            git.text("fetch", "--quiet", "--no-tags", str(folder), f"{ref}:{ref}", root=start.root)
    except (UserError, OSError) as error:
        return str(error)
    return None


def _ended(process: subprocess.Popen) -> bool:
    """Whether it has, within the time until the next look."""
    try:
        process.wait(_LOOK)
    except subprocess.TimeoutExpired:
        return False
    return True


def reason(output: str) -> str:
    """Reason of a trial's failure, from its output.

    It is what a stage says last: DVC's own error after that only names the stage, and its footer is the same for all.
    """
    lines = (line.strip() for line in reversed(output.splitlines()))
    return next((line for line in lines if line and not line.startswith(_NO_REASON)), "dvc ended without a word")


def log(root: Path, name: str) -> Path:
    """Path of a trial's log."""
    return root / LOGS / f"{name}.log"


def restored(root: Path, name: str) -> bool:
    """Whether the trial's model came from DVC's run cache, so that results/cost.json tells of another run."""
    return _mark(root, name).exists()


def _mark(root: Path, name: str) -> Path:
    """The file that is there where the run cache had the trial's training."""
    return root / LOGS / f"{name}.restored"


def _quoted(value: object) -> str:
    """A value as `--set-param` reads it; quotes let text hold any character."""
    if isinstance(value, list):
        return f"[{','.join(map(_quoted, value))}]"
    if not isinstance(value, str):
        return grid.text(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
