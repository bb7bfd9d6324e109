"""Watch an attempt from here until something has happened: its log, bar, minutes and dollars, and its machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from plantdoc.core.errors import UserError
from plantdoc.ec2 import instances
from plantdoc.ec2.attempts import Attempt, Attempts, beat
from plantdoc.ec2.console import Console, Log, bar
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
    "goes on from the last epoch, on a new machine"
)
LAG = 120  # seconds after its start in which EC2 may not show a machine yet
_ENDING = 5  # seconds past the deadline that the machine has to end by itself
_AT_ONCE = 16  # pieces of the log


class Tail:
    """The log of an attempt from its beginning, in the pieces that have come since the last look."""

    def __init__(self, attempts: Attempts, attempt: Attempt):
        self.store, self.folder, self.count = attempts.store, attempt.folder, 0

    def read(self, at_least: int = 0) -> bytes:
        """What is new; `at_least` so many pieces are known to be there."""
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
        place: AwsContext,
        attempts: Attempts,
        attempt: Attempt,
        screen: Console,
        report: Callable[[dict], None] = lambda status: None,
    ):
        self.place, self.attempts, self.attempt, self.screen = place, attempts, attempt, screen
        self.tail, self.log, self.trouble = Tail(attempts, attempt), Log(), Outages()
        self.report, self.phase, self.bar = report, "", ""
        self.machine: instances.Machine | None = None
        self.began = time.monotonic()

    def until_news(self) -> None:
        """Show what comes until the attempt has said its last, its machine has gone, or another attempt took over.

        Raises:
            UserError: S3 does not answer for good, or the deadline has passed and the machine did not end by itself.
            Unreachable: nothing answers for good.
        """
        while not self._round():
            self._pause()
        self.screen.clear()

    def _round(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            news = self._look()
        except (ClientError, BotoCoreError) as error:
            if line := self.trouble.met(error, self._ec2_error()):
                self.screen.line(line)
            return False
        self.trouble.over()
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
        deadline = self.attempt.claim.get("deadline")
        if deadline and time.time() > deadline + _ENDING:
            raise UserError(AT_DEADLINE)
        return False

    def _is_gone(self) -> bool:
        """Whether the machine works no more; machines of earlier attempts that still do are ended on the way."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = instances.find(self.place.ec2, self.attempt.run)
            instances.end(self.place.ec2, [each.id for each in found if each.costs and each.attempt < self.attempt.n])
        except (ClientError, BotoCoreError):
            return False  # S3 still tells how it is
        ours = next((each for each in found if each.id == self.attempt.instance), None)
        if ours:
            self.machine = ours
            return not ours.alive
        # Not shown: not yet, or it ended so long ago that EC2 has forgotten it.
        if self.machine:
            self.machine = replace(self.machine, state="terminated")
        return time.time() - self.attempt.claim["launched"] > LAG and time.monotonic() - self.began > beat()

    def _ec2_error(self) -> Exception | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            instances.find(self.place.ec2, self.attempt.run)
        except (ClientError, BotoCoreError) as error:
            return error
        return None

    def _show(self) -> None:
        """The phase, and what the training has printed meanwhile."""
        status = self.attempts.status(self.attempt) or {}
        if (phase := status.get("phase", "")) and phase != self.phase:
            self.phase = phase
            self.screen.line(f"ec2: {PHASES.get(phase, phase)}")
        for text in self.log.feed(self.tail.read(status.get("log", 0))):
            self.screen.line(text)
        if status:
            self.bar = bar(progress.of(status)) if phase == "training" else ""
            self.report(status)

    def _pause(self) -> None:
        until = time.monotonic() + beat()
        while (left := until - time.monotonic()) > 0:
            now = time.time()
            spent = f"{self.attempt.seconds(now) / 60:.1f} min, ${self.attempt.dollars(now):.2f}"
            self.screen.bar(self.bar or PHASES.get(self.phase, "starting the machine"), f"[{spent}]")
            time.sleep(min(left, 1))
