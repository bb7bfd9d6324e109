"""The end of an instance is what EC2 shows, not what it answers to the request."""

from __future__ import annotations

import logging
import time

import boto3
import botocore.session
import ec2_commands
import fake_aws
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from plantdoc.core import dvc_config
from plantdoc.ec2 import attempts, interrupts, reconcile, run_cleanup, stop, terminate
from plantdoc.remote import aws_context, dvc_remote

pytest_plugins = ["ec2_fixtures"]
REGION, RUN = "us-east-1", "0123456789abcdef"
NOT_FOUND = "InvalidInstanceID.NotFound"


@pytest.fixture
def aws(account, monkeypatch):
    account.reset()
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PLANTDOC_BEAT", "0.001")
    monkeypatch.setattr(botocore.session, "create_loader", lambda _=None: ec2_commands.LOADER)
    return account


@pytest.fixture
def here(aws) -> aws_context.AwsContext:
    where = dvc_config.Remote("storage", "s3://leaves/dvc", {})
    aws.client("s3").create_bucket(Bucket="leaves")
    return aws_context.AwsContext(where, "leaves", "dvc", dvc_remote.session(where), REGION)


def launch(aws: fake_aws.AWS) -> str:
    """A machine of attempt 1 that was just started; returns its id."""
    tags = {"project": "plant-disease-detector", "run": RUN, "attempt": "1", "deadline": str(int(time.time()) + 3600)}
    made = aws.client("ec2").run_instances(
        ImageId=aws.rules.image,
        InstanceType="g5.xlarge",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}],
    )
    return made["Instances"][0]["InstanceId"]


def state(aws: fake_aws.AWS, id: str) -> str:
    return aws.backend.get_instance(id)._state.name


def requests(aws: fake_aws.AWS) -> int:
    return sum(call.action == "TerminateInstances" for call in aws.calls)


def claimed(here: aws_context.AwsContext, instance: str | None) -> attempts.Attempt:
    """Attempt 1 with its machine, as its launcher has written it."""
    every = attempts.Attempts(here.store, RUN)
    attempt = every.claim(1, "c0de")
    return every.write(attempt, instance=instance, launched=time.time(), price=1.0)


def test_the_request_is_repeated_until_ec2_knows_the_instance(aws, here):
    id = launch(aws)
    aws.fail("TerminateInstances", NOT_FOUND, times=4)
    terminate.terminate(here.ec2, {id: time.time()})
    assert state(aws, id) == "terminated" and requests(aws) == 5


def test_several_instances_are_asked_for_together_and_each_until_its_end(aws, here):
    ids = [launch(aws), launch(aws)]
    aws.fail("TerminateInstances", NOT_FOUND, times=2, where=lambda call: ids[1] in call.given.values())
    terminate.terminate(here.ec2, dict.fromkeys(ids, time.time()))
    assert [state(aws, id) for id in ids] == ["terminated"] * 2 and requests(aws) == 4


def test_an_instance_that_ec2_does_not_know_for_minutes_is_not_called_ended(aws, here):
    id = launch(aws)
    aws.rules.lag = 600
    with pytest.raises(terminate.Unconfirmed) as error:
        terminate.terminate(here.ec2, {id: time.time()})
    text = str(error.value)
    assert f"the end of {id} could not be confirmed" in text and "may still run and cost money" in text
    assert f"aws ec2 describe-instances --region {REGION} --filters Name=instance-id,Values={id}" in text
    assert state(aws, id) == "running" and requests(aws) > 5


def test_an_older_one_that_ec2_has_forgotten_has_ended(aws, here):
    terminate.terminate(here.ec2, {"i-0123456789abcdef0": time.time() - 3600})
    assert requests(aws) == 3


def test_an_answer_without_an_effect_is_no_end(monkeypatch):
    monkeypatch.setenv("PLANTDOC_BEAT", "0.001")
    ec2 = boto3.client("ec2", REGION, aws_access_key_id="key", aws_secret_access_key="secret")
    with Stubber(ec2) as stub:
        for shown in ("running", "running", "shutting-down"):
            stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-1"]})
            found = [{"Instances": [{"InstanceId": "i-1", "State": {"Name": shown}}]}]
            stub.add_response("describe_instances", {"Reservations": found})
        terminate.terminate(ec2, {"i-1": time.time()})
        stub.assert_no_pending_responses()


def test_what_ec2_refuses_for_one_keeps_no_other_alive(aws, here):
    kept, other = launch(aws), launch(aws)
    aws.fail("TerminateInstances", "OperationNotPermitted", None, lambda call: kept in call.given.values())
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        terminate.terminate(here.ec2, dict.fromkeys([kept, other], time.time()))
    assert (state(aws, kept), state(aws, other)) == ("running", "terminated")


@pytest.mark.parametrize("confirmed", [True, False])
def test_giving_up_says_ended_only_where_that_is_seen(aws, here, caplog, confirmed):
    """As after Ctrl-C right after the start. Whatever EC2 says, the claim tells the machine to stop."""
    caplog.set_level(logging.INFO)
    attempt = claimed(here, launch(aws))
    if confirmed:
        aws.fail("TerminateInstances", NOT_FOUND, times=2)
    else:
        aws.rules.lag = 600
    every = attempts.Attempts(here.store, RUN)
    reconcile.give_up(here, every, attempt, interrupts.Interrupts(), stopped="ann")
    assert (f"ended the machine {attempt.instance}" in caplog.text) == confirmed
    assert (f"the end of {attempt.instance} could not be confirmed" in caplog.text) != confirmed
    claim = every.find(1).claim
    assert claim.ended and claim.stopped == "ann"
    assert state(aws, attempt.instance) == ("terminated" if confirmed else "running")


def test_a_machine_that_only_its_claim_names_is_stopped_too(aws, here):
    attempt = claimed(here, launch(aws))
    aws.rules.lag = 600
    with pytest.raises(terminate.Unconfirmed, match=attempt.instance):
        stop.stop(here, {RUN})
    assert attempts.Attempts(here.store, RUN).find(1).claim.stopped
    aws.rules.lag = 0
    assert stop.stop(here, {RUN}) == [f"{attempt.instance} (g5.xlarge in us-east-1a, run {RUN})"]
    assert state(aws, attempt.instance) == "terminated"


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_finished_run_is_closed_with_all_its_machines(aws, here, confirmed):
    attempt = claimed(here, launch(aws))
    aws.rules.lag = 0 if confirmed else 600
    settled, unconfirmed = reconcile.closed(here, attempts.Attempts(here.store, RUN))
    assert [each.over for each in settled] == [True]
    assert (unconfirmed is None) == confirmed == (state(aws, attempt.instance) == "terminated")


def test_a_clean_up_names_a_machine_whose_end_is_not_seen(aws, here):
    attempt = claimed(here, launch(aws))
    aws.rules.lag = 600
    (left,) = run_cleanup.remove(here, RUN, "dvc/smoke")
    assert f"the end of {attempt.instance} could not be confirmed" in left
