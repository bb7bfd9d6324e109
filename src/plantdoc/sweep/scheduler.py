"""Scheduler of a sweep: runs trials that have no experiment yet, a few at a time, until the budget is spent."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from plantdoc.core.errors import UserError
from plantdoc.repo import revisions
from plantdoc.sweep import child_processes, grid, results, runner_options, trial
from plantdoc.sweep.progress_display import ProgressDisplay
from plantdoc.sweep.remote_trials import RemoteTrial
from plantdoc.sweep.snapshot import Snapshot

NOT_STARTED = "not started"


@dataclass
class Scheduler:
    """`named` trials on top of `start`, which train as `where` says; `limit` in dollars for all of them together."""

    named: dict[str, grid.Trial]
    start: Snapshot
    where: grid.Trial = field(default_factory=dict)
    away: bool = False  # on EC2
    limit: float | None = None

    def __post_init__(self) -> None:
        self.machines: dict[str, RemoteTrial] = {}
        self.display = ProgressDisplay()

    def run(self, jobs: int, lock: int) -> dict[str, str]:
        """Run the trials that have no experiment yet; returns by name why some failed or were not started."""
        done, failed = self.finished(), {}
        for name in done:
            self.display.say(name, "was done before")
        todo = [name for name in self.named if name not in done]
        grace = runner_options.GRACE if self.away else child_processes.GRACE
        with self.display, ThreadPoolExecutor(jobs) as pool, child_processes.hold(lock, grace) as launch:
            try:
                for future in as_completed([pool.submit(self._one, name, launch) for name in todo]):
                    name, reason, minutes = future.result()
                    self.display.drop(name)
                    if reason is None:
                        self.display.say(name, f"done in {minutes:.1f} min: {self._score(name)}")
                        continue
                    stopped = reason.startswith(NOT_STARTED)
                    failed[name] = reason if stopped else f"failed: {reason}"
                    log = "" if stopped else f" (all its output: {trial.LOGS}/{name}.log)"
                    self.display.say(name, failed[name] + log)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for name in [name for name, machine in self.machines.items() if machine.runs]:
                    self.display.say(name, "its machine is being ended")
                raise
        return failed

    def finished(self) -> dict[str, revisions.Revision]:
        """The experiments on the same commit that have the trials' names.

        Raises:
            UserError: one has such a name, but other params.
        """
        base = revisions.Revision(self.start.root, "start", self.start.tree).params
        found = {}
        for experiment in revisions.experiments(self.start.root):
            if experiment.base == self.start.commit and experiment.name in self.named:
                wanted = base | self.named[experiment.name]
                if other := runner_options.differing(wanted, experiment.params):
                    raise UserError(
                        f"the experiment {experiment.name} has the name of a trial, but other params "
                        f"({', '.join(other)}): rename it with `dvc exp rename {experiment.name} NEW`, or remove it "
                        "with `dvc exp remove`"
                    )
                found[experiment.name] = experiment
        return found

    def trial_results(self, failed: dict[str, str]) -> list[results.TrialResult]:
        """Result of each trial."""
        done = self.finished()
        return [self._result(name, done.get(name), failed.get(name, "done")) for name in self.named]

    def spent(self) -> float:
        """Dollars of all trials, as experiments say, and where there is none yet, as the machines were heard."""
        done = self.finished()
        heard = {name: machine.dollars for name, machine in self.machines.items()}
        said = {name: self._result(name, experiment, "").dollars or 0.0 for name, experiment in done.items()}
        return sum((heard | said).values())

    def _one(self, name: str, launch: child_processes.Start) -> tuple[str, str | None, float]:
        began = time.monotonic()
        if self.limit is not None and (spent := self.spent()) >= self.limit:
            return name, f"{NOT_STARTED}: the sweep has cost ${spent:.2f} of ${self.limit:.2f}", 0.0
        settings = self.named[name] | self.where
        epochs = settings.get("train.epochs") or self._base("train.epochs")
        machine = self.machines[name] = RemoteTrial(epochs)
        self.display.say(name, "started")
        show = partial(self.display.show, name, machine.summary)
        reason = trial.run(name, settings, self.start, launch, partial(self.display.say, name), machine, show)
        machine.end()
        return name, reason, (time.monotonic() - began) / 60

    def _base(self, key: str) -> Any:
        return revisions.Revision(self.start.root, "start", self.start.tree).params[key]

    def _score(self, name: str) -> str:
        result = self._result(name, self.finished()[name], "done")
        return result.line() + (f", ${result.dollars:.2f}" if result.dollars is not None else "")

    def _result(self, name: str, experiment: revisions.Revision | None, state: str) -> results.TrialResult:
        timed = not trial.restored(self.start.root, name)
        return results.TrialResult(name, self.named[name], experiment, state, timed=timed)
