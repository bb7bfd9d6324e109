"""`make doctor FOR=aws` on the stand-in for AWS: each planted fault is named with its remedy, nothing is changed."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import fake_aws
import fake_repo
import pytest
import script_runner
import small_repo

from plantdoc.core.errors import UserError
from plantdoc.doctor import aws_questions, checks_account

REGION, BUCKET = "eu-central-1", "plants"
READS = re.compile("(Describe|Get|List|Head|Simulate).*")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return fake_repo.make(tmp_path_factory.mktemp("made") / "repository", serve__memory_mb=3072)


@pytest.fixture(scope="module")
def server():
    with fake_aws.running(region=REGION) as server:
        yield server


@pytest.fixture
def repository(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "repository", symlinks=True))


@pytest.fixture
def aws(server, monkeypatch):
    """A new account, in which nothing is made yet."""
    server.reset()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def finished(aws, repository) -> Path:
    """A repository whose bucket and stack are there."""
    aws.make_stack(BUCKET)
    (repository / ".dvc/config.local").write_text(
        f"['remote \"storage\"']\n    url = s3://{BUCKET}/dvc\n    region = {REGION}\n"
    )
    aws.calls.clear()
    aws.s3_calls.clear()
    return repository


def page(aws, repository: Path) -> tuple[dict[str, tuple[str, str]], int, str]:
    """State and text of each line by its name, the exit code, the page. Nothing but questions may have been asked."""
    done = script_runner.run(repository, "python", "scripts/doctor.py", "aws", check=False)
    lines, name = {}, ""
    for line in done.stdout.split("\n\n")[0].splitlines():
        state, new, text = line[:12].strip(), line[12:25].strip(), line[25:]
        name = new or name
        before = lines.get(name, (state, ""))
        lines[name] = (before[0], f"{before[1]} {text}".strip())
    assert "Traceback" not in done.stdout and "itself broke" not in done.stdout, done.stdout
    check_only_asked(aws)
    return lines, done.returncode, done.stdout


def check_only_asked(aws) -> None:
    """The stand-in's log has nothing but reads and dry runs."""
    calls = [call for call in aws.calls if call.by != "test"]
    changing = [
        call
        for call in calls
        if not READS.fullmatch(call.action)
        and not (call.action == "RunInstances" and call.given.get("DryRun") == "true")
    ]
    assert not changing, changing
    objects = [call for call in aws.s3_calls if call.by != "test" and call.action not in ("GET", "HEAD")]
    assert not objects, objects
    assert not list(aws.backend.all_instances())


@pytest.mark.slow
def test_a_finished_account_is_ready_but_for_what_only_a_start_shows(aws, finished):
    lines, code, text = page(aws, finished)
    assert code == 0 and text.endswith("\nready for aws\n"), text
    assert {name for name, (state, _) in lines.items() if state == "not known"} == {"capacity"}, text
    assert "PendingVerification" in lines["capacity"][1] and "`make ec2-smoke`" in lines["capacity"][1]
    assert lines["EC2 start"][1] == "EC2 would start a machine (dry run)"
    assert any(call.action == "RunInstances" for call in aws.calls)
    assert lines["stack"][1] == f"plant-disease-{BUCKET} is CREATE_COMPLETE"


@pytest.mark.slow
def test_in_a_fresh_account_the_first_command_is_named_and_what_follows_it_is_not_known(aws, repository):
    lines, code, _ = page(aws, repository)
    assert code == 1
    for name in ("stack", "bucket"):
        assert lines[name][0] == "not ready" and "`make aws BUCKET=name" in lines[name][1]
    for name in ("types", "EC2 start", "endpoint"):
        assert lines[name][0] == "not known" and "after `make aws`" in lines[name][1]
    assert lines["make aws"] == ("ready", "these credentials may make bucket, roles and budget")
    for name in ("account", "clock", "region", "network", "image", "EC2 quota", "memory"):
        assert lines[name][0] == "ready", lines[name]


