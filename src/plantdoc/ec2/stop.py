"""End machines because a person says so."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor, wait

from plantdoc.ec2 import instances
from plantdoc.ec2.attempts import Attempt, Attempts
from plantdoc.ec2.terminate import terminate
from plantdoc.remote.aws_context import AwsContext

_PATIENCE = 10  # seconds


def person() -> str:
    """The person who stopped a run and the time, for those who waited for it."""
    return f"{os.environ.get('USER', 'somebody')} on {platform.node()}, {time.strftime('%Y-%m-%d %H:%M')}"


def stop(aws: AwsContext, runs: set[str] | None) -> list[str]:
    """End the machines of these runs, None for all, and mark the runs as stopped; returns a line for each that ended.

    Marked first: who watches a run whose machine is gone without a mark starts another, and the machine itself ends
    where it reads the mark. But a bucket that does not answer keeps no machine alive for longer than _PATIENCE.

    Raises:
        Unconfirmed: EC2 does not show the end of one of them.
    """
    found = [each for each in instances.find(aws.ec2) if each.costs and (runs is None or each.run in runs)]
    left = {each.id: each.launched for each in found}
    about = {each.id: f"{each.id} ({each.type} in {each.zone}, run {each.run})" for each in found}
    with ThreadPoolExecutor(1) as pool:
        marked = pool.submit(_mark, aws, runs if runs is not None else {each.run for each in found if each.run}, found)
        wait([marked], timeout=_PATIENCE)
        if marked.done() and not marked.exception():
            for attempt in marked.result():  # a machine that was just started may be in its claim alone
                left.setdefault(str(attempt.instance), attempt.launched)
        terminate(aws.ec2, left)
        marked.result()
    return [about.get(id, id) for id in left]


def _mark(aws: AwsContext, runs: set[str], found: list[instances.Instance]) -> list[Attempt]:
    """Mark the attempts that are not over, and return those of them that have a machine."""
    marked = []
    for run in sorted(runs):
        attempts = Attempts(aws.store, run)
        every = attempts.all()
        if every and not every[-1].over:
            machine = next((each for each in found if each.id == every[-1].instance), None)
            marked.append(attempts.settle(every[-1], machine, stopped=person()))
    return [each for each in marked if each.instance]
