"""What this machine was started for, from the environment that user-data and bootstrap have set, and how it may end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


class Interrupted(Exception):
    """The machine is taken away, or not wanted any more; another may go on with the training."""


@dataclass(frozen=True)
class Job:
    """One attempt at a run. `weights` is the SHA-256 of the file of model.weights, '' for none."""

    bucket: str
    run_id: str
    attempt: int
    dvc_prefix: str
    weights: str
    progress: Path
    beat: float

    @classmethod
    def from_environment(cls) -> Job:
        return cls(
            bucket=os.environ["PLANTDOC_BUCKET"],
            run_id=os.environ["PLANTDOC_RUN_ID"],
            attempt=int(os.environ["PLANTDOC_ATTEMPT"]),
            dvc_prefix=os.environ["PLANTDOC_DVC_PREFIX"],
            weights=os.environ["PLANTDOC_WEIGHTS_SHA256"],
            progress=Path(os.environ["PLANTDOC_PROGRESS"]),
            beat=float(os.environ.get("PLANTDOC_BEAT", 5)),
        )

    def key(self, name: str) -> str:
        """The key below `runs/` of an object of this attempt: status.json, end.json, log/000000."""
        return f"{self.run_id}/{self.attempt}/{name}"

    def attempt_key(self, number: int) -> str:
        """The key of the claim of an attempt at this run."""
        return f"{self.run_id}/attempts/{number}.json"

    def touch(self) -> None:
        """Tell bootstrap.sh's watch that there was progress."""
        self.progress.touch()
