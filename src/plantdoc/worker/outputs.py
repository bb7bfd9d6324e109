"""Upload the training's outputs to S3: all files first, then the one object that says that the run is done."""

from __future__ import annotations

import json
import time
from pathlib import Path

from plantdoc.aws.run_store import Store
from plantdoc.core import cost, hashing
from plantdoc.core.errors import UserError
from plantdoc.worker.job import Job
from plantdoc.worker.retry import insist

PATHS = (Path("models/detector"), Path("results/train/live"), Path("results/train/metrics.json"))


def send(store: Store, job: Job, made_from: dict) -> bool:
    """Returns whether this attempt's outputs are the run's; another may have been first.

    Raises:
        UserError: there are no outputs.
    """
    files = {}
    for path in _files():
        sha256 = hashing.of_file(path)
        key = f"{job.run_id}/outputs/{sha256}"
        if not insist(job, store.has, key):
            insist(job, store.upload, path, key)
        files[path.as_posix()] = {"sha256": sha256, "size": path.stat().st_size}
        job.touch()
    result = {
        "attempt": job.attempt,
        "time": time.time(),
        "made_from": made_from,
        "outputs": files,
        "cost": json.loads(cost.PATH.read_text())["train"],
    }
    return insist(job, store.put_new, f"{job.run_id}/result.json", result)


def _files() -> list[Path]:
    found = []
    for path in PATHS:
        if not path.exists():
            raise UserError(f"the training has ended well but left no {path}")
        found += sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return found
