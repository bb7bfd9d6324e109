"""The endpoint itself: looked at, made, waited for, deleted; plantdoc.sagemaker.rollout updates it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime

from plantdoc.aws.tags import TAG
from plantdoc.core.errors import UserError
from plantdoc.sagemaker.context import Context, as_tags, missing, tags_of

IN_SERVICE, FAILED = "InService", "Failed"
_FINAL = (IN_SERVICE, FAILED, "OutOfService", "UpdateRollbackFailed")
_POLL = (0.2, 15.0)  # seconds between two looks, at first and at most
_LIMIT = 3600  # seconds; minutes are usual, and a blue/green update gives up after half an hour
_TELL = 30  # seconds between two lines where there is no terminal to write one line anew


@dataclass(frozen=True)
class State:
    """An endpoint as AWS describes it; `pending` is the config of an update under way."""

    arn: str
    status: str
    config: str
    pending: str | None
    reason: str
    created: datetime | None
    variant: dict

    @property
    def busy(self) -> bool:
        return self.status not in _FINAL


def look(context: Context, endpoint: str) -> State | None:
    """The endpoint of this name; None where there is none.

    Raises:
        UserError: it is not ours.
    """
    from botocore.exceptions import ClientError

    try:
        found = context.sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if missing(error):
            return None
        raise
    if not TAG.items() <= tags_of(context, found["EndpointArn"]).items():
        raise UserError(
            f"the endpoint {endpoint} in {context.region} was not made by this project (no tag "
            f"project={TAG['project']}), so nothing is done with it: set serve.endpoint to another name"
        )
    return State(
        found["EndpointArn"],
        found["EndpointStatus"],
        found.get("EndpointConfigName", ""),
        found.get("PendingDeploymentSummary", {}).get("EndpointConfigName"),
        found.get("FailureReason", ""),
        found.get("CreationTime"),
        next(iter(found.get("ProductionVariants", ())), {}),
    )


def create(context: Context, endpoint: str, config: str) -> None:
    """Have AWS make the endpoint; it goes on by itself."""
    from sagemaker.core.resources import Endpoint
    from sagemaker.core.shapes import Tag

    Endpoint.create(
        endpoint_name=endpoint,
        endpoint_config_name=config,
        tags=[Tag(key=each["Key"], value=each["Value"]) for each in as_tags({"plantdoc:endpoint": endpoint})],
        session=context.aws.session,
        region=context.region,
    )


def settled(context: Context, endpoint: str) -> State | None:
    """Wait until nothing is under way, with a line that says how long it takes; None where the endpoint is gone.

    Raises:
        UserError: it takes longer than an hour.
    """
    progress, clock = _Progress(), context.clock
    started, pause = clock.now(), _POLL[0]
    while (elapsed := clock.now() - started) < _LIMIT:
        state = look(context, endpoint)
        if not state or not state.busy:
            progress.end()
            return state
        progress.tell(f"{endpoint}: {state.status}", elapsed)
        clock.sleep(pause)
        pause = min(pause * 1.5, _POLL[1])
    progress.end()
    raise UserError(f"{endpoint} is still in progress after {_LIMIT // 60} minutes: run it again to wait")


def delete(context: Context, endpoint: str) -> bool:
    """Delete the endpoint and wait until it is gone; returns whether there was one."""
    if not settled(context, endpoint):
        return False
    context.sagemaker.delete_endpoint(EndpointName=endpoint)
    settled(context, endpoint)
    return True


class _Progress:
    """A line on the terminal, written anew; elsewhere a line at each change and every half minute."""

    def __init__(self):
        self._last, self._told = "", -_TELL

    def tell(self, text: str, elapsed: float) -> None:
        took = f"{elapsed // 60:.0f} min {elapsed % 60:02.0f} s"
        if sys.stderr.isatty():
            print(f"\r\x1b[Kdeploy: {text}, {took}", end="", file=sys.stderr, flush=True)
        elif text != self._last or elapsed - self._told >= _TELL:
            print(f"deploy: {text}, {took}", file=sys.stderr, flush=True)
            self._told = elapsed
        self._last = text

    def end(self) -> None:
        if self._last and sys.stderr.isatty():
            print(file=sys.stderr)
