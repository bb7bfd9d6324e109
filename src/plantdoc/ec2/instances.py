"""Instances of this project on EC2, found by their tags."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from plantdoc.aws.tags import PROJECT
from plantdoc.ec2 import reaper


@dataclass(frozen=True)
class Instance:
    """An instance as EC2 and its tags tell it; times are epoch seconds."""

    id: str
    state: str  # pending, running, shutting-down, terminated, stopping or stopped
    type: str
    zone: str
    spot: bool
    launched: float
    run: str
    attempt: int
    deadline: float | None  # as the reaper heeds it
    ended: float | None  # None where EC2 does not say when
    reason: str  # why it is not running, as EC2 says; else ''

    @property
    def alive(self) -> bool:
        """Whether it works, or is about to."""
        return self.state in ("pending", "running")

    @property
    def costs(self) -> bool:
        """Whether something of it may still be paid for: a stopped machine has its disk."""
        return self.state not in ("terminated", "shutting-down")

    @property
    def ended_by_hand(self) -> bool:
        """Whether somebody told EC2 to end it: not the machine itself, nor EC2 for its own reasons."""
        return not self.alive and self.reason.startswith("Client.UserInitiatedShutdown")


def find(ec2, run: str | None = None) -> list[Instance]:
    """Our machines, of one run or of all, oldest first; EC2 shows ended ones for about an hour."""
    filters = [{"Name": "tag:project", "Values": [PROJECT]}]
    if run:
        filters.append({"Name": "tag:run", "Values": [run]})
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    found = [of(each) for page in pages for reservation in page["Reservations"] for each in reservation["Instances"]]
    return sorted(found, key=lambda machine: (machine.launched, machine.id))


def _reason(about: dict) -> str:
    """EC2's code for a change of state and its text, which mostly begins with the code."""
    code, message = about.get("Code", ""), about.get("Message", "")
    return message if message.startswith(code) else f"{code}: {message}"


def of(about: dict) -> Instance:
    """A machine from what EC2 says of an instance."""
    tags = {tag["Key"]: tag["Value"] for tag in about.get("Tags", ())}
    number, deadline = tags.get("attempt", ""), tags.get("deadline", "")
    when = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)", about.get("StateTransitionReason") or "")
    launched = about["LaunchTime"].timestamp()
    return Instance(
        id=about["InstanceId"],
        state=about["State"]["Name"],
        type=about["InstanceType"],
        zone=about.get("Placement", {}).get("AvailabilityZone", ""),
        spot=about.get("InstanceLifecycle") == "spot",
        launched=launched,
        run=tags.get("run", ""),
        attempt=int(number) if number.isdecimal() else 0,
        deadline=min(float(deadline), launched + reaper.LONGEST) if deadline.isdecimal() else None,
        ended=datetime.strptime(when[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() if when else None,
        reason=_reason(about.get("StateReason") or {}),
    )
