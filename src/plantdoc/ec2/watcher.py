"""Watch an attempt from here until something has happened: its log, bar, minutes and dollars, and its machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from plantdoc.core.errors import UserError
from plantdoc.ec2 import instances, terminate
from plantdoc.ec2.attempts import Attempt, Attempts, beat
from plantdoc.ec2.console import Console, Log, progress_bar
from plantdoc.ec2.outages import Outages
from plantdoc.remote.aws_context import AwsContext
from plantdoc.train import progress

PHASES = {
    "environment": "setting up the environment",
    "inputs": "fetching the inputs",
    "training": "training",
    "outputs": "sending the outputs",
}
AT_DEADLINE = (
    "the machine has reached its deadline (runner.max_hours, or what runner.max_dollars allowed): the same command "
    "continues from the last epoch, on a new machine"
)
LAG = 120  # seconds after its start in which EC2 may not show a machine yet
_ENDING = 5  # seconds past the deadline that the machine has to end by itself
_AT_ONCE = 16  # pieces of the log


class Tail:
    """The log of an attempt from its beginning, in the pieces that have come since the last look."""

    def __init__(self, attempts: Attempts, attempt: Attempt):
        self.store, self.folder, self.count = attempts.store, attempt.folder, 0

    def read(self, at_least: int = 0) -> bytes:
        """Read new pieces of the log; `at_least` so many are known to exist."""
        pieces: list[bytes] = []
        if at_least - self.count > 1:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for piece in pool.map(self._piece, range(self.count, at_least)):
                    if piece is None:
                        break
                    pieces.append(piece)
            self.count += len(pieces)
        while (piece := self._piece(self.count)) is not None:
            pieces.append(piece)
            self.count += 1
        return b"".join(pieces)

    def _piece(self, number: int) -> bytes | None:
        return self.store.get(f"{self.folder}/log/{number:06d}")


class Follower:
    """Follows one attempt on its machine; `report` is called with each status.json that the machine has written."""

    def __init__(
        self,
        aws: AwsContext,
        attempts: Attempts,
        attempt: Attempt,
        console: Console,
        report: Callable[[dict], None] = lambda status: None,
    ):
        self.aws, self.attempts, self.attempt, self.console = aws, attempts, attempt, console
        self.tail, self.log, self.outages = Tail(attempts, attempt), Log(), Outages()
        self.report, self.phase, self.progress_bar = report, "", ""
        self.machine: instances.Instance | None = None
        self.began = time.monotonic()

    def until_news(self) -> None:
        """Show what comes until the attempt has said its last, its machine has gone, or another attempt took over.

        Raises:
            UserError: S3 does not answer for good, or the deadline has passed and the machine did not end by itself.
            Unreachable: nothing answers for good.
        """
        while not self._round():
            self._pause()
        self.console.clear()

    def _round(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            news = self._look()
        except (ClientError, BotoCoreError) as error:
            if line := self.outages.met(error, self._ec2_error()):
                self.console.line(line)
            return False
        self.outages.over()
        return news

    def _look(self) -> bool:
        """One look at everything; whether there is news. The machine first: what it wrote is older than its end."""
        gone = self._is_gone()
        end = self.attempts.end(self.attempt)
        self._show()
        if end or gone:
            return True
        if self.attempts.read(self.attempt).over:
            return True
        deadline = self.attempt.claim.deadline
        if deadline and time.time() > deadline + _ENDING:
            raise UserError(AT_DEADLINE)
        return False

    def _is_gone(self) -> bool:
        """Whether the machine works no more; machines of earlier attempts that still do are ended on the way."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = instances.find(self.aws.ec2, self.attempt.run)
            terminate.request(self.aws.ec2, [each.id for each in found if each.costs and each.attempt < self.attempt.n])
        except (ClientError, BotoCoreError):
            return False  # S3 still tells how it is
        ours = next((each for each in found if each.id == self.attempt.instance), None)
        if ours:
            self.machine = ours
            return not ours.alive
        # Not shown: not yet, or it ended so long ago that EC2 has forgotten it.
        if self.machine:
            self.machine = replace(self.machine, state="terminated")
        return time.time() - self.attempt.launched > LAG and time.monotonic() - self.began > beat()

    def _ec2_error(self) -> Exception | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            instances.find(self.aws.ec2, self.attempt.run)
        except (ClientError, BotoCoreError) as error:
            return error
        return None

    def _show(self) -> None:
        """The phase, and what the training has printed meanwhile."""
        status = self.attempts.status(self.attempt) or {}
        if (phase := status.get("phase", "")) and phase != self.phase:
            self.phase = phase
            self.console.line(f"ec2: {PHASES.get(phase, phase)}")
        for text in self.log.feed(self.tail.read(status.get("log", 0))):
            self.console.line(text)
        if status:
            self.progress_bar = progress_bar(progress.of(status)) if phase == "training" else ""
            self.report(status)

    def _pause(self) -> None:
        until = time.monotonic() + beat()
        while (left := until - time.monotonic()) > 0:
            now = time.time()
            spent = f"{self.attempt.seconds(now) / 60:.1f} min, ${self.attempt.dollars(now):.2f}"
            self.console.progress_bar(self.progress_bar or PHASES.get(self.phase, "starting the machine"), f"[{spent}]")
            time.sleep(min(left, 1))
