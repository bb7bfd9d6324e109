"""Starting a machine: what AWS is asked for, in which order, and what is said when it refuses."""

from __future__ import annotations

import base64
import logging
import signal
import time

import botocore.session
import ec2_commands
import fake_aws
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from plantdoc.aws import ec2_prices
from plantdoc.core import dvc_config, params
from plantdoc.core.errors import UserError
from plantdoc.ec2 import (
    attempts,
    instance_types,
    instances,
    interrupts,
    launch,
    launch_config,
    launch_failures,
    launch_request,
    orchestrator,
    quotas,
    uploads,
)
from plantdoc.ec2.local_progress import LocalProgress
from plantdoc.remote import aws_context, dvc_remote
from plantdoc.settings.runner_params import Params, Runner
from plantdoc.train import progress

pytest_plugins = ["ec2_fixtures"]
REGION = "us-east-1"
RUN = "0123456789abcdef"
SECRET = "planted-s3cret-51c7"
TYPES = ["g5.xlarge", "g4dn.xlarge"]


@pytest.fixture
def aws(account, monkeypatch):
    """The account, with the stack of the bucket "leaves"."""
    account.reset()
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("PLANTDOC_BEAT", "0.01")
    monkeypatch.setattr(botocore.session, "create_loader", lambda _=None: ec2_commands.LOADER)
    account.make_stack("leaves")
    return account


@pytest.fixture
def here(aws):
    """The place that training starts from."""
    where = dvc_config.Remote("storage", "s3://leaves/dvc", {"region": REGION})
    return aws_context.AwsContext(where, "leaves", "dvc", dvc_remote.session(where), REGION)


def runner(**changes: object) -> Runner:
    values = params.load(Params, fake_aws.ROOT / "params.yaml").runner.model_dump()
    wanted = {"instance_types": TYPES, "zones": [f"{REGION}a", f"{REGION}b"], "region": REGION} | changes
    return Runner(**values | wanted)


def start(here, wanted: Runner, spent: float = 0.0) -> tuple[instances.Instance, float]:
    """Start a machine for attempt 1; returns it with its price an hour."""
    attempt = attempts.Attempts(here.store, RUN).claim(1, "c0de")
    base = launch_config.find(here, wanted)
    search = launch.Launch(here, wanted, base, launch.Order(attempt, "c0de", "", spent))
    for offer in search.offers():
        if machine := search.request(offer):
            return machine, offer.price.dollars
    raise AssertionError("offers end with a UserError")


def asked(aws) -> list[tuple[str, str, str]]:
    """Type, zone and market of each try."""
    zones = {s["SubnetId"]: s["AvailabilityZone"] for s in aws.client("ec2").describe_subnets()["Subnets"]}
    calls = [call.given for call in aws.calls if call.action == "RunInstances"]
    return [
        (
            given["InstanceType"],
            zones[given["SubnetId"]][-1],
            given.get("InstanceMarketOptions.MarketType", "on demand"),
        )
        for given in calls
    ]


def request(aws) -> dict:
    return next(call.given for call in aws.calls if call.action == "RunInstances")


