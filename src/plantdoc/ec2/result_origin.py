"""Check that a run's result.json was written by a machine of that run, before anything is taken from it.

The role of training machines may write the results of all runs, and a machine runs code that anybody may have changed.
But no machine may write claims, and a run's id is the hash of what its result follows from.
"""

from __future__ import annotations

from typing import Any

from plantdoc.core import identity
from plantdoc.core.errors import UserError
from plantdoc.ec2 import instances
from plantdoc.ec2.attempts import Attempts
from plantdoc.remote.aws_context import AwsContext


def check(aws: AwsContext, attempts: Attempts, result: Any) -> None:
    """Refuse a result whose attempt has no claim with an instance, or which is of other inputs than the run's.

    Raises:
        UserError: it names the object and what is wrong with it.
    """
    if fault := _fault(aws, attempts, result):
        where = f"s3://{aws.bucket}/{aws.store.prefix}{attempts.run}/result.json"
        raise UserError(
            f"{where} was not written by a machine of this run ({fault}), and nothing was taken from it: find out who "
            "wrote it (S3's versions and CloudTrail tell), then delete it and its outputs/ and checkpoint/, and the "
            "same command trains again"
        )


def _fault(aws: AwsContext, attempts: Attempts, result: Any) -> str:
    """What is wrong with the result; '' for nothing."""
    if not isinstance(result, dict):
        return "it is no result of a training"
    n, made_from = result.get("attempt"), result.get("made_from")
    if not isinstance(n, int) or not isinstance(made_from, dict) or not isinstance(result.get("outputs"), dict):
        return "it is no result of a training"
    if (found := identity.run_id(made_from)) != attempts.run:
        return f"its made_from is that of run {found}"
    attempt = attempts.find(n)
    if attempt is None:
        return f"nobody has claimed its attempt {n}"
    if attempt.instance:
        return ""
    # Its launcher may have ended between the start and the second writing of the claim: EC2 then knows the machine.
    if any(each.attempt == n for each in instances.find(aws.ec2, attempts.run)):
        return ""
    return f"no machine was ever started for its attempt {n}"
