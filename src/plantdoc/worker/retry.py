"""Calls to S3 that are repeated while it is out, and jobs that are done again and again beside the training."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from plantdoc.worker.job import Job

Result = TypeVar("Result")
# For how many beats S3 may be out, ten minutes: giving up may lose an epoch, waiting pays for a machine that idles.
_BEATS = 120
_REFUSALS = (403, 404, 405, 412)


class Gone(Exception):
    """S3 gives no answer, and has given none for longer than is worth waiting."""


def insist(job: Job, action: Callable[..., Result], *arguments, stopped: threading.Event | None = None) -> Result:
    """Call `action(*arguments)`, again while S3 is out or the instance has no credentials; returns its result.

    Raises:
        Gone: S3 was out for too long, or is out while `stopped` is set.
        ClientError: S3 has understood and refused.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    until = time.monotonic() + _BEATS * job.beat
    stopped = stopped or threading.Event()
    while True:
        try:
            return action(*arguments)
        except (BotoCoreError, Boto3Error, ClientError) as error:
            if isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] in _REFUSALS:
                raise
            if time.monotonic() > until or stopped.wait(job.beat):
                raise Gone(f"S3 gives no answer: {error}") from error


class Repeated:
    """Does `action` every beat in a thread, with the patience of `insist`, until it is stopped.

    An exception ends it: `fault` has it then.
    """

    def __init__(self, job: Job, action: Callable[[], None]):
        self.fault: Exception | None = None
        self._job, self._action = job, action
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when it has ended; it may be in the middle of a request."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._job.beat):
            try:
                insist(self._job, self._action, stopped=self._stopped)
            except Exception as error:  # whoever started it looks for it
                if not (isinstance(error, Gone) and self._stopped.is_set()):
                    self.fault = error
                return
