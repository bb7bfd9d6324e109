"""Observe a trial under way through files of its copy: dvc.lock, and the training's plantdoc.train.progress."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from plantdoc.core import params
from plantdoc.core.errors import UserError
from plantdoc.sweep.remote_trials import RemoteTrial
from plantdoc.train import progress


class Observer:
    """Looks at the copy `folder` again and again, and says what is new.

    DVC enters a stage into dvc.lock when it is done. A train stage that is entered there without having written a
    progress file did not run: DVC had its outputs in the run cache.

    Args:
        say: takes a line for good.
        show: is called when `machine` has something new to tell.
    """

    def __init__(self, folder: Path, machine: RemoteTrial, say: Callable[[str], None], show: Callable[[], None]):
        self.folder, self.machine, self.say, self.show = folder, machine, say, show
        self.restored = False
        self._stages = self._read_lock() or {}
        self._epochs = 0
        self._message = ""

    def look(self) -> None:
        """Say what has happened since the last look."""
        # The lock first: what a stage wrote is older than its entry there.
        stages, now = self._read_lock(), progress.read(self.folder)
        if now:
            self._look_at_training(now)
        for name, entry in (stages or {}).items():
            if entry == self._stages.get(name):
                continue
            self._stages[name] = entry
            if name == "train" and not now:
                self.restored = True
                self.say("train: the run cache has it")
            else:
                self.say(f"{name} done")

    def _look_at_training(self, now: progress.TrainingProgress) -> None:
        if now.state not in progress.OVER and now.message != self._message:  # the last one is why it failed
            self._message = now.message
            self.say(now.message)
        if now.instance:
            if self.machine.hear(now):
                self.show()
            return
        for count in range(max(self._epochs, now.resumed) + 1, len(now.history) + 1):
            self.say(progress.line(now.history[:count]))
        self._epochs = len(now.history)

    def _read_lock(self) -> dict | None:
        """Stages by name; None where the file is just being written, or not there yet."""
        try:
            return params.read(self.folder / "dvc.lock").get("stages", {})
        except UserError:
            return None
