"""Heartbeat of an instance: its log, piece by piece, and a status, every few seconds."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict

from plantdoc.aws.run_store import Store
from plantdoc.train import progress
from plantdoc.worker.job import Job
from plantdoc.worker.last_line import LastLine

# Of plantdoc.train.progress, what status.json tells as well.
_OF_TRAINING = ("epoch", "epochs", "step", "steps", "losses", "history", "best_epoch", "seconds_left")
_PIECE = 512 * 1024  # bytes; what is printed faster than this per beat is left out, oldest first


class Heartbeat:
    """The log and the status of an attempt. Lines come in any time, from any thread; `send` takes them to S3.

    A piece of the log is sent before a status counts it, and kept until it is: none is lost or comes out of turn.
    """

    def __init__(self, store: Store, job: Job):
        self.store, self.job = store, job
        self.last_line = LastLine()
        self._phase = "inputs"
        self._furthest = (0, 0)
        self._lock = threading.Lock()
        self._said = bytearray()
        self._left_out = 0
        self._piece = b""
        self._pieces = 0

    def enter(self, phase: str) -> None:
        """Go over to "inputs", "training" or "outputs"."""
        self._phase = phase
        self.job.touch()

    def say(self, line: str) -> None:
        """A line of the machine's own."""
        self._keep(f"{line}\n".encode())

    def hear(self, output: bytes) -> None:
        """Bytes that the training printed."""
        self._keep(output)
        self.last_line.feed(output)

    def look(self) -> None:
        """Tell bootstrap.sh's watch where the training's own file (train.progress) shows that it got further."""
        if now := progress.read():
            reached = len(now.history), now.step
            if reached > self._furthest:
                self._furthest = reached
                self.job.touch()

    def send(self) -> None:
        """Send what was said since, and the status. After an exception: call it again."""
        if not self._piece:
            self._piece = self._take()
        if self._piece:
            self.store.put(self.job.key(f"log/{self._pieces:06}"), self._piece)
            self._piece = b""
            self._pieces += 1
        now = progress.read() or progress.TrainingProgress()
        status = {key: value for key, value in asdict(now).items() if key in _OF_TRAINING}
        status |= {"val_map50": now.val_map50, "time": time.time(), "phase": self._phase, "log": self._pieces}
        self.store.put(self.job.key("status.json"), status)

    def send_rest(self) -> None:
        """Send all that was said until now. After an exception: call it again."""
        if self._piece:
            self.send()
        self.send()

    def _keep(self, output: bytes) -> None:
        with self._lock:
            self._said += output
            if (excess := len(self._said) - _PIECE) > 0:
                del self._said[:excess]
                self._left_out += excess

    def _take(self) -> bytes:
        with self._lock:
            piece, self._said = bytes(self._said), bytearray()
            left_out, self._left_out = self._left_out, 0
        return (f"\n… {left_out} bytes were printed too fast to be kept …\n".encode() if left_out else b"") + piece
