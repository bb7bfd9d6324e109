"""End machines because a person says so."""

from __future__ import annotations

import os
import platform
import time

from plantdoc.ec2 import machines
from plantdoc.ec2.attempts import Attempts
from plantdoc.ec2.place import Place


def person() -> str:
    """Who stopped a run and when, for those who waited for it."""
    return f"{os.environ.get('USER', 'somebody')} on {platform.node()}, {time.strftime('%Y-%m-%d %H:%M')}"


def stop(place: Place, runs: set[str] | None) -> list[machines.Machine]:
    """End the machines of these runs, None for all, and mark the runs as stopped; returns what was ended.

    The machines first: whatever S3 says, they cost no more.
    """
    found = [each for each in machines.find(place.ec2) if each.costs and (runs is None or each.run in runs)]
    machines.end(place.ec2, [each.id for each in found])
    for run in sorted(runs if runs is not None else {each.run for each in found if each.run}):
        attempts = Attempts(place.store, run)
        every = attempts.all()
        if every and not every[-1].over:
            machine = next((each for each in found if each.id == every[-1].instance), None)
            attempts.settle(every[-1], machine, stopped=person())
    return found
