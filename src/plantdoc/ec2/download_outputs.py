"""Bring what a run has made into the workspace: verified, beside what is there, then moved into its place."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from plantdoc.aws.run_store import Store
from plantdoc.core import stage
from plantdoc.core.errors import UserError
from plantdoc.ec2.attempts import Attempt

MODEL = "models/detector"
# What the stage makes, each moved as one: whether it is a folder.
OUTPUTS = {MODEL: True, "results/train/live": True, "results/train/metrics.json": False}
COSTS = Path("results/cost.json")
_AT_ONCE = 8


def outputs(store: Store, run: str, result: dict) -> int:
    """Bring the outputs of `result`; returns their bytes. Nothing is in place before all are here and right.

    Raises:
        UserError: one is missing or damaged in S3, or is none of ours.
    """
    files, targets = result["outputs"], {}
    for name in files:
        if (target := _target(name)) is None:
            raise UserError(f"s3://{store.bucket}/{store.prefix}{run}/result.json names {name}: nothing was changed")
        targets[name] = target
    with contextlib.ExitStack() as stack:
        beside = {
            target: stack.enter_context(stage.replacing(target, folder=OUTPUTS[target]))
            for target in sorted(set(targets.values()))
        }

        def bring(name: str) -> None:
            path = beside[targets[name]] / PurePosixPath(name).relative_to(targets[name])
            if not store.download(f"{run}/outputs/{files[name]['sha256']}", path, files[name]["sha256"]):
                raise UserError(f"s3://{store.bucket}/{store.prefix}{run}/outputs/ lacks {name}: {_remedy(store, run)}")

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for job in [pool.submit(bring, name) for name in files]:
                job.result()
    return sum(about["size"] for about in files.values())


def cost(result: dict, attempts: list[Attempt]) -> dict:
    """Enter train's time and money into results/cost.json: of all attempts together, and where the last one ran."""
    entry = dict(result["cost"])
    about = next((each.claim for each in attempts if each.n == result["attempt"] and each.instance), None)
    if about:
        where = f"{about.type} in {about.zone}, {'spot' if about.spot else 'on demand'}"
        entry["machine"] = ", ".join(filter(None, [where, entry.get("machine")]))
    entry["minutes"] = round(sum(each.seconds() for each in attempts) / 60, 3)
    entry["dollars"] = round(sum(each.dollars() for each in attempts), 4)
    entry["attempts"] = sum(bool(each.instance) for each in attempts)
    costs = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    costs["train"] = entry
    with stage.replacing(COSTS, folder=False) as path:
        path.write_text(json.dumps(costs, indent=1, sort_keys=True) + "\n")
    return entry


def _target(name: str) -> str | None:
    """The output that this file is of; None where it is of none."""
    parts = PurePosixPath(name).parts
    if ".." in parts:
        return None
    inside = (out for out, folder in OUTPUTS.items() if name == out or (folder and name.startswith(f"{out}/")))
    return next((out for out in inside if (name != out) == OUTPUTS[out]), None)


def _remedy(store: Store, run: str) -> str:
    return f"remove s3://{store.bucket}/{store.prefix}{run}/result.json, and the same command trains again"
