"""Keep the progress file of this computer's tree (train.progress) up to date while an instance on EC2 trains."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from plantdoc.ec2.attempts import Attempt
from plantdoc.train import progress

log = logging.getLogger("plantdoc")


class LocalProgress(logging.Handler):
    """Enters into the file what the run's attempts, its instance's status and the log say."""

    def __init__(self, writer: progress.Writer):
        super().__init__(logging.INFO)
        self.writer, self.now = writer, writer.now

    def emit(self, record: logging.LogRecord) -> None:
        self.now.message = record.getMessage()
        self.writer.changed()

    def attempt(self, attempt: Attempt, others: list[Attempt]) -> None:
        """An instance works for `attempt`, after those of `others`."""
        about = {name: getattr(attempt.claim, name) for name in ("type", "zone", "spot", "price", "launched")}
        self.now.instance = {"id": attempt.instance} | about
        self.now.minutes = sum(each.seconds() for each in others) / 60
        self.now.dollars = sum(each.dollars() for each in others)
        self.writer.changed()

    def status(self, status: dict) -> None:
        """The instance's status.json."""
        reported = progress.of(status)
        reported.state, reported.run = status.get("phase") or self.now.state, self.now.run
        reported.message, reported.instance = self.now.message, self.now.instance
        reported.minutes, reported.dollars = self.now.minutes, self.now.dollars
        self.now = self.writer.now = reported
        self.writer.changed()

    def ended(self, attempt: Attempt) -> None:
        """The instance of `attempt` has ended."""
        if self.now.instance and self.now.instance["id"] == attempt.instance:
            self.now.instance = self.now.instance | {"ended": attempt.claim.ended}
            self.writer.changed()


@contextlib.contextmanager
def written(run: str) -> Iterator[LocalProgress]:
    """Yield what to tell; meanwhile the file also has the log's last line."""
    with progress.written(progress.TrainingProgress(run=run)) as writer:
        local = LocalProgress(writer)
        log.addHandler(local)
        try:
            yield local
        finally:
            log.removeHandler(local)
