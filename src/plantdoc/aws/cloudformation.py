"""A CloudFormation stack: plan a change, carry it out, watch it, delete it.

A stack lives on when the command that started it ends, so each function takes up what an earlier run left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

from botocore.exceptions import ClientError

from plantdoc.aws import clients
from plantdoc.core.errors import UserError

# Left by a first creation that failed, or by a plan never carried out: such a stack can only be deleted.
LEFTOVER = ("REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")
_POLL = (1, 10)  # seconds between two looks, at first and at most
_LIMIT = 3600  # seconds that a change may take; minutes are usual


@dataclass(frozen=True)
class Plan:
    """A change set of the stack of this id: whether there is anything to do, and a line per resource it touches."""

    id: str
    stack: str
    needed: bool
    lines: list[str]


def find(client, name: str) -> dict | None:
    """The stack as AWS describes it; None where there is none."""
    try:
        return client.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if clients.code(error) == "ValidationError" and "does not exist" in str(error):
            return None
        raise


def changed(client, name: str) -> dict:
    """The stack as AWS describes it after a change.

    Raises:
        UserError: somebody deleted it meanwhile.
    """
    stack = find(client, name)
    if stack is None:
        raise UserError(f"the stack {name} is gone: somebody deleted it meanwhile; run this again to make it")
    return stack


def busy(stack: dict | None) -> TypeGuard[dict]:
    """Whether there is a stack, and a change of it is under way."""
    return stack is not None and stack["StackStatus"].endswith("_IN_PROGRESS") and stack["StackStatus"] not in LEFTOVER


def plan(
    client, name: str, template: str, parameters: dict[str, str], tags: dict[str, str], *, take_in: bool = False
) -> Plan:
    """Have AWS work out what it would do. A stack that is not there yet becomes an empty one until `discard`.

    `take_in` makes what is there already under the template's own names, like a bucket that outlived its stack, part
    of the stack; without it AWS refuses such names.

    Raises:
        UserError: AWS finds the template or the stack's state wrong.
    """
    made = client.create_change_set(
        StackName=name,
        ChangeSetName=f"plantdoc-{time.time_ns()}",
        ChangeSetType="UPDATE" if find(client, name) else "CREATE",
        TemplateBody=template,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        Capabilities=["CAPABILITY_IAM"],
        ImportExistingResources=take_in,
    )
    for pause in _pauses():
        found = client.describe_change_set(ChangeSetName=made["Id"], StackName=made["StackId"])
        if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
            break
        time.sleep(pause)
    reason = found.get("StatusReason", "")
    lines = [_line(change["ResourceChange"]) for change in found.get("Changes", ())]
    planned = Plan(made["Id"], made["StackId"], found["Status"] == "CREATE_COMPLETE", lines)
    if planned.needed:
        return planned
    discard(client, planned)
    if "didn't contain changes" in reason or "No updates are to be performed" in reason:
        return planned
    raise UserError(f"AWS cannot change the stack {name}: {reason or found['Status']}")


def discard(client, planned: Plan) -> None:
    """Delete the change set, and the stack where it is nothing but that."""
    client.delete_change_set(ChangeSetName=planned.id, StackName=planned.stack)
    stack = find(client, planned.stack)
    if stack and stack["StackStatus"] == "REVIEW_IN_PROGRESS":
        client.delete_stack(StackName=planned.stack)


def execute(client, planned: Plan) -> None:
    """Carry the plan out and show its events until it is done.

    Raises:
        UserError: a resource failed; AWS has put back what was there before.
    """
    before = events(client, planned.stack)
    client.execute_change_set(ChangeSetName=planned.id, StackName=planned.stack)
    status = watch(client, planned.stack, before)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"):
        raise UserError(
            f"the stack ended in {status}: {_reasons(client, planned.stack, before)}; mend that and run it again"
        )


def delete(client, stack: dict) -> None:
    """Delete the stack and show its events until it is gone.

    Raises:
        UserError: a resource could not be deleted.
    """
    before = events(client, stack["StackId"])
    client.delete_stack(StackName=stack["StackId"])
    status = watch(client, stack["StackId"], before)
    if status != "DELETE_COMPLETE":
        raise UserError(
            f"the stack ended in {status}: {_reasons(client, stack['StackId'], before)}; mend that and run it again"
        )


def events(client, stack: str) -> set[str]:
    """The ids of what has happened to the stack so far."""
    return {event["EventId"] for event in _events(client, stack, set())}


def watch(client, stack: str, before: set[str]) -> str:
    """Print a line per event that is not one of those `before`, until nothing is under way; returns the status.

    Raises:
        UserError: it takes longer than an hour.
    """
    shown = set(before)
    for pause in _pauses():
        found = find(client, stack)
        for event in _events(client, stack, shown):
            reason = f"  {event['ResourceStatusReason']}" if event.get("ResourceStatusReason") else ""
            print(
                f"{event['ResourceStatus']:<28}{event['ResourceType']:<28}{event['LogicalResourceId']}{reason}",
                flush=True,
            )
            shown.add(event["EventId"])
        if not busy(found):
            return found["StackStatus"] if found else "DELETE_COMPLETE"
        time.sleep(pause)
    raise UserError(f"the stack {stack} is still in progress after {_LIMIT // 60} minutes: run it again to wait")


def _pauses() -> Iterator[float]:
    """Seconds to wait, longer each time up to a bound, until the limit is reached."""
    pause, most = _POLL
    end = time.monotonic() + _LIMIT
    while time.monotonic() < end:
        yield pause
        pause = min(pause * 1.5, most)


def _line(change: dict) -> str:
    action = "Replace" if change.get("Replacement") == "True" else change["Action"]
    return f"{action:<9}{change['ResourceType']:<28}{change['LogicalResourceId']}"


def _events(client, stack: str, before: set[str]) -> list[dict]:
    """Events that are not among those `before`, oldest first."""
    found = []
    for page in client.get_paginator("describe_stack_events").paginate(StackName=stack):
        new = [event for event in page["StackEvents"] if event["EventId"] not in before]
        found += new
        if len(new) < len(page["StackEvents"]):
            break  # AWS gives the newest first
    return found[::-1]


def _reasons(client, stack: str, before: set[str]) -> str:
    """Reasons of failed resources, without those that were only called off for another one's failure."""
    failed = [
        (event["LogicalResourceId"], event.get("ResourceStatusReason", "no reason given"))
        for event in _events(client, stack, before)
        if event["ResourceStatus"].endswith("_FAILED")
    ]
    causes = [f"{name}: {reason}" for name, reason in failed if "cancelled" not in reason]
    return "; ".join(causes) or "AWS gives no reason"