def test_the_machine_is_safe_and_ends_by_itself(aws, here):
    before = time.time()
    machine, price = start(here, runner(tags={"team": "leaves", "project": "other", "deadline": "1"}, max_dollars=10))
    assert (machine.type, machine.zone, machine.spot, price) == ("g5.xlarge", f"{REGION}a", True, 0.47)
    given = request(aws)
    assert given["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert given["MetadataOptions.HttpTokens"] == "required"
    assert "KeyName" not in given
    disk = {key: given[f"BlockDeviceMapping.1.Ebs.{key}"] for key in ("Encrypted", "VolumeSize", "VolumeType")}
    assert disk == {"Encrypted": "true", "VolumeSize": "100", "VolumeType": "gp3"}
    assert given["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
    about = aws.client("ec2").describe_instances(InstanceIds=[machine.id])["Reservations"][0]["Instances"][0]
    outputs = aws.client("cloudformation").describe_stacks()["Stacks"][0]["Outputs"]
    made = {each["OutputKey"]: each["OutputValue"] for each in outputs}
    assert [each["GroupId"] for each in about["SecurityGroups"]] == [made["MachineGroup"]]
    assert given["IamInstanceProfile.Name"] == made["MachineProfile"]

    tags = {tag["Key"]: tag["Value"] for tag in about["Tags"]}
    deadline = int(tags.pop("deadline"))
    assert tags == {
        "project": "plant-disease-detector",
        "run": RUN,
        "attempt": "1",
        "Name": f"plant-disease-{RUN}",
        "team": "leaves",
    }
    assert before + 6 * 3600 - 1 <= deadline <= time.time() + 6 * 3600
    volumes = [key for key, value in given.items() if key.endswith("ResourceType") and value == "volume"]
    assert volumes, "the disk has no tags"
    text = base64.b64decode(given["UserData"]).decode()
    assert RUN in text and "+360" in text.replace("'", "") and len(text) < 16384
    assert SECRET not in repr([call for call in aws.calls if call.service == "ec2"]) and SECRET not in text
    assert instances.find(here.ec2, RUN)[0].deadline == deadline


def test_types_zones_and_markets_are_tried_in_order_with_a_line_each(aws, here, caplog):
    caplog.set_level(logging.INFO)
    aws.no_capacity(market="spot")
    aws.no_capacity("g5.xlarge", f"{REGION}a", "on-demand")
    machine, price = start(here, runner())
    markets = ["spot"] * 4 + ["on demand"] * 2
    kinds = ["g5.xlarge", "g5.xlarge", "g4dn.xlarge", "g4dn.xlarge", "g5.xlarge", "g5.xlarge"]
    assert asked(aws) == list(zip(kinds, "ababab", markets, strict=True))
    assert (machine.zone, machine.spot, price) == (f"{REGION}b", False, 1.258)
    lines = [record.message for record in caplog.records if record.message.startswith("ec2: ")]
    assert len([line for line in lines if "no capacity (InsufficientInstanceCapacity)" in line]) == 5
    assert lines[0] == (
        f"ec2: g5.xlarge in {REGION}a, spot: $0.4700 an hour (spot price in {REGION}a now); at most 4.0 h and $5.00"
    )
    assert "on demand: $1.2580 an hour (AWS's price list" in lines[-1] and "at most 4.0 h and $5.00" in lines[-1]


@pytest.mark.parametrize("code", ["Unsupported", "SpotMaxPriceTooLow", "InsufficientFreeAddressesInSubnet"])
def test_what_only_this_place_lacks_is_looked_for_in_the_next(aws, here, code):
    aws.fail("RunInstances", code)
    machine, _ = start(here, runner())
    assert machine.zone == f"{REGION}b"


def test_nowhere_a_machine(aws, here):
    aws.no_capacity()
    with pytest.raises(UserError, match=r"no capacity after 4 tries.*add runner\.instance_types.*on_demand"):
        start(here, runner(on_demand_fallback=False))
    assert not aws.client("ec2").describe_instances()["Reservations"]


@pytest.mark.parametrize(
    ("spot", "code", "name"),
    [
        (True, "L-3819A6DF", "All G and VT Spot Instance Requests"),
        (False, "L-DB2E81BA", "Running On-Demand G and VT instances"),
    ],
)
def test_quota_zero_is_said_with_name_code_and_remedy(aws, here, spot, code, name):
    aws.quota(code, 0)
    text = rf"{name} \({code}\) in {REGION} allows 0 vCPUs at once, g5.xlarge takes 4: .*--quota-code {code} .*value 4"
    with pytest.raises(UserError, match=text):
        start(here, runner(spot=spot, on_demand_fallback=False))
    assert len(asked(aws)) == 1, "a quota holds for the whole region: one try tells"


@pytest.mark.parametrize(
    ("kind", "spot", "code", "name"),
    [
        ("gr6.4xlarge", False, "L-DB2E81BA", "Running On-Demand G and VT instances"),
        ("p4d.24xlarge", True, "L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
        ("p5.48xlarge", True, "L-C4BD4855", "All P5 Spot Instance Requests"),
        ("p5en.48xlarge", False, "L-417A185B", "Running On-Demand P instances"),
        ("p6-b200.48xlarge", True, None, None),
        ("inf2.xlarge", True, "L-B5D1601B", "All Inf Spot Instance Requests"),
        ("trn1.2xlarge", False, "L-2C3B7624", "Running On-Demand Trn instances"),
        ("dl1.24xlarge", False, "L-6E869C2A", "Running On-Demand DL instances"),
        ("d3.xlarge", False, "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
        ("f2.6xlarge", True, "L-88CF9481", "All F Spot Instance Requests"),
        ("u7i-6tb.112xlarge", False, "L-43DA4232", "Running On-Demand High Memory instances"),
        ("u-6tb1.metal", True, None, None),
        ("x2idn.16xlarge", True, "L-E3A00192", "All X Spot Instance Requests"),
        ("hpc7a.96xlarge", False, "L-F7808C92", "Running On-Demand HPC instances"),
        ("im4gn.large", True, "L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
        ("mac2.metal", False, None, None),
    ],
)
def test_each_family_has_its_quota_and_none_is_guessed(kind, spot, code, name):
    assert quotas.find(kind, spot) == (quotas.Quota(code, name) if code else None)


def test_a_quota_that_is_not_known_is_named_by_ec2s_own_code(aws, here, monkeypatch):
    monkeypatch.setattr(quotas, "find", lambda kind, spot: None)
    aws.fail("RunInstances", "VcpuLimitExceeded", times=None)
    text = r"no capacity after 2 tries.*g5\.xlarge on demand in us-east-1 is used up \(VcpuLimitExceeded\)"
    with pytest.raises(UserError, match=text) as refused:
        start(here, runner(spot=False))
    assert "L-" not in str(refused.value)
    assert [kind for kind, *_ in asked(aws)] == TYPES, "one try for each family"


def test_an_instance_limit_leaves_other_families_and_says_that_ended_machines_count(aws, here):
    aws.fail("RunInstances", "InstanceLimitExceeded", times=None)
    with pytest.raises(UserError, match=r"L-DB2E81BA.*machines that ended minutes ago still count, so try again"):
        start(here, runner(spot=False))
    assert len(asked(aws)) == 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("PendingVerification", "up to four hours.*run the same command again"),
        ("Blocked", "AWS Support"),
        ("OptInRequired", "enable the region"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", r"create-service-linked-role.*runner\.spot=false"),
    ],
)
def test_what_stands_in_the_way_of_the_whole_account_is_said_with_its_remedy_after_one_try(aws, here, code, text):
    aws.fail("RunInstances", code, times=None)
    with pytest.raises(UserError, match=rf"^EC2 starts no machine \({code}\): .*{text}"):
        start(here, runner())
    assert len(asked(aws)) == 1


@pytest.mark.parametrize(
    ("code", "message", "text"),
    [
        ("Client.InternalError", "Client.InternalError: Client error on launch", "AWSServiceRoleForEC2Spot"),
        (
            "Client.InvalidKMSKey.InvalidState",
            "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state",
            r"kms:CreateGrant.*AWSServiceRoleForEC2Spot.*aws/ebs",
        ),
        ("Client.VolumeLimitExceeded", "the limit was exceeded", r"Client\.VolumeLimitExceeded: .*runner\.disk_gb"),
        ("Client.InvalidSnapshot.NotFound", "", r"runner\.image"),
    ],
)
def test_a_machine_that_could_not_start_is_followed_by_none(aws, here, run, code, message, text):
    run._begin(1)
    instance = aws.backend.get_instance(run.ours.instance)
    instance.terminate()
    instance.state_reason.code, instance.state_reason.message = code, message
    run.local = LocalProgress(progress.Writer(progress.TrainingProgress()))
    with pytest.raises(UserError, match=rf"EC2 ended the machine while it started.*{text}"):
        run._go_on()
    assert here.store.read(f"{RUN}/attempts/1.json")["ended"] and len(asked(aws)) == 1


@pytest.mark.parametrize("reason", ["Server.InternalError", "Server.SpotInstanceTermination"])
def test_what_passes_is_no_failure_of_the_start(reason):
    gone = instances.Instance("i", "terminated", "g5.xlarge", "a", True, 0.0, RUN, 1, None, None, f"{reason}: text")
    assert launch_failures.remedy(gone) is None


@pytest.mark.parametrize("kind", ["p3.2xlarge", "p2.xlarge", "g3s.xlarge"])
def test_gpus_that_the_images_driver_does_not_drive_are_refused(aws, here, kind):
    with pytest.raises(UserError, match=rf"open kernel modules\) does not drive the GPU of {kind}.*proprietary driver"):
        launch_config.find(here, runner(instance_types=[kind]))
    with pytest.raises(UserError, match=f"us-east-1 knows no {kind}"):  # the stand-in has none of these any more
        launch_config.find(here, runner(instance_types=[kind], image=aws.rules.image))


def test_newer_gpus_are_driven():
    newer = ("g4dn.xlarge", "g5.xlarge", "g5g.xlarge", "g6.xlarge", "gr6.4xlarge", "p4d.24xlarge", "p5.48xlarge")
    assert not [kind for kind in newer if instance_types.is_before_turing(kind)]


def test_spot_quota_zero_leaves_the_market_on_demand(aws, here):
    aws.quota("L-3819A6DF", 0)
    machine, _ = start(here, runner())
    assert not machine.spot and len(asked(aws)) == 2


def test_an_unknown_type_is_named(aws, here):
    with pytest.raises(UserError, match=r"runner\.instance_types: us-east-1 knows no g5\.colossal"):
        launch_config.find(here, runner(instance_types=["g5.xlarge", "g5.colossal"]))


def test_a_type_whose_name_misleads_about_its_gpu_is_refused(here, monkeypatch):
    monkeypatch.setattr(instance_types, "has_gpu", lambda name: False)
    with pytest.raises(UserError, match=r"g5\.xlarge has an NVIDIA GPU, other than its name says"):
        launch_config.find(here, runner(instance_types=["g5.xlarge"]))


@pytest.mark.parametrize("spot", [True, False])
def test_dollars_bound_the_hours_at_the_price_on_demand(aws, here, spot):
    """Spot is charged at the price of each hour, up to on demand: the price of this minute is no bound."""
    before = time.time()
    machine, _ = start(here, runner(max_dollars=2.0, spot=spot), spent=2.0 - 1.258)
    assert abs(machine.deadline - before - 3600) < 20


def test_earlier_attempts_count_at_the_price_on_demand(aws, here, run):
    claim = {"token": "t", "time": 0.0, "code": "c", "instance": "i-1", "launched": 1000.0, "ended": 4600.0}
    here.store.put(f"{RUN}/attempts/1.json", claim | {"price": 0.47, "most": 1.258})
    run._begin(2)
    assert abs(run.ours.claim.deadline - time.time() - (5 - 1.258) / 1.258 * 3600) < 20
    assert (run.ours.claim.price, run.ours.claim.most) == (0.47, 1.258)


def test_no_machine_for_money_that_is_spent(aws, here):
    with pytest.raises(UserError, match=r"runner\.max_dollars = 2 leaves 0 minutes of g5\.xlarge.*\$1\.99 went"):
        start(here, runner(max_dollars=2.0), spent=1.99)
    assert not asked(aws)


def test_a_busy_aws_is_asked_again_for_the_same_machine(aws, here):
    aws.fail("RunInstances", "RequestLimitExceeded", times=2)
    start(here, runner())
    tokens = {call.given["ClientToken"] for call in aws.calls if call.action == "RunInstances"}
    assert len(asked(aws)) == 3 and len(tokens) == 1
    assert len(aws.client("ec2").describe_instances()["Reservations"]) == 1


def test_each_try_elsewhere_is_another_machine(aws, here):
    aws.no_capacity("g5.xlarge")
    start(here, runner())
    tokens = [call.given["ClientToken"] for call in aws.calls if call.action == "RunInstances"]
    assert len(set(tokens)) == len(tokens) == 3


def test_an_aws_that_stays_busy_is_given_up(aws, here):
    aws.fail("RunInstances", "RequestLimitExceeded", times=5)
    with pytest.raises(ClientError, match="RequestLimitExceeded"):
        start(here, runner())
    assert len(asked(aws)) == 5


def test_what_aws_refuses_everywhere_is_asked_once(aws, here):
    aws.fail("RunInstances", "UnauthorizedOperation")
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        start(here, runner())
    assert len(asked(aws)) == 1


@pytest.fixture
def run(here, monkeypatch) -> orchestrator.Run:
    """A run that has sent its code."""
    monkeypatch.setattr(uploads.Uploads, "send", lambda self: ("c0de", ""))
    return orchestrator.Run(here, runner(), RUN, None, interrupts.Interrupts())


def test_who_lost_the_claim_starts_nothing(aws, here, run, monkeypatch):
    ask = ec2_prices.of

    def overtake(*about: object) -> ec2_prices.Price:
        here.store.put(f"{RUN}/attempts/1.json", {"token": "of another", "time": 0, "code": ""})
        return ask(*about)

    monkeypatch.setattr(ec2_prices, "of", overtake)
    run._begin(1)
    assert run.ours is None and run.launches == 0
    assert not asked(aws)


def test_a_machine_is_known_here_where_s3_does_not_take_it_down(aws, run, monkeypatch):
    def refuse(*_, **__) -> None:
        raise EndpointConnectionError(endpoint_url="s3")

    monkeypatch.setattr(attempts.Attempts, "write", refuse)
    with pytest.raises(EndpointConnectionError):
        run._begin(1)
    (machine,) = instances.find(run.aws.ec2, RUN)
    assert run.ours.instance == machine.id and run.launches == 1


def test_a_signal_waits_until_the_machine_is_written_down(aws, here, run, monkeypatch):
    send = launch_request.send

    def interrupted(*about: object) -> instances.Instance:
        run.interrupts._handle(signal.SIGINT, None)
        return send(*about)

    monkeypatch.setattr(launch_request, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run._begin(1)
    assert here.store.read(f"{RUN}/attempts/1.json")["instance"] == run.ours.instance is not None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image": "base-oss-nothing"}, r"runner\.image = base-oss-nothing: us-east-1 has no such image"),
        ({"image": "ami-00000000"}, r"runner\.image = ami-00000000: us-east-1 has no such image"),
        ({"zones": ["us-east-1z"]}, r"runner\.zones: us-east-1z: the network in us-east-1 has us-east-1a"),
    ],
)
def test_what_is_not_there_is_named(aws, here, changes, text):
    with pytest.raises(UserError, match=text):
        launch_config.find(here, runner(**changes))


def test_an_image_by_its_id_or_parameter(aws, here):
    image = launch_config.find(here, runner()).image
    assert launch_config.find(here, runner(image=image)).image == image
    parameter = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
    assert launch_config.find(here, runner(image=parameter)).image == image


def test_without_the_stack(aws, here):
    aws.client("cloudformation").delete_stack(StackName="plant-disease-leaves")
    with pytest.raises(UserError, match=r"no stack plant-disease-leaves in us-east-1.*make aws BUCKET=leaves"):
        launch_config.find(here, runner())


def test_with_a_stack_from_before(aws, here):
    client = aws.client("cloudformation")
    client.delete_stack(StackName="plant-disease-leaves")
    aws.make_stack("leaves", Vpc="")
    with pytest.raises(UserError, match=r"has no MachineGroup: run `make aws BUCKET=leaves REGION=us-east-1"):
        launch_config.find(here, runner())


def test_all_zones_of_the_region_unless_some_are_named(aws, here):
    zones = list(launch_config.find(here, runner(zones=[])).subnets)
    assert len(zones) > 2 and zones == sorted(zones)
    assert list(launch_config.find(here, runner(zones=[f"{REGION}c", f"{REGION}a"])).subnets) == [
        f"{REGION}c",
        f"{REGION}a",
    ]
