"""One trial of a sweep: `dvc exp run` in a copy of the repository, told line by line, its experiment brought home."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from plantdoc import git
from plantdoc.errors import UserError
from plantdoc.sweep import grid, leash, machines
from plantdoc.sweep.snapshot import Snapshot

COPIES = Path(".dvc/tmp/exps/sweep")  # under .dvc/tmp/exps, so that plantdoc.workspace finds the main repository
LOGS = Path(".dvc/tmp/plantdoc/sweep")
_NO_REASON = ("ERROR: failed to reproduce", "Having any troubles?")
_RESTORED = "Stage 'train' is cached"


def run(
    name: str,
    trial: grid.Trial,
    start: Snapshot,
    launch: leash.Start,
    say: Callable[[str], None],
    machine: machines.Machine,
    show: Callable[[], None],
) -> str | None:
    """Run a trial from `start` as the experiment `name`; returns what went wrong, None when all went well.

    `say` gets a line for each stage and each epoch; all that DVC and the stages print is in `log`. Where the trial
    trains on EC2, `machine` hears of it, and `show` is called when that has something new to tell.
    """
    settings = [f"--set-param={key}={_quoted(value)}" for key, value in trial.items()]
    reason = "dvc ended without a word"
    log(start.root, name).parent.mkdir(parents=True, exist_ok=True)
    try:
        with start.copy(start.root / COPIES / name) as folder, open(log(start.root, name), "w") as file:
            process = launch(
                ["dvc", "exp", "run", "--name", name, *settings],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            for line in process.stdout:
                file.write(line)
                file.flush()
                line = line.strip()
                if machine.hear(line):
                    show()
                elif stage := re.match(r"Running stage '(.+)'", line):
                    say(stage[1])
                elif line.startswith(_RESTORED):
                    say("train: the run cache has it")
                elif re.match(r"epoch \d+: |ec2: ", line):
                    say(line)
                reason = latest(line, reason)
            if process.wait():
                return reason
            ref = f"refs/exps/{start.commit[:2]}/{start.commit[2:]}/{name}"
            git.text("fetch", "--quiet", "--no-tags", str(folder), f"{ref}:{ref}", root=start.root)
    except (UserError, OSError) as error:
        return str(error)
    return None


def latest(line: str, reason: str) -> str:
    """The reason of a failure after another line of the output.

    It is what a stage says last: DVC's own error after that only names the stage, and its footer is the same for all.
    """
    return line if line and not line.startswith(_NO_REASON) else reason


def log(root: Path, name: str) -> Path:
    """Where a trial's output is."""
    return root / LOGS / f"{name}.log"


def restored(root: Path, name: str) -> bool:
    """Whether the trial's model came from DVC's run cache, so that results/cost.json tells of another run."""
    path = log(root, name)
    return path.exists() and _RESTORED in path.read_text()


def _quoted(value: object) -> str:
    """A value as `--set-param` reads it; quotes let text hold any character."""
    if isinstance(value, list):
        return f"[{','.join(map(_quoted, value))}]"
    if not isinstance(value, str):
        return grid.text(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
