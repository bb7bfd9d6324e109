"""The training's checkpoint (train.checkpoint) in S3: each finished epoch goes there, the next machine goes on."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np

from plantdoc.aws.run_store import Store
from plantdoc.core import stage, workspace
from plantdoc.core.errors import UserError
from plantdoc.worker import own_claim
from plantdoc.worker.job import Interrupted, Job
from plantdoc.worker.retry import insist

LAST = "last.npz"
_TRIES = 3  # at a checkpoint that another machine, which should be gone, may just be writing


class Epochs:
    """Takes checkpoints from `folder` to `<run>/checkpoint/`, and brings the last one from there."""

    def __init__(self, store: Store, job: Job, folder: Path):
        self.store, self.job, self.folder = store, job, folder
        self._place = f"{job.run_id}/checkpoint/"
        self._sent: set[str] = set()
        self._last: tuple[int, int] | None = None

    def restore(self) -> int:
        """Bring the last checkpoint; returns the number of epochs in it, 0 where there is none that is whole."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(UserError):  # damaged, or changed between its two files
                return self._restore()
        return self._restore()

    def _restore(self) -> int:
        with stage.replacing(self.folder) as folder:
            if not insist(self.job, self.store.download, self._place + LAST, folder / LAST):
                return 0
            epochs, best = _progress(folder / LAST)
            if best and not insist(self.job, self.store.download, self._place + best, folder / best):
                raise UserError(f"s3://{self.store.bucket}/runs/{self._place} has {LAST} but not its {best}")
        self._sent = {best}
        self._last = _identity(self.folder / LAST)
        return epochs

    def send(self) -> None:
        """Send the checkpoint if it is a new one. After an exception of S3: call it again.

        `last.npz` comes after the best weights that it names: whoever finds it finds them.
        """
        try:
            identity = _identity(self.folder / LAST)
        except FileNotFoundError:
            return
        if identity == self._last:
            return
        # A name of our own for both files keeps them, whatever the training does meanwhile.
        with workspace.scratch(self.folder.with_suffix(".sending")) as folder:
            try:
                os.link(self.folder / LAST, folder / LAST)
                identity = _identity(folder / LAST)
                _, best = _progress(folder / LAST)
                if best:
                    os.link(self.folder / best, folder / best)
            except FileNotFoundError:
                return  # the training is just about to replace them: at the next beat
            if self.store.has(self.job.attempt_key(self.job.attempt + 1)):
                raise Interrupted(f"attempt {self.job.attempt + 1} has taken over")
            own_claim.read(self.store, self.job)
            for name in filter(None, (best, LAST)):
                if name not in self._sent:
                    self.store.upload(folder / name, self._place + name)
        self._sent, self._last = {best}, identity


def _progress(last: Path) -> tuple[int, str]:
    """Epochs finished, and the name of the file with the best weights, '' where there is none yet."""
    with np.load(last) as file:
        progress = json.loads(str(file["progress"]))
    return progress["epochs"], f"best-{progress['best_epoch']}.npz" if progress["best_epoch"] else ""


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
