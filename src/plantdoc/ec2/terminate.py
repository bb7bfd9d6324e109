"""Terminate EC2 instances."""

from __future__ import annotations

from collections.abc import Iterable

_GONE = ("InvalidInstanceID.NotFound",)


def terminate(ec2, ids: Iterable[str]) -> None:
    """Terminate these instances; one that EC2 does not know any more has ended."""
    from botocore.exceptions import ClientError

    for id in ids:
        try:
            ec2.terminate_instances(InstanceIds=[id])
        except ClientError as error:
            if error.response["Error"]["Code"] not in _GONE:
                raise
