"""Run a sweep: an experiment for every combination of some params' values, a few at a time.

    python scripts/sweep.py lr=0.05,0.1,0.2                                    three learning rates, one after another
    python scripts/sweep.py lr=0.05,0.1,0.2 train.epochs=10,20 --jobs 2        all six combinations, two at a time
    python scripts/sweep.py lr=0.01..0.5 train.epochs=10..30 --draws 8         eight random draws from ranges

Fetch and augment run first, once, in the workspace. Each trial is then an experiment of DVC's, named after what it sets
(`lr-0.05_train.epochs-10`), on top of the state in which the sweep began: edit what you like meanwhile. Run again, the
same command does what is missing: trials that are done stay, and a training that was cut short goes on from its last
epoch. A trial that fails is shown as failed and stops no other.

Ends with a table, best on val first, and a plot, in results/sweep/. A draw from a range of fractions is log-uniform.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc import guard, params, revisions, stage
from plantdoc.errors import UserError
from plantdoc.sweep import grid, leash, snapshot, standings, trial

RESULTS = Path("results/sweep")
PATIENCE = leash.GRACE + 5  # seconds in which the commands of a killed sweep are gone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("params", nargs="+", metavar="param=values", help="like lr=0.05,0.1, or lr=0.01..0.5")
    parser.add_argument("--jobs", type=int, default=1, help="how many trials run at a time (1)")
    parser.add_argument("--draws", type=int, help="how many random trials to draw, instead of all combinations")
    parser.add_argument("--seed", type=int, default=0, help="other draws for another whole number (0)")
    parser.add_argument("--most", type=int, default=100, help="refuse to run more trials than this (100)")
    arguments = parser.parse_args()
    guard.end_on_terminate()
    if arguments.jobs < 1:
        raise UserError(f"--jobs {arguments.jobs}: at least one trial runs at a time")
    root = Path.cwd()
    refuse_unready(root)
    trials = plan(arguments)
    with only_sweep(root) as lock:
        shutil.rmtree(root / trial.COPIES, ignore_errors=True)  # what a killed sweep has left
        prepare(list(trials[0]), lock)
        start = snapshot.take(root)
        tell_changes(start)
        named = {grid.name(settings, start.state()): settings for settings in trials}
        failed = run(named, start, arguments.jobs, lock)
        done = finished(named, start)
        ranking = [
            standings.Standing(
                name, settings, done.get(name), failed.get(name, "done"), timed=not trial.restored(root, name)
            )
            for name, settings in named.items()
        ]
        with stage.replacing(RESULTS) as folder:
            table = standings.write(folder, ranking)
    print(f"\n{table}\nThis is {RESULTS}/table.md; table.csv and plot.png are beside it")
    if failed:
        raise UserError(f"{len(failed)} of {len(named)} trials failed; their output is in {trial.LOGS}/NAME.log")


def refuse_unready(root: Path) -> None:
    """Stop where no experiment can run."""
    if not shutil.which("dvc"):
        raise UserError("dvc is not on PATH: activate the environment first, with `. .venv/bin/activate`")
    if not (root / ".git").exists():
        raise UserError(f"{root} is not the root of a git repository: experiments are kept in git")
    if not snapshot.git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False):
        raise UserError("this git repository has no commit yet: make one, for experiments start from a commit")
    if unmerged := snapshot.git(root, "diff", "--name-only", "--diff-filter=U").splitlines():
        raise UserError(f"there is a merge conflict in {', '.join(unmerged)}: resolve it and run this again")


def plan(arguments: argparse.Namespace) -> list[grid.Trial]:
    """The trials asked for, each of them checked."""
    base = params.read()
    params.check(base)
    choices = grid.parse(arguments.params)
    for key, values in choices.items():
        for value in [values.low, values.high] if isinstance(values, grid.Range) else values:
            grid.check({key: value}, base)
    order = list(revisions.find().params)
    choices = {key: choices[key] for key in sorted(choices, key=order.index)}  # so that equal trials get equal names
    if arguments.draws is None:
        trials = grid.combinations(choices, arguments.most)
    else:
        trials = grid.draws(choices, arguments.draws, arguments.seed, arguments.most)
    for settings in trials:
        grid.check(settings, base)
    return trials


@contextlib.contextmanager
def only_sweep(root: Path) -> Iterator[int]:
    """Hold the lock that one sweep has at a time; yields its file descriptor, for the commands to hold it too."""
    path = root / ".dvc/tmp/plantdoc/sweep.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + PATIENCE
    with open(path, "a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError("a sweep is under way here: wait for it, or end it with Ctrl-C") from None
                time.sleep(0.1)
        yield file.fileno()


def prepare(swept: list[str], lock: int) -> None:
    """Run the stages before train that all trials share, so that the trials find their outputs in the cache."""
    stages, shared = params.read("dvc.yaml")["stages"], None
    for name in ("fetch", "augment"):
        if own := [key for key in swept if any(f"{key}.".startswith(f"{of}.") for of in stages[name]["params"])]:
            print(f"{', '.join(own)} changes what {name} makes: each trial runs {name} for itself", flush=True)
            break
        shared = name
    if shared:
        with leash.hold(lock) as launch:
            if launch(["dvc", "repro", shared]).wait():
                raise UserError(f"dvc repro {shared} failed, as it says above: no trial was started")


def tell_changes(start: snapshot.Snapshot) -> None:
    """Say what the trials have that is in no commit, and what they lack."""
    if changes := [name for name in start.changes() if not name.startswith("results/")]:
        print(f"the trials start from the last commit and what is changed since: {shown(changes)}", flush=True)
    untracked = snapshot.git(start.root, "ls-files", "--others", "--exclude-standard").splitlines()
    if left_out := [name for name in untracked if not name.startswith("results/") and name != "dvc.lock"]:
        print(f"the trials lack files that git does not track: {shown(left_out)}", flush=True)


def shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def run(named: dict[str, grid.Trial], start: snapshot.Snapshot, jobs: int, lock: int) -> dict[str, str]:
    """Run the trials that have no experiment yet; returns by name why some failed."""
    done, failed = finished(named, start), {}
    for name in done:
        tell(name, "was done before")

    def one(name: str) -> tuple[str, str | None, float]:
        began = time.monotonic()
        tell(name, "started")
        reason = trial.run(name, named[name], start, launch, partial(tell, name))
        return name, reason, (time.monotonic() - began) / 60

    with ThreadPoolExecutor(jobs) as pool, leash.hold(lock) as launch:
        try:
            for future in as_completed([pool.submit(one, name) for name in named if name not in done]):
                name, reason, minutes = future.result()
                if reason:
                    failed[name] = f"failed: {reason}"
                    tell(name, f"failed: {reason} (all its output: {trial.LOGS}/{name}.log)")
                else:
                    score = standings.Standing(name, named[name], finished(named, start)[name], "done")
                    tell(name, f"done in {minutes:.1f} min: {score.line()}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def tell(name: str, line: str) -> None:
    print(f"{name}: {line}\n", end="", flush=True)  # in one piece: print's own line end can come after another's line


def finished(named: dict[str, grid.Trial], start: snapshot.Snapshot) -> dict[str, revisions.Revision]:
    """The experiments on the same commit that have the trials' names.

    Raises:
        UserError: one has such a name, but other params.
    """
    base = revisions.Revision(start.root, "start", start.tree).params
    found = {}
    for experiment in revisions.experiments(start.root):
        if experiment.base == start.commit and experiment.name in named:
            wanted = base | named[experiment.name]
            if other := sorted(key for key in wanted if experiment.params.get(key) != wanted[key]):
                raise UserError(
                    f"the experiment {experiment.name} has the name of a trial, but other params ({', '.join(other)}): "
                    f"rename it with `dvc exp rename {experiment.name} NEW`, or remove it with `dvc exp remove`"
                )
            found[experiment.name] = experiment
    return found


if __name__ == "__main__":
    stage.run(main)
