"""What a machine tells while it works: its log, piece by piece, and a status, every few seconds."""

from __future__ import annotations

import threading
import time

from plantdoc.machine.bar import Reader
from plantdoc.machine.job import Job
from plantdoc.runs import Store

_PIECE = 512 * 1024  # bytes; what is printed faster than this per beat is left out, oldest first


class Heartbeat:
    """The log and the status of an attempt. Lines come in any time, from any thread; `send` takes them to S3.

    A piece of the log is sent before a status counts it, and kept until it is: none is lost or comes out of turn.
    """

    def __init__(self, store: Store, job: Job):
        self.store, self.job = store, job
        self.reader = Reader()
        self._phase = "inputs"
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
        if self.reader.feed(output):
            self.job.touch()

    def send(self) -> None:
        """Send what was said since, and the status. After an exception: call it again."""
        if not self._piece:
            self._piece = self._take()
        if self._piece:
            self.store.put(self.job.key(f"log/{self._pieces:06}"), self._piece)
            self._piece = b""
            self._pieces += 1
        status = {"time": time.time(), "phase": self._phase, "log": self._pieces}
        self.store.put(self.job.key("status.json"), status | vars(self.reader.position))

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