Plant = Callable[[fake_aws.AWS, Path, pytest.MonkeyPatch], object]


def refuse(action: str, code: str, message: str = "") -> Plant:
    return lambda aws, folder, patch: aws.fail(action, code, times=None, message=message)


def params(**values: object) -> Plant:
    return lambda aws, folder, patch: small_repo.set_params(folder, **values)


def setting(name: str, value: object) -> Plant:
    return lambda aws, folder, patch: setattr(aws.account, name, value)


def old_stack(aws, folder, patch) -> None:
    """The stack lacks an output, as that of an earlier version of the template."""
    text = (small_repo.ROOT / "infra/base.yaml").read_text()
    older = re.sub(r"^  Runner:\n    Description: policy.*\n    Value: .*\n", "", text, flags=re.MULTILINE)
    assert older != text
    client, name = aws.client("cloudformation"), f"plant-disease-{BUCKET}"
    given = client.describe_stacks(StackName=name)["Stacks"][0]["Parameters"]
    client.delete_stack(StackName=name)
    client.create_stack(StackName=name, TemplateBody=older, Parameters=given, Capabilities=["CAPABILITY_IAM"])


def no_quota(aws, folder, patch) -> None:
    for code in aws.rules.quotas:
        aws.quota(code, 0)


def no_network(aws, folder, patch) -> None:
    for vpc in list(aws.backend.vpcs.values()):
        vpc.is_default = "false"


MACHINES = params(serve__serverless=False, serve__max_instances=3)
# Faults that are planted together, each in a row of its own: how, the row, its state, and a part of its text.
FAULTS: dict[str, list[tuple[Plant, str, str, str]]] = {
    "expired": [(refuse("GetCallerIdentity", "ExpiredToken"), "account", "not ready", "run `aws sso login`")],
    "unknown key": [(refuse("GetCallerIdentity", "InvalidClientTokenId"), "account", "not ready", "AWS_ACCESS_KEY_ID")],
    "clock": [
        (
            refuse("GetCallerIdentity", "SignatureDoesNotMatch", "Signature not yet current: 20300101T000000Z"),
            "clock", "not ready", "clock is wrong",
        )
    ],
    "region": [(params(runner__region="eu-central-9"), "region", "not ready", "AWS has no region eu-central-9: set")],
    "account": [
        (
            setting("closed_regions", {REGION}),
            "region", "not ready", f"`aws account enable-region --region-name {REGION}`",
        ),
        (no_network, "network", "not ready", "`aws ec2 create-default-vpc --region eu-central-1`"),
        (params(runner__instance_types=["p4d.24xlarge"]), "types", "not ready", "`make aws … INSTANCE_TYPES="),
        (no_quota, "EC2 quota", "not ready", "under Service Quotas, Amazon EC2"),
        (refuse("RunInstances", "PendingVerification"), "EC2 start", "not ready", "up to four hours"),
        (setting("disk_key", "arn:aws:kms:eu-central-1:1:key/1"), "disk key", "not ready", "kms:CreateGrant"),
        (
            setting("lacks", {"sagemaker:CreateEndpoint", "iam:PassRole"}),
            "endpoint", "not ready", "lack sagemaker:CreateEndpoint, iam:PassRole: attach the policy Deployer",
        ),
        (MACHINES, "instances", "not ready", "takes 6 at once (twice serve.max_instances): `aws service-quotas"),
        (setting("linked_roles", set()), "spot role", "ready", "AWS makes it at the first spot machine"),
        (setting("linked_roles", set()), "scaling role", "ready", "AWS makes it at the first endpoint on instances"),
    ],
    "settings": [
        (old_stack, "stack", "not ready", "it has no Runner: `make aws BUCKET=plants"),
        (params(runner__image="/aws/no/such"), "image", "not ready", "runner.image = /aws/no/such"),
        (params(runner__instance_types=["g9.huge"]), "types", "not ready", "choose others"),
        (params(serve__memory_mb=4096), "memory", "not known", "set it to 3072"),
    ],
    "rights": [(refuse("RunInstances", "UnauthorizedOperation"), "EC2 start", "not ready", "attach the policy Runner")],
    "registration": [(refuse("RunInstances", "OptInRequired"), "EC2 start", "not ready", "finish its registration")],
    "rights to ask": [
        (refuse("DescribeVpcs", "UnauthorizedOperation"), "network", "not known", "DescribeVpcs"),
        (refuse("DescribeStacks", "AccessDenied"), "stack", "not known", "DescribeStacks"),
        (refuse("GetServiceQuota", "AccessDeniedException"), "EC2 quota", "not known", "GetServiceQuota"),
        (setting("linked_roles", set()), "spot role", "not known", "GetRole"),
        (refuse("GetRole", "AccessDenied"), "spot role", "not known", "GetRole"),
        (refuse("GetEbsDefaultKmsKeyId", "UnauthorizedOperation"), "disk key", "not known", "GetEbsDefaultKmsKeyId"),
        (refuse("DescribeImages", "UnauthorizedOperation"), "image", "not known", "DescribeImages"),
    ],
    "right to simulate": [
        (refuse("SimulatePrincipalPolicy", "AccessDenied"), "endpoint", "not known", "SimulatePrincipalPolicy")
    ],
}  # fmt: skip


