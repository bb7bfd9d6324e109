"""State and cost of a trial's instance on EC2, from the trial's progress file (plantdoc.train.progress)."""

from __future__ import annotations

import time
from collections.abc import Callable

from plantdoc.train.progress import OVER, TrainingProgress

PHASES = {
    "starting": "starting",
    "environment": "setting up the environment",
    "inputs": "fetching the inputs",
    "training": "training",
    "outputs": "sending the outputs",
}


class RemoteTrial:
    """The instances of one trial, one after another: which one works now, how far it is, what all of them have cost.

    `total` is how many epochs the trial has at most.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.time):
        self.total, self.clock = total, clock
        self.now = TrainingProgress()
        self._ended: float | None = None

    def hear(self, now: TrainingProgress) -> bool:
        """Take in what the file says; returns whether `summary` has changed."""
        if not now.instance:
            return False
        before = self._facts()
        self.now = now
        if now.state in OVER:
            self.end()
        return self._facts() != before

    def summary(self) -> str:
        """Type, zone, market, epoch or phase, mAP, minutes and dollars in one line."""
        about, now = self.now.instance, self.now
        assert about is not None  # without an instance `hear` has nothing to tell
        where = f"{about['type']} in {about['zone']}, {'spot' if about['spot'] else 'on demand'}"
        state = "" if self.runs else ", ended"
        doing = f"epoch {now.epoch}/{self.total}" if now.epoch else PHASES.get(now.state, now.state)
        score = "" if now.val_map50 is None else f", val mAP@50 {now.val_map50:.4f}"
        return f"{where}{state}, {doing}{score}, {self.minutes:.1f} min, ${self.dollars:.2f}"

    @property
    def runs(self) -> bool:
        """Whether an instance of the trial works now, as far as is known here."""
        return bool(self.now.instance) and self._ended is None and not self.now.instance.get("ended")

    @property
    def minutes(self) -> float:
        return self.now.minutes + self._seconds() / 60

    @property
    def dollars(self) -> float:
        return self.now.dollars + self._seconds() / 3600 * ((self.now.instance or {}).get("price") or 0.0)

    def end(self) -> None:
        """The trial has ended, and with it its instance."""
        if self.runs:
            self._ended = self.clock()

    def _seconds(self) -> float:
        """For how long the newest instance has run."""
        if not self.now.instance:
            return 0.0
        until = self.now.instance.get("ended") or self._ended or self.clock()
        return max(0.0, until - self.now.instance["launched"])

    def _facts(self) -> tuple:
        """Facts whose change is worth a new summary; the clock alone is not."""
        id = (self.now.instance or {}).get("id")
        return id, self.runs, self.now.epoch or self.now.state, self.now.val_map50
