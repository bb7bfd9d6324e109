"""Status and cost of instances and runs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from plantdoc.core.errors import UserError
from plantdoc.ec2 import instances
from plantdoc.ec2.attempts import Attempts
from plantdoc.remote.aws_context import AwsContext

_AT_ONCE = 16
_NO_RUNS = ("code", "weights")


def machines_now(aws: AwsContext) -> list[dict]:
    """A row per machine that may cost something, or is just ending."""
    found = [each for each in instances.find(aws.ec2) if each.state != "terminated"]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda each: _row(aws, each), found))


def runs(aws: AwsContext) -> list[dict]:
    """A row per run, those of the newest machines last."""
    names = [name for name in aws.store.folders() if name not in _NO_RUNS]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rows = list(pool.map(lambda name: run(aws, name), names))
    return sorted(rows, key=lambda row: row["began"] or 0)


def run(aws: AwsContext, name: str) -> dict:
    """Cost of all attempts at a run, and its state."""
    attempts = Attempts(aws.store, name)
    every = attempts.all()
    last = every[-1] if every else None
    if aws.store.has(f"{name}/result.json"):
        state = "done"
    elif last and (end := attempts.end(last)):
        state = end["state"]
    else:
        state = "under way" if last and not last.over else "stopped"
    return {
        "run": name,
        "state": state,
        "began": every[0].claim.time if every else None,
        "attempts": sum(bool(each.instance) for each in every),
        "type": last.claim.type if last else None,
        "zone": last.claim.zone if last else None,
        "spot": last.claim.spot if last else None,
        "minutes": sum(each.seconds() for each in every) / 60,
        "dollars": sum(each.dollars() for each in every),
    }


def resolve(aws: AwsContext, name: str | None) -> str:
    """The run whose id begins with `name`; without one, that of the only machine there is.

    Raises:
        UserError: there is none, or more than one.
    """
    if name:
        found = [each for each in aws.store.folders() if each.startswith(name) and each not in _NO_RUNS]
        missing = f"no run begins with {name}: `python scripts/ec2.py cost` lists them"
    else:
        found = sorted({each.run for each in instances.find(aws.ec2) if each.alive})
        missing = "no machine is running: say which run, `python scripts/ec2.py cost` lists them"
    if len(found) != 1:
        raise UserError(f"say which run: {', '.join(found)}" if found else missing)
    return found[0]


def _row(aws: AwsContext, machine: instances.Instance) -> dict:
    attempt = Attempts(aws.store, machine.run).find(machine.attempt)
    status = aws.store.read(f"{machine.run}/{machine.attempt}/status.json") or {}
    seconds = time.time() - machine.launched
    return {
        "run": machine.run,
        "attempt": machine.attempt,
        "machine": machine.id,
        "state": machine.state,
        "type": machine.type,
        "zone": machine.zone,
        "spot": machine.spot,
        "phase": status.get("phase"),
        "epoch": status.get("epoch"),
        "epochs": status.get("epochs"),
        "val_map50": status.get("val_map50"),
        "minutes": seconds / 60,
        "dollars": seconds / 3600 * attempt.claim.price if attempt and attempt.claim.price else None,
        "deadline": machine.deadline,
    }
