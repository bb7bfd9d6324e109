"""End machines because a person says so."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor, wait

from plantdoc.ec2 import instances
from plantdoc.ec2.attempts import Attempts
from plantdoc.ec2.terminate import terminate
from plantdoc.remote.aws_context import AwsContext

_PATIENCE = 10  # seconds


def person() -> str:
    """The person who stopped a run and the time, for those who waited for it."""
    return f"{os.environ.get('USER', 'somebody')} on {platform.node()}, {time.strftime('%Y-%m-%d %H:%M')}"


def stop(aws: AwsContext, runs: set[str] | None) -> list[instances.Instance]:
    """End the machines of these runs, None for all, and mark the runs as stopped; returns what was ended.

    Marked first: who watches a run whose machine is gone without a mark starts another. But a bucket that does not
    answer keeps no machine alive for longer than _PATIENCE.
    """
    found = [each for each in instances.find(aws.ec2) if each.costs and (runs is None or each.run in runs)]
    with ThreadPoolExecutor(1) as pool:
        marked = pool.submit(_mark, aws, runs if runs is not None else {each.run for each in found if each.run}, found)
        wait([marked], timeout=_PATIENCE)
        terminate(aws.ec2, [each.id for each in found])
        marked.result()
    return found


def _mark(aws: AwsContext, runs: set[str], found: list[instances.Instance]) -> None:
    for run in sorted(runs):
        attempts = Attempts(aws.store, run)
        every = attempts.all()
        if every and not every[-1].over:
            machine = next((each for each in found if each.id == every[-1].instance), None)
            attempts.settle(every[-1], machine, stopped=person())
