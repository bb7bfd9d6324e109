"""Reconcile claims of attempts with instances after a crash: record what is missing, terminate what is left."""

from __future__ import annotations

import logging
import time

from plantdoc.aws import ec2_prices
from plantdoc.ec2 import instances
from plantdoc.ec2.attempts import Attempt, Attempts, beat
from plantdoc.ec2.interrupts import Interrupts
from plantdoc.ec2.terminate import Unconfirmed, terminate
from plantdoc.remote.aws_context import AwsContext

log = logging.getLogger("plantdoc")
_LOOKS = 4  # at the claim of a machine that a person has ended


def adopted(aws: AwsContext, attempts: Attempts, attempt: Attempt, machine: instances.Instance | None) -> Attempt:
    """The attempt with its machine, where a launcher had started one and did not come to write it down."""
    if attempt.instance or not machine:
        return attempt
    log.info("ec2: attempt %d has a machine that nobody wrote down: %s", attempt.n, machine.id)
    price = ec2_prices.of(aws.session, aws.region, machine.type, machine.zone, machine.spot)
    most = ec2_prices.most(aws.session, aws.region, machine.type, price)
    return attempts.write(attempt.started(machine, aws.region, price.dollars, most))


def final_state(attempts: Attempts, attempt: Attempt, machine: instances.Instance | None) -> Attempt:
    """The attempt as it stands; where a person has ended its machine, with time for them to write that down."""
    for _ in range(_LOOKS):
        now = attempts.read(attempt)
        if now.over or attempts.end(attempt) or not (machine and machine.ended_by_hand):
            break
        time.sleep(beat())
    return now


def closed(aws: AwsContext, attempts: Attempts) -> tuple[list[Attempt], Unconfirmed | None]:
    """All attempts at a run that is done, each over and with its bill; machines that are left are ended.

    Also returns the error where EC2 does not show the end of one of them.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    found, every, unconfirmed = [], attempts.all(), None
    try:
        found = instances.find(aws.ec2, attempts.run)
        open_claims = {each.instance: each.launched for each in every if each.instance and not each.over}
        ended = {each.id for each in found if not each.costs}
        left = open_claims | {each.id: each.launched for each in found if each.costs}
        terminate(aws.ec2, {id: launched for id, launched in left.items() if id not in ended})
    except Unconfirmed as error:
        unconfirmed = error
    except (ClientError, BotoCoreError) as error:
        log.warning("ec2: EC2 does not answer (%s); a machine that is left ends by itself", error)
    settled = []
    for attempt in every:
        machine = next((each for each in found if each.attempt == attempt.n), None)
        attempt = adopted(aws, attempts, attempt, machine)
        settled.append(attempt if attempt.over else attempts.settle(attempt, machine))
    return settled, unconfirmed


def give_up(aws: AwsContext, attempts: Attempts, attempt: Attempt, interrupts: Interrupts, stopped: str | None) -> None:
    """End the attempt's machine, whatever is known of it, and write that down; says so where it cannot."""
    from botocore.exceptions import BotoCoreError, ClientError

    found = []
    try:
        with interrupts.held():
            found = [each for each in instances.find(aws.ec2, attempt.run) if each.attempt == attempt.n]
            left = {each.id: each.launched for each in found if each.costs}
            if attempt.instance:
                left.setdefault(attempt.instance, attempt.launched)
            terminate(aws.ec2, left)
            for id in sorted(left):
                log.info("ec2: ended the machine %s", id)
    except KeyboardInterrupt:
        pass  # it is ended
    except Unconfirmed as error:
        log.warning("ec2: %s", error)
    except (ClientError, BotoCoreError) as error:
        log.warning("ec2: the machine could not be ended (%s). %s", error, how_to_attach(attempt))
    try:
        attempts.settle(attempt, found[-1] if found else None, stopped)
    except (ClientError, BotoCoreError) as error:
        log.warning("ec2: the end could not be written to S3 (%s)", error)


def how_to_attach(attempt: Attempt | None) -> str:
    """Commands for a run that continues without a watcher."""
    if not attempt:
        return "Nothing was started"
    deadline = attempt.claim.deadline
    by = f", which ends by itself by {time.strftime('%H:%M', time.localtime(deadline))}" if deadline else ""
    return (
        f"The run {attempt.run} continues on its machine{by}: the same command attaches to it or takes its result, "
        f"`python scripts/ec2.py stop {attempt.run}` ends it"
    )
