"""The script that a training machine starts with, made from infra/worker/user-data.sh. It holds no secret."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from plantdoc.core.errors import UserError

LIMIT = 16 * 1024  # bytes, EC2's
FOLDER = Path(__file__).resolve().parents[3] / "infra/worker"


def render(
    *,
    bucket: str,
    region: str,
    run_id: str,
    attempt: int,
    code: str,
    minutes: int,
    stall_minutes: float,
    dvc_prefix: str,
    weights: str,
    gpu: bool,
) -> str:
    """The user-data of one attempt at a run.

    The machine ends `minutes` after its start and `stall_minutes` after its last progress. `code` and `weights` are the
    SHA-256 of what it fetches from `runs/code/` and `runs/weights/`, weights '' for none. `dvc_prefix` is where DVC's
    remote lies in the bucket. `gpu` says whether the run's id is that of a training on a GPU.

    Raises:
        UserError: EC2 would refuse it for its size.
    """
    values = {name: shlex.quote(str(value)) for name, value in (locals() | {"gpu": "1" if gpu else ""}).items()}
    values["objects.py"] = (FOLDER / "objects.py").read_text().rstrip("\n")
    template = (FOLDER / "user-data.sh").read_text()
    script = re.sub(r"@([a-z_]+(?:\.py)?)@", lambda match: values[match[1]], template)
    if (size := len(script.encode())) > LIMIT:
        raise UserError(f"the machine's user-data would be {size} bytes, and EC2 takes {LIMIT}: shorten {FOLDER}")
    return script
