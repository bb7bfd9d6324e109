"""The instance's job, from the environment that user-data and bootstrap have set, and how it may end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plantdoc.core import environment


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
        given = environment.read()
        given.required("bucket", "run_id", "attempt", "dvc_prefix", "weights_sha256", "progress")
        return cls(
            bucket=given.bucket,
            run_id=given.run_id,
            attempt=given.attempt,
            dvc_prefix=given.dvc_prefix,
            weights=given.weights_sha256,
            progress=given.progress,
            beat=given.beat,
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
