"""Runs of the augment stage's work by Beam, one after the other: a JSON list of them in, a JSON list of what came out.

A process of its own in an environment of its own (requirements-beam.txt), started by tests/augment/test_beam.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests/support")]

import coloured_pictures  # noqa: E402

import augment  # noqa: E402
from plantdoc.core.errors import UserError  # noqa: E402


def hashes(folder: Path) -> dict[str, str]:
    """The hash of each file in a folder, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def run(
    raw: str, out: str, options: str = "", part: int = 500, workers: int = 1, **changes: float
) -> dict[str, str] | str:
    """The hashes of what was made, or the message of the UserError."""
    from plantdoc.augment.beam import pipeline, runner  # not there for the test that calls `hashes`

    os.environ[runner.OPTIONS] = options
    pipeline.RANGE = part
    Path(out).mkdir(parents=True)
    try:
        augment.build(
            Path(raw), Path(out), coloured_pictures.settings(ROOT, **changes), 0, workers=workers, engine="beam"
        )
    except UserError as error:
        return str(error)
    return hashes(Path(out))


if __name__ == "__main__":
    print(json.dumps([run(**each) for each in json.loads(sys.argv[1])]))
