"""Taking away what a run leaves behind: for a trial of the way to EC2, not for runs that somebody wants."""

from __future__ import annotations

import time
from collections.abc import Iterator

from plantdoc.core.errors import UserError
from plantdoc.ec2 import instances, terminate
from plantdoc.ec2.attempts import Attempts, beat
from plantdoc.remote.aws_context import AwsContext

_LIMIT = 300  # seconds in which a terminated machine is gone
_AT_ONCE = 1000  # objects that S3 deletes in one request


def remove(aws: AwsContext, run: str | None, prefix: str) -> list[str]:
    """End the run's machines and wait for that, then delete its files, its code, and what is below `prefix`.

    All versions go. Without a `run` there is only the prefix. Returns a line for each thing that stays, and why.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    left: list[str] = []
    prefixes = [f"{prefix}/"]
    try:
        if run:
            left += _end(aws, run)
            prefixes += [f"runs/code/{each.claim.code}.tar.gz" for each in Attempts(aws.store, run).all()]
            prefixes.append(f"runs/{run}/")
        for below in dict.fromkeys(prefixes):
            left += _delete(aws, below)
    except (ClientError, BotoCoreError) as error:
        where = " ".join(f"s3://{aws.bucket}/{below}" for below in prefixes)
        left.append(f"look for machines with `python scripts/ec2.py ls`, and remove {where} by hand ({error})")
    return left


def _end(aws: AwsContext, run: str) -> list[str]:
    # A machine that was just started may be in its claim alone: EC2 does not list it at once.
    claimed = {each.instance: each.launched for each in Attempts(aws.store, run).all() if each.instance}
    try:
        terminate.terminate(aws.ec2, claimed)
    except UserError as error:
        return [str(error)]
    until = time.monotonic() + _LIMIT
    while alive := [each for each in instances.find(aws.ec2, run) if each.state != "terminated"]:
        terminate.request(aws.ec2, [each.id for each in alive if each.costs])
        if time.monotonic() > until:
            return [f"machine {each.id} is still {each.state} in {aws.region}" for each in alive]
        time.sleep(beat())
    return []


def _delete(aws: AwsContext, below: str) -> list[str]:
    client, left = aws.store.client, []
    for found in _batches(aws, below):
        answer = client.delete_objects(Bucket=aws.bucket, Delete={"Objects": found, "Quiet": True})
        left += [
            f"s3://{aws.bucket}/{each['Key']} ({each.get('Message') or each.get('Code')})"
            for each in answer.get("Errors", ())
        ]
    if len(left) > 1:
        return [f"{left[0]}, and {len(left) - 1} more below s3://{aws.bucket}/{below}"]
    return left


def _batches(aws: AwsContext, below: str) -> Iterator[list[dict[str, str]]]:
    """Versions and delete marks whose keys begin with `below`, as many as S3 deletes at once."""
    pages = aws.store.client.get_paginator("list_object_versions").paginate(
        Bucket=aws.bucket, Prefix=below, PaginationConfig={"PageSize": _AT_ONCE}
    )
    for page in pages:
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if found:
            yield [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