# Each group has a page of its own, of which `make test` makes two.
FIRST = ("account", "rights to ask")


@pytest.mark.parametrize(
    "group", [pytest.param(name, marks=pytest.mark.slow if name in FIRST else pytest.mark.full) for name in FAULTS]
)
def test_each_fault_is_named_with_its_remedy(aws, finished, monkeypatch, group):
    for plant, *_ in FAULTS[group]:
        plant(aws, finished, monkeypatch)
    lines, code, text = page(aws, finished)
    for _, name, state, remedy in FAULTS[group]:
        assert lines[name][0] == state and remedy in lines[name][1], text
    assert (code == 1) == any(state == "not ready" for state, _ in lines.values())


def test_who_may_not_make_the_stack_is_told_who_may(aws, repository):
    aws.account.lacks = {"iam:CreateRole", "budgets:ModifyBudget"}
    lines, code, _ = page(aws, repository)
    assert code == 1 and lines["make aws"][0] == "not ready"
    assert "lack iam:CreateRole, budgets:ModifyBudget: `make aws` is for an administrator" in lines["make aws"][1]


def test_a_session_of_identity_center_that_has_ended_is_told(aws, finished, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    config = tmp_path / "config"
    config.write_text(
        "[sso-session work]\nsso_start_url = https://example.awsapps.com/start\nsso_region = eu-central-1\n"
        "[default]\nsso_session = work\nsso_account_id = 123456789012\nsso_role_name = Work\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("HOME", str(tmp_path))
    lines, code, _ = page(aws, finished)
    assert code == 1 and lines["account"][0] == "not ready" and "`aws sso login`" in lines["account"][1]


def test_a_profile_that_is_not_there_is_told_in_every_row(aws, finished, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    lines, code, _ = page(aws, finished)
    assert code == 1
    for name in ("account", "clock", "region", "stack", "image", "endpoint"):
        assert lines[name][0] == "not ready" and "aws configure list-profiles" in lines[name][1], lines[name]


def test_a_clock_that_is_off_is_told_with_how_much(aws, finished, monkeypatch):
    monkeypatch.chdir(finished)
    aws_questions.forget()
    ahead = SimpleNamespace(time=lambda: time.time() + 290)
    monkeypatch.setattr(checks_account, "time", ahead)
    with pytest.raises(UserError, match=r"clock is \+(289|290|291) s off AWS's: set it"):
        checks_account.clock("aws")
    aws_questions.forget()
