"""What the tooling takes when there is nothing to compute: commands that have nothing to do, imports, help, uploads.

    python benchmarks/overheads.py                    commands, and what a second trial uploads
    python benchmarks/overheads.py --no-upload        commands alone
    python benchmarks/overheads.py --repro            and `make repro` of a clean clone, cold and warm

- *Commands* run in the workspace where this is started, in turns: `dvc repro` and `dvc status` where everything is up
  to date (it refuses where it is not), each scripts/*.py with --help and, without running it, its imports; Python alone
  and `import tensorflow` are the floor of everything and of the stages that compute.
- *Upload*: a clone of HEAD in a temporary folder, with a folder as its remote, gets what HEAD has from the workspace's
  cache and pushes it; then it trains one epoch (another trial of a sweep: the same data, other weights) and pushes
  again. What came into the remote is counted, as objects and as bytes.
- *make repro*: a clean clone of HEAD with an empty DVC cache, from nothing (the packages are in uv's cache, if they are
  in it here); then again with nothing to do.

One minute for the commands, two more for the upload with the sample; --repro takes as long as `make repro` twice.
Writes results/benchmarks/overheads.json.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import measure
from measure import ROOT, Row

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import git, processes, stage
from plantdoc.core.errors import UserError
from plantdoc.repo import commands

REPRO, HELP = 4.0, 1.0  # s, at most
IMPORTED = ", imported"
TRIAL = ["train.epochs=1", "train.plain_epochs=0", "train.warmup_epochs=0.5"]


def main() -> None:
    arguments = parse()
    processes.end_on_terminate()  # what it has started ends with it
    if (changed := commands.dvc("status", "--json")) != "{}":
        raise UserError(f"not everything here is up to date, so `dvc repro` would compute: run it first ({changed})")
    sides = {name: functools.partial(timed, command, Path.cwd()) for name, command in programs().items()}
    rounds = measure.in_turns(sides, arguments.rounds)
    took = {name: measure.medians(found)["seconds"] for name, found in rounds.items()}
    rows = [line(name, took[name], took.get(f"{name}{IMPORTED}")) for name in took if not name.endswith(IMPORTED)]
    slowest = max((name for name in took if name.endswith("--help")), key=took.get)
    targets = [
        measure.target("s, dvc repro with nothing to do", took["dvc repro"], at_most=REPRO),
        measure.target(f"s, the slowest --help ({slowest})", took[slowest], at_most=HELP),
    ]
    if arguments.upload:
        rows += uploads()
    if arguments.repro:
        rows += repro()
    measure.write("overheads", rows, targets, rounds=rounds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--upload",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether a second trial is made and pushed to see what it uploads (it is)",
    )
    parser.add_argument("--repro", action="store_true", help="also `make repro` in a clean clone, from nothing")
    return parser.parse_args()


def programs() -> dict[str, list[str]]:
    """What is timed: its name, and the command line."""
    python = sys.executable
    found = {
        "python alone": [python, "-c", "pass"],
        "import tensorflow": [python, "-c", "import tensorflow"],
        "dvc status": [python, "-m", "dvc", "status"],
        "dvc repro": [python, "-m", "dvc", "repro"],
    }
    for path in sorted(ROOT.glob("scripts/*.py")):
        name = path.relative_to(ROOT).as_posix()
        found[f"{name} --help{IMPORTED}"] = [
            python, "-c", f"import runpy; runpy.run_path({str(path)!r}, run_name='imported')",
        ]  # fmt: skip
        found[f"{name} --help"] = [python, str(path), "--help"]
    return found


def line(what: str, seconds: float, imports: float | None = None, new: dict[str, int] | None = None) -> Row:
    """A row of the table; `new` are objects that came into a remote, with their bytes."""
    counted = (None, None) if new is None else (len(new), sum(new.values()))
    return {"what": what, "seconds": seconds, "imports alone, s": imports, "objects": counted[0], "bytes": counted[1]}


def timed(command: list[str], folder: Path) -> Row:
    """Seconds that a command takes, from start to end.

    Raises:
        UserError: it failed.
    """
    quiet = {"DVC_NO_ANALYTICS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "WANDB_MODE": "disabled"}
    quiet["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # stages run the `python` there
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ | quiet, capture_output=True, text=True, errors="replace")
    seconds = time.perf_counter() - started
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-1500:]}")
    return {"seconds": seconds}


def uploads() -> list[Row]:
    """What `dvc push` brings into an empty remote: of HEAD, of a second trial, and with nothing new."""
    with clone() as folder:
        remote, cache = folder.parent / "remote", commands.dvc("cache", "dir")
        commands.dvc("remote", "add", "--local", "--default", "benchmark", str(remote), root=folder)
        commands.dvc("remote", "add", "--local", "workspace", cache, root=folder)  # a cache is laid out like a remote
        commands.dvc("pull", "--remote", "workspace", root=folder)
        found, before = [], objects_in(remote)
        for what in ("of HEAD, to an empty remote", "of a second trial (train.epochs=1)", "with nothing new"):
            if what.startswith("of a second"):
                print("training the second trial", file=sys.stderr)
                settings = [word for change in TRIAL for word in ("--set-param", change)]
                timed([sys.executable, "-m", "dvc", "exp", "run", *settings], folder)
            seconds = timed([sys.executable, "-m", "dvc", "push"], folder)["seconds"]
            after = objects_in(remote)
            new = {name: size for name, size in after.items() if name not in before}
            found.append(line(f"dvc push {what}", seconds, new=new))
            before = after
        return found


def repro() -> list[Row]:
    """Seconds of `make repro` in a clean clone: the environment, the five stages, and again."""
    made = {
        "make setup, packages in uv's cache": ["make", "setup"],
        "make repro, clean clone, empty cache": ["make", "repro"],
        "make repro, nothing to do": ["make", "repro"],
    }
    with clone() as folder:
        return [line(name, timed(command, folder)["seconds"]) for name, command in made.items()]


def objects_in(folder: Path) -> dict[str, int]:
    """The objects in a folder remote, and their bytes."""
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def clone() -> Iterator[Path]:
    """A clean clone of HEAD of this repository, in a temporary folder."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch) / "clone"
        git.text("clone", "--quiet", str(Path.cwd()), str(folder))
        yield folder


if __name__ == "__main__":
    stage.run(main)
