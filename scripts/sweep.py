"""Run a sweep: an experiment for every combination of some params' values, a few at a time.

    python scripts/sweep.py lr=0.05,0.1,0.2                                    three learning rates, one after another
    python scripts/sweep.py lr=0.05,0.1,0.2 train.epochs=10,20 --jobs 2        all six combinations, two at a time
    python scripts/sweep.py lr=0.01..0.5 train.epochs=10..30 --draws 8         eight random draws from ranges
    python scripts/sweep.py lr=0.05,0.1,0.2 runner.kind=ec2 --jobs 3 --max-dollars 10      on three machines on EC2

Fetch and augment run first, once, in the workspace. Each trial is then an experiment of DVC's, named after what it sets
(`lr-0.05_train.epochs-10`), on top of the state in which the sweep began: edit what you like meanwhile. Run again, the
same command does what is missing: trials that are done stay, and a training that was cut short goes on from its last
epoch. A trial that fails is shown as failed and stops no other. Where the trials train (`runner`) is no param of
theirs: it changes neither their names nor their results. Interrupted, a sweep ends all its machines.

Ends with a table, best on val first, and a plot, in results/sweep/. A draw from a range of fractions is log-uniform.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import git, params, processes, stage
from plantdoc.core.errors import UserError
from plantdoc.repo import commands, revisions
from plantdoc.settings import all_params
from plantdoc.sweep import child_processes, grid, results, runner_options, scheduler, snapshot, trial

RESULTS = Path("results/sweep")
PATIENCE = child_processes.GRACE + 5  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("params", nargs="+", metavar="param=values", help="like lr=0.05,0.1, or lr=0.01..0.5")
    parser.add_argument("--jobs", type=int, default=1, help="how many trials run at a time (1)")
    parser.add_argument("--draws", type=int, help="how many random trials to draw, instead of all combinations")
    parser.add_argument("--seed", type=int, default=0, help="other draws for another whole number (0)")
    parser.add_argument(
        "--max-dollars",
        type=float,
        help="start no more trials on EC2 once all of the sweep have cost this; those under way go on, each of them "
        "up to runner.max_dollars",
    )
    parser.add_argument("--most", type=int, default=100, help="refuse to run more trials than this (100)")
    arguments = parser.parse_intermixed_args()
    processes.end_on_terminate()
    if arguments.jobs < 1:
        raise UserError(f"--jobs {arguments.jobs}: at least one trial runs at a time")
    root = Path.cwd()
    refuse_unready(root)
    trials, where = plan(arguments)
    away = runner_options.on_ec2(where, base := params.read())
    if away:
        runner_options.refuse_unready(where, base)
    if arguments.max_dollars is not None and not (away and arguments.max_dollars > 0):
        raise UserError("--max-dollars takes dollars, more than 0, and is for trials on EC2 (runner.kind=ec2)")
    patience = PATIENCE + (runner_options.GRACE if away else 0)  # for the commands of a killed sweep to be gone
    with processes.only_one(root / ".dvc/tmp/plantdoc/sweep.lock", "a sweep", patience) as lock:
        shutil.rmtree(root / trial.COPIES, ignore_errors=True)  # what a killed sweep has left
        shared = prepare(list(trials[0]), lock)
        if away and shared == "augment":
            runner_options.send_data(lock)
        start = snapshot.take(root)
        tell_changes(start)
        named = {grid.name(settings, start.state()): settings for settings in trials}
        trials = scheduler.Scheduler(named, start, where, away, arguments.max_dollars)
        failed = trials.run(arguments.jobs, lock)
        with stage.replacing(RESULTS) as folder:
            table = results.write(folder, trials.trial_results(failed))
    print(f"\n{table}\nThis is {RESULTS}/table.md; table.csv and plot.png are beside it")
    waiting = [name for name, why in failed.items() if why.startswith(scheduler.NOT_STARTED)]
    if len(failed) > len(waiting):
        broken = len(failed) - len(waiting)
        raise UserError(f"{broken} of {len(named)} trials failed; their output is in {trial.LOGS}/NAME.log")
    if waiting:
        raise UserError(
            f"{len(waiting)} of {len(named)} trials were not started, as --max-dollars (MAX_DOLLARS=) is reached: the "
            "same command with more continues with them"
        )


def refuse_unready(root: Path) -> None:
    """Stop where no experiment can run."""
    if not shutil.which("dvc"):
        raise UserError("dvc is not on PATH: activate the environment first, with `. .venv/bin/activate`")
    commands.repository(root)
    if not git.text("rev-parse", "--verify", "--quiet", "HEAD", root=root, empty_code=1):
        raise UserError("this git repository has no commit yet: make one, for experiments start from a commit")
    commands.identity(root)
    if unmerged := git.text("diff", "--name-only", "--diff-filter=U", root=root).splitlines():
        raise UserError(f"there is a merge conflict in {', '.join(unmerged)}: resolve it and run this again")


def plan(arguments: argparse.Namespace) -> tuple[list[grid.Trial], grid.Trial]:
    """The trials asked for, and what is set of `runner` for all of them, each of them checked."""
    base = params.read()
    params.check(all_params.Params, base)
    axes, where = runner_options.apart(arguments.params, base)
    grid.check(where, base)
    if not axes:
        raise UserError(f"{' '.join(arguments.params)} says where trials run, but not what they try: add lr=0.05,0.1")
    choices = grid.parse(axes)
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
    return trials, where


def prepare(swept: list[str], lock: int) -> str | None:
    """Run the stages before train that all trials share, so that the trials find their outputs in the cache.

    Returns the last of these stages.
    """
    stages, shared = params.read("dvc.yaml")["stages"], None
    for name in ("fetch", "augment"):
        if own := [key for key in swept if any(f"{key}.".startswith(f"{of}.") for of in stages[name]["params"])]:
            print(f"{', '.join(own)} changes what {name} makes: each trial runs {name} for itself", flush=True)
            break
        shared = name
    if shared:
        with child_processes.hold(lock) as launch:
            if launch(["dvc", "repro", shared]).wait():
                raise UserError(f"dvc repro {shared} failed, as it says above: no trial was started")
    return shared


def tell_changes(start: snapshot.Snapshot) -> None:
    """Say what the trials have that is in no commit, and what they lack."""
    if changes := [name for name in start.changes() if not name.startswith("results/")]:
        print(f"the trials start from the last commit and what is changed since: {shown(changes)}", flush=True)
    untracked = git.text("ls-files", "--others", "--exclude-standard", root=start.root).splitlines()
    if left_out := [name for name in untracked if not name.startswith("results/") and name != "dvc.lock"]:
        print(f"the trials lack files that git does not track: {shown(left_out)}", flush=True)


def shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


if __name__ == "__main__":
    stage.run(main)
