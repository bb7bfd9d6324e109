"""Quotas of the account that SageMaker refuses an endpoint for, with the remedy for each."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from plantdoc.aws import clients
from plantdoc.core.errors import UserError

_EXCEEDED = "ResourceLimitExceeded"
_QUOTA = re.compile(r"limit '([^']+)' is ([\d.]+)")
_INSTANCES = re.compile(r"for endpoint usage|instances? (count )?across", re.IGNORECASE)


class QuotaError(UserError):
    """A quota of the account is too low for the endpoint; nothing was started."""


@contextlib.contextmanager
def explained(*, update: bool) -> Iterator[None]:
    """Turn ResourceLimitExceeded of CreateEndpoint and UpdateEndpoint into what to do about it.

    Args:
        update: whether an endpoint is there already, whose instances count against the quota until the update ends.

    Raises:
        QuotaError: AWS refuses the endpoint for a quota.
    """
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if clients.code(error) != _EXCEEDED:
            raise
        said = error.response["Error"].get("Message", "").partition(". Please")[0].strip(". ") or _EXCEEDED
        raise QuotaError(f"AWS refused the endpoint: {said}. {remedy(said, update=update)}") from None


def remedy(said: str, *, update: bool) -> str:
    """What to do about the text of a ResourceLimitExceeded."""
    found = _QUOTA.search(said)
    name, limit = (found[1], float(found[2])) if found else ("", 0.0)
    raised = f"or request an increase of {name!r}" if found else "Request an increase"
    raised += " in the console of Service Quotas, at Amazon SageMaker; AWS Support raises what is not listed there"
    if "memory size" in name.lower():
        return f"Set serve.memory_mb in params.yaml to {limit:g} or less, {raised}"
    if "concurrency" in name.lower():
        return (
            f"All serverless endpoints of the region share it: lower serve.concurrency in params.yaml, remove an "
            f"endpoint (`make endpoints` lists ours), {raised}"
        )
    if _INSTANCES.search(name):
        twice = (
            "An update starts the new instances before it ends the old ones, so the quota has to hold both: twice "
            "serve.min_instances, more where autoscaling has added some. `make undeploy` and then `make deploy` needs "
            "them once, with some minutes in which nothing answers. Or set "
        )
        return (
            f"{twice if update else 'Set '}another serve.instance_type, a lower serve.min_instances, or "
            f"serve.serverless: true in params.yaml, {raised}"
        )
    if "endpoint" in name.lower():
        return f"Remove an endpoint (`make endpoints` lists ours), {raised}"
    return raised[0].upper() + raised[1:] if not found else f"Lower what is asked for in params.yaml, {raised}"
