"""The stand-ins for AWS refuse and forget as AWS does, in all that the tests of training on EC2 rely on."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

import fake_aws
import fake_ec2
import pytest
from botocore.exceptions import ClientError, HTTPClientError

S3 = {
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "the-role's-key",
    "AWS_SECRET_ACCESS_KEY": "the-role's-secret",
}


@pytest.fixture(scope="module")
def aws():
    with fake_aws.running() as aws:
        yield aws


@pytest.fixture(autouse=True)
def as_new(aws):
    """Each test finds full capacity, quotas and no machine."""
    yield
    for each in aws.backend.all_instances():
        each.terminate()
    aws.rules.full.clear()
    aws.faults.clear()
    aws.rules.quotas |= dict.fromkeys(aws.rules.quotas, 64.0)
    aws.rules.lag = 0.0


@pytest.fixture
def world(aws, tmp_path):
    with fake_ec2.running(aws, S3, tmp_path, minute=0.5, grace=0.3) as world:
        yield world


def launch(aws, user_data: str = "#!/bin/sh\n", **given) -> dict:
    """One machine, as AWS describes it right after."""
    given = {"ImageId": aws.rules.image, "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1} | given
    return aws.client("ec2").run_instances(UserData=user_data, **given)["Instances"][0]


def refused(aws, *arguments, **given) -> str:
    """The code with which a launch is refused."""
    with pytest.raises(ClientError) as caught:
        launch(aws, *arguments, **given)
    return caught.value.response["Error"]["Code"]


def state(aws, id: str) -> str:
    found = aws.client("ec2").describe_instances(InstanceIds=[id])
    return found["Reservations"][0]["Instances"][0]["State"]["Name"]


def test_a_client_token_stands_for_one_machine(aws):
    first = launch(aws, ClientToken="token")
    assert launch(aws, ClientToken="token")["InstanceId"] == first["InstanceId"]
    assert refused(aws, ClientToken="token", InstanceType="g4dn.xlarge") == "IdempotentParameterMismatch"
    assert launch(aws, ClientToken="other")["InstanceId"] != first["InstanceId"]
    assert refused(aws, ClientToken="t" * 65) == "InvalidParameterValue"
    aws.client("ec2").terminate_instances(InstanceIds=[first["InstanceId"]])
    again = launch(aws, ClientToken="token")
    assert (again["InstanceId"], again["State"]["Name"]) == (first["InstanceId"], "terminated")


def test_of_many_requests_at_once_with_one_token_one_starts_a_machine(aws):
    ids = []
    threads = [
        threading.Thread(target=lambda: ids.append(launch(aws, ClientToken="race")["InstanceId"])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids))) == (8, 1)


def test_types_images_zones_and_disks_that_there_are_not(aws):
    assert refused(aws, InstanceType="g5.tiny") == "InvalidParameterValue"
    assert refused(aws, ImageId="ami-0123456789") == "InvalidAMIID.NotFound"
    assert refused(aws, InstanceType="p5.48xlarge", Placement={"AvailabilityZone": "eu-central-1a"}) == "Unsupported"
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30}}
    assert refused(aws, BlockDeviceMappings=[disk]) == "InvalidBlockDeviceMapping"


def test_a_new_instance_is_neither_described_nor_terminated_at_first(aws):
    id, ec2 = launch(aws)["InstanceId"], aws.client("ec2")
    aws.rules.lag = 600.0
    for ask in (ec2.describe_instances, ec2.terminate_instances):
        with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
            ask(InstanceIds=[id])
    assert not [each for found in ec2.describe_instances()["Reservations"] for each in found["Instances"]]
    aws.rules.lag = 0.0
    assert state(aws, id) == "running"


def test_user_data_has_room_for_16384_bytes(aws):
    launch(aws, "x" * 16384)
    assert refused(aws, "x" * 16385) == "InvalidParameterValue"


def test_capacity_by_type_zone_and_market(aws):
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    aws.no_capacity("g5.xlarge", "eu-central-1a")
    aws.no_capacity("g5.xlarge", market="spot")
    assert refused(aws, Placement={"AvailabilityZone": "eu-central-1a"}) == "InsufficientInstanceCapacity"
    assert launch(aws, Placement={"AvailabilityZone": "eu-central-1b"})["Placement"]["AvailabilityZone"][-1] == "b"
    assert launch(aws)["Placement"]["AvailabilityZone"] == "eu-central-1b", "AWS chooses where there is some"
    assert refused(aws, **spot) == "InsufficientInstanceCapacity"
    assert launch(aws, InstanceType="g4dn.xlarge", **spot)["InstanceLifecycle"] == "spot"


def test_quotas_count_the_vcpus_of_what_runs(aws):
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    aws.quota("L-DB2E81BA", 8)
    aws.quota("L-3819A6DF", 0)
    first = launch(aws)
    launch(aws, InstanceType="g4dn.xlarge")
    assert refused(aws) == "VcpuLimitExceeded"
    assert refused(aws, **spot) == "MaxSpotInstanceCountExceeded"
    launch(aws, InstanceType="t3.micro")
    aws.client("ec2").terminate_instances(InstanceIds=[first["InstanceId"]])
    launch(aws)
    quota = aws.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-3819A6DF")
    assert quota["Quota"]["Value"] == 0


def test_a_new_machine_may_not_be_described_yet(aws):
    aws.rules.lag = 60
    id = launch(aws)["InstanceId"]
    with pytest.raises(ClientError, match="InvalidInstanceID"):
        state(aws, id)
    assert id not in json.dumps(aws.client("ec2").describe_instances(), default=str)
    aws.rules.lag = 0
    assert state(aws, id) == "running"


def test_a_lost_answer_leaves_a_machine_that_the_token_finds(aws):
    aws.fail("RunInstances", "lost")
    with pytest.raises(HTTPClientError):
        launch(aws, ClientToken="lost")
    (there,) = [each.id for each in aws.backend.all_instances() if each._state.name == "running"]
    assert launch(aws, ClientToken="lost")["InstanceId"] == there


@pytest.mark.full
def test_a_machine_knows_nothing_but_what_a_token_opens(aws, world, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-person's-secret")
    aws.client("iam").create_role(RoleName="machine", AssumeRolePolicyDocument="{}")
    aws.client("iam").create_instance_profile(InstanceProfileName="profile")
    aws.client("iam").add_role_to_instance_profile(InstanceProfileName="profile", RoleName="machine")
    id = launch(aws, "#!/bin/sh\nenv; echo end of it\n", IamInstanceProfile={"Name": "profile"})["InstanceId"]
    world.wait(lambda: id in world.machines and "end of it" in world.machines[id].console)
    machine = world.machines[id]
    assert "secret" not in machine.console and "HOME=/" not in machine.console.replace("PLANTDOC_HOME", "")
    base = f"{machine.metadata.url}/latest"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        fetch(f"{base}/meta-data/instance-id")
    wanted = urllib.request.Request(f"{base}/api/token", method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(wanted, timeout=10)
    wanted.add_header("X-aws-ec2-metadata-token-ttl-seconds", "60")
    token = urllib.request.urlopen(wanted, timeout=10).read().decode()
    assert fetch(f"{base}/meta-data/instance-id", token) == id
    role = fetch(f"{base}/meta-data/iam/security-credentials/", token)
    credentials = json.loads(fetch(f"{base}/meta-data/iam/security-credentials/{role}", token))
    assert credentials["SecretAccessKey"] == S3["AWS_SECRET_ACCESS_KEY"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(f"{base}/meta-data/spot/instance-action", token)
    world.spot_notice(id)
    assert json.loads(fetch(f"{base}/meta-data/spot/instance-action", token))["action"] == "terminate"
    world.wait(lambda: machine.ended is not None)
    assert (machine.why, state(aws, id)) == ("killed", "terminated")


@pytest.mark.full
@pytest.mark.parametrize("how", ["terminate", "kill", "shutdown", "close"])
def test_no_process_outlives_its_machine(aws, world, tmp_path, how):
    """Children, grandchildren, those in a session of their own and orphans; also those that do not hear SIGTERM."""
    script = f"""#!/bin/bash
cd {tmp_path}
note() {{ echo $BASHPID >> pids; exec sleep 600; }}
note & (note &) ; (setsid bash -c 'echo $$ >> pids; trap "" TERM; while :; do sleep 600; done' &)
bash -c 'bash -c "echo \\$\\$ >> pids; exec setsid sleep 600" & wait' & echo $$ >> pids
until [ $(wc -l < pids) = 5 ]; do sleep 0.01; done
touch ready; wait
"""
    id = launch(aws, script)["InstanceId"]
    world.wait((tmp_path / "ready").exists)
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert all(alive(pid) for pid in pids)
    if how == "terminate":
        aws.client("ec2").terminate_instances(InstanceIds=[id])
    elif how == "kill":
        world.kill(id)
    elif how == "shutdown":
        world.machines[id].order("-P now")
    else:
        world.close()
    world.wait(lambda: world.machines[id].ended is not None)
    assert not [pid for pid in pids if alive(pid)]
    assert how == "close" or not world.alive()


def fetch(url: str, token: str | None = None) -> str:
    headers = {"X-aws-ec2-metadata-token": token} if token else {}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10).read().decode()


def alive(pid: int) -> bool:
    """Whether there is such a process, one that does something."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
    finally:
        assert pid != os.getpid()
