"""Terminate EC2 instances, and make sure that EC2 shows their end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping

from plantdoc.core.errors import UserError
from plantdoc.ec2.attempts import beat

log = logging.getLogger("plantdoc")
_UNKNOWN = "InvalidInstanceID.NotFound"
_ENDING = ("shutting-down", "terminated")
# Right after a launch EC2 may answer that there is no such instance while it runs: the API is eventually consistent
# (docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html). It forgets ended ones after about an hour.
_YOUNG = 15 * 60  # seconds after its launch in which an unknown instance may still run
_LOOKS = 3  # at an older one that is unknown
_PATIENCE = 300  # seconds in which EC2 is asked again, where a beat is _BEAT
_BEAT = 5.0
_FIRST, _LONGEST = 2.0, 30.0  # seconds between two requests


class Unconfirmed(UserError):
    """EC2 does not show that an instance ends: it may run and cost money."""


def request(ec2, ids: Iterable[str]) -> None:
    """Send one TerminateInstances for each instance, for callers that look at the instances again and repeat it.

    Raises:
        ClientError: EC2 refuses to end one; the others were requested all the same.
    """
    from botocore.exceptions import ClientError

    refused = None
    for id in ids:
        try:
            ec2.terminate_instances(InstanceIds=[id])
        except ClientError as error:
            if error.response["Error"]["Code"] != _UNKNOWN:
                refused = refused or error
    if refused:
        raise refused


def terminate(ec2, launched: Mapping[str, float]) -> None:
    """Terminate instances, given by id with the epoch second of their launch; returns when EC2 shows their end.

    An answer "not found" is no end of an instance that was launched minutes ago: the request is repeated.

    Raises:
        Unconfirmed: EC2 shows no end within _PATIENCE.
        ClientError: EC2 refuses.
    """
    left = dict(launched)
    for looks, pause in enumerate(_pauses(), start=1):
        request(ec2, left)
        left = _not_ended(ec2, left, looks)
        if not left:
            return
        if pause is None:
            break
        if looks == 1:
            log.info("ec2: EC2 does not show the end of %s yet, asking again", ", ".join(left))
        time.sleep(pause)
    ids, region = " ".join(sorted(left)), ec2.meta.region_name
    raise Unconfirmed(
        f"the end of {ids} could not be confirmed: EC2 was asked for {_PATIENCE // 60} minutes and does not show it, "
        f"so it may still run and cost money. Look with `aws ec2 describe-instances --region {region} --filters "
        f"Name=instance-id,Values={ids.replace(' ', ',')}`, end it with `aws ec2 terminate-instances --region {region} "
        f"--instance-ids {ids}`"
    )


def _not_ended(ec2, launched: Mapping[str, float], looks: int) -> dict[str, float]:
    """Instances that still run, as far as EC2 shows; by a filter, which refuses no unknown id."""
    if not launched:
        return {}
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-id", "Values": sorted(launched)}]
    )
    states = {
        each["InstanceId"]: each["State"]["Name"]
        for page in pages
        for reservation in page["Reservations"]
        for each in reservation["Instances"]
    }

    def ended(id: str) -> bool:
        if id in states:
            return states[id] in _ENDING
        return looks >= _LOOKS and time.time() - launched[id] > _YOUNG

    return {id: when for id, when in launched.items() if not ended(id)}


def _pauses() -> Iterator[float | None]:
    """Seconds to wait after each look, None after the last one."""
    pause, total = _FIRST, 0.0
    while total < _PATIENCE:
        yield pause * beat() / _BEAT
        total, pause = total + pause, min(2 * pause, _LONGEST)
    yield None
