"""Upload the inputs of a run to S3: data as DVC's own objects, the code, a file of weights. Nothing is sent twice."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from plantdoc.core import hashing, stage_deps
from plantdoc.core.errors import UserError
from plantdoc.ec2 import code_archive
from plantdoc.remote.aws_context import AwsContext
from plantdoc.repo import commands

log = logging.getLogger("plantdoc")


class Uploads:
    """Data, code and weights of the run in the current directory."""

    def __init__(self, aws: AwsContext, weights: Path | None):
        self.aws, self.weights = aws, weights
        self._sent: tuple[str, str] | None = None

    def send(self) -> tuple[str, str]:
        """Send what S3 lacks, once; returns the SHA-256 of the code's archive and of the weights, '' without any."""
        if self._sent is None:
            _push()
            self._sent = self._code(), self._weights()
        return self._sent

    def _code(self) -> str:
        packed = code_archive.make()
        if packed.left_out:
            log.info("ec2: left out of the code, as they look like secrets: %s", ", ".join(packed.left_out))
        key = f"code/{packed.sha256}.tar.gz"
        if not self.aws.store.has(key):
            self.aws.store.put(key, packed.content)
            log.info("ec2: sent the code, %.2f MB", len(packed.content) / 1e6)
        return packed.sha256

    def _weights(self) -> str:
        if not self.weights:
            return ""
        sha256 = hashing.of_file(self.weights)
        if not self.aws.store.has(f"weights/{sha256}"):
            log.info("ec2: sending %s, %.1f MB", self.weights.name, self.weights.stat().st_size / 1e6)
            self.aws.store.upload(self.weights, f"weights/{sha256}")
        return sha256


def _push() -> None:
    """Send the stage's data as DVC's objects; with DVC's own progress bar where there is a terminal."""
    data = stage_deps.data(stage_deps.of("train"))
    log.info("ec2: sending %s, as far as the remote lacks it", ", ".join(data))
    if not sys.stderr.isatty():
        commands.dvc("push", *data)
    elif subprocess.run([sys.executable, "-m", "dvc", "push", *data]).returncode:
        raise UserError(f"dvc push {' '.join(data)} failed, as it says above: no machine was started")
