"""Spot interruption notice of EC2, two minutes before it takes the instance."""

from __future__ import annotations

import json

from plantdoc.worker import instance_metadata
from plantdoc.worker.job import Interrupted


def look() -> None:
    """Ask the metadata service.

    Raises:
        Interrupted: the machine goes.
    """
    try:
        found = instance_metadata.ask("spot/instance-action")
    except OSError:  # 404: no notice; and where there is no answer there is none either
        return
    about = json.loads(found)
    raise Interrupted(f"EC2 takes the spot machine away ({about['action']} at {about['time']})")
