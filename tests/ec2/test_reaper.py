"""The reaper ends what is ours and late, and nothing else."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
import urllib.request

import boto3
import fake_s3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from import_graph import ROOT

from plantdoc.aws.tags import TAG
from plantdoc.ec2 import instances, reaper

NOW = time.time()
IMAGE = "ami-12c6146b"  # one of those that moto has from the first
LATE = str(int(NOW) - 601)
SOON = str(int(NOW) + 3600)


@pytest.fixture(scope="module")
def server():
    """A stand-in for AWS, and a client of its EC2."""
    with pytest.MonkeyPatch.context() as monkeypatch, fake_s3.running(monkeypatch):
        yield boto3.client("ec2")


@pytest.fixture
def ec2(server):
    """The same without a machine."""
    urllib.request.urlopen(f"{server.meta.endpoint_url}/moto-api/reset", data=b"").close()
    return boto3.client("ec2")


def launch(ec2, **tags: str) -> str:
    """A machine with these tags; returns its id."""
    specifications = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}]
    made = ec2.run_instances(
        ImageId=IMAGE, MinCount=1, MaxCount=1, InstanceType="t3.micro", TagSpecifications=specifications if tags else []
    )
    return made["Instances"][0]["InstanceId"]


def ours(ec2, deadline: str, **tags: str) -> str:
    return launch(ec2, project="plant-disease-detector", run="0123456789abcdef", deadline=deadline, **tags)


def state(ec2, instance: str) -> str:
    (found,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    return found["Instances"][0]["State"]["Name"]


def test_only_ours_and_only_those_past_the_deadline_and_ten_minutes(ec2):
    late, just = ours(ec2, LATE), ours(ec2, str(int(NOW) - 599))
    others = [
        ours(ec2, SOON),
        launch(ec2, project="another", deadline=LATE),
        launch(ec2, deadline=LATE),
        launch(ec2),
    ]
    found = reaper.reap(ec2, NOW)
    assert [machine["instance"] for machine in found] == [late]
    assert found[0] | {"zone": ""} == {
        "instance": late,
        "type": "t3.micro",
        "zone": "",
        "run": "0123456789abcdef",
        "deadline": float(LATE),
        "error": None,
    }
    assert state(ec2, late) == "terminated"
    assert {state(ec2, each) for each in [just, *others]} == {"running"}
    assert reaper.reap(ec2, NOW) == [], "what has ended is not ended again"


def test_a_stopped_machine_costs_its_disk_and_goes_too(ec2):
    late = ours(ec2, LATE)
    ec2.stop_instances(InstanceIds=[late])
    assert [machine["instance"] for machine in reaper.reap(ec2, NOW)] == [late]


@pytest.mark.parametrize("tags", [{}, {"deadline": "soon"}, {"deadline": ""}, {"deadline": "nan"}])
def test_without_a_deadline_to_read_it_is_the_longest_that_a_training_may_take(ec2, tags):
    machine = launch(ec2, project="plant-disease-detector", **tags)
    assert reaper.reap(ec2, NOW + 120 * 3600) == []
    assert [each["instance"] for each in reaper.reap(ec2, NOW + 122 * 3600)] == [machine]


@pytest.mark.parametrize(
    "deadline",
    [str(int(NOW) * 1000), str(10**30), "9" * 400, str(int(NOW) + 300 * 3600)],
    ids=["milliseconds", "far", "400 digits", "300 hours"],
)
def test_no_deadline_is_believed_past_the_longest_life(ec2, deadline):
    """A tag in milliseconds is enough to be one."""
    machine = ours(ec2, deadline)
    assert reaper.reap(ec2, NOW + 121 * 3600) == []
    (ended,) = reaper.reap(ec2, NOW + 122 * 3600)
    assert ended["instance"] == machine and abs(ended["deadline"] - NOW - reaper.LONGEST) < 3600
    assert state(ec2, machine) == "terminated"


def test_commands_and_reaper_heed_the_same_deadline(ec2):
    soon, late = ours(ec2, SOON), ours(ec2, str(int(NOW) * 1000))
    found = {each.id: each.deadline - each.launched for each in instances.find(ec2)}
    assert found[soon] < 3700 and found[late] == reaper.LONGEST


def test_one_that_aws_keeps_is_told_and_the_others_are_ended(ec2):
    kept, late = ours(ec2, LATE), ours(ec2, LATE)
    ec2.modify_instance_attribute(InstanceId=kept, DisableApiTermination={"Value": True})
    found = {machine["instance"]: machine["error"] for machine in reaper.reap(ec2, NOW)}
    assert found[late] is None and "OperationNotPermitted" in found[kept]
    assert (state(ec2, kept), state(ec2, late)) == ("running", "terminated")
    ec2.modify_instance_attribute(InstanceId=kept, DisableApiTermination={"Value": False})


def test_it_sees_more_machines_than_aws_lists_at_once():
    client = boto3.client("ec2", "us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
    launched = datetime.datetime.fromtimestamp(NOW - 7200, datetime.UTC)
    listed = {"InstanceType": "t3.micro", "Placement": {"AvailabilityZone": "us-east-1a"}, "LaunchTime": launched}
    tags = [{"Key": "deadline", "Value": LATE}]
    pages = [{"Reservations": [{"Instances": [listed | {"InstanceId": f"i-{page}", "Tags": tags}]}]} for page in "12"]
    with Stubber(client) as stub:
        stub.add_response("describe_instances", pages[0] | {"NextToken": "more"})
        stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-1"]})
        asked = {"Filters": [reaper.OURS, reaper.PAID], "NextToken": "more"}
        stub.add_response("describe_instances", pages[1], asked)
        stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-2"]})
        assert [machine["instance"] for machine in reaper.reap(client, NOW)] == ["i-1", "i-2"]


def test_the_tag_that_it_repeats_is_that_of_the_project():
    assert [{"Name": f"tag:{key}", "Values": [value]} for key, value in TAG.items()] == [reaper.OURS]


def test_as_a_lambda_function_it_is_one_file_of_its_own(ec2, tmp_path):
    """As CloudFormation lays it out: its text alone, named index.py, with no module of ours in reach."""
    late, other = ours(ec2, LATE), ours(ec2, SOON)
    (tmp_path / "index.py").write_bytes((ROOT / "src/plantdoc/ec2/reaper.py").read_bytes())
    code = (
        "import index, sys; assert not any('plantdoc' in name for name in sys.modules); print(index.handler({}, None))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    told, count = done.stdout.splitlines()
    assert late in told and count == "1"
    assert (state(ec2, late), state(ec2, other)) == ("terminated", "running")


def test_the_function_fails_where_a_machine_stays(ec2):
    kept = ours(ec2, LATE)
    ec2.modify_instance_attribute(InstanceId=kept, DisableApiTermination={"Value": True})
    with pytest.raises(RuntimeError, match=kept):
        reaper.handler({}, None)
    ec2.modify_instance_attribute(InstanceId=kept, DisableApiTermination={"Value": False})


def test_what_aws_refuses_altogether_is_not_hidden(ec2):
    ec2.meta.events.register("before-parameter-build.ec2.DescribeInstances", refuse)
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        reaper.reap(ec2, NOW)


def refuse(**_) -> None:
    raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": ""}}, "DescribeInstances")


def test_it_fits_into_a_parameter_of_a_stack():
    assert len((ROOT / "src/plantdoc/ec2/reaper.py").read_bytes()) < 4096
    assert datetime.timedelta(seconds=reaper.GRACE) == datetime.timedelta(minutes=10)
