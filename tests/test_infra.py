"""The CloudFormation template by what it says: CloudFormation itself is not to be had in a test."""

from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import cfnlint
import pytest
from cfnlint.decode import decode

TEMPLATE = Path(__file__).resolve().parent.parent / "infra/base.yaml"
# What AWS knows of every action: the kinds of resources it can be limited to.
ACTIONS = json.loads((Path(cfnlint.__file__).parent / "data/AdditionalSpecs/Policies.json").read_text())
# Writing actions that AWS cannot limit to a resource of ours.
UNLIMITED = {
    "cloudwatch:PutMetricData": "limited by its name space instead",
    "ecr:GetAuthorizationToken": "signs in, and shows nothing by itself",
}


@pytest.fixture(scope="module")
def resources() -> dict:
    template, faults = decode(str(TEMPLATE))
    assert not faults
    return template["Resources"]


def test_templates_pass_cfn_lint_in_both_kinds_of_region():
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--regions", "us-east-1", "eu-central-1", "--", TEMPLATE],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert list(TEMPLATE.parent.glob("*.yaml")) == [TEMPLATE], "a new template is to be linted here too"


def test_the_template_is_short_enough_to_be_sent_as_it_is():
    assert TEMPLATE.stat().st_size < 51_200


def test_the_bucket_is_versioned_encrypted_and_closed_to_the_public(resources):
    bucket = resources["Storage"]["Properties"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"] == [
        {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    ]
    assert bucket["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_aborted_uploads_and_old_versions_do_not_stay_for_ever(resources):
    uploads, versions = resources["Storage"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert uploads["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert versions["NoncurrentVersionExpiration"] == {"NoncurrentDays": {"Ref": "KeepOldVersionsDays"}}
    assert {uploads["Status"], versions["Status"]} == {"Enabled"}
    assert "ExpirationInDays" not in uploads | versions


def test_neither_a_failed_update_nor_a_deleted_stack_takes_the_bucket(resources):
    assert resources["Storage"]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resources["Storage"]["UpdateReplacePolicy"] == "Retain"


def test_the_bucket_refuses_whoever_comes_without_tls(resources):
    (statement,) = resources["StoragePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": ["Storage", "Arn"]}, {"Fn::Sub": "${Storage.Arn}/*"}]


def test_the_alarm_goes_off_at_half_at_four_fifths_at_all_and_when_all_is_to_be_expected(resources):
    alarm = resources["Alarm"]["Properties"]
    assert alarm["Budget"]["BudgetLimit"] == {"Amount": {"Ref": "Budget"}, "Unit": "USD"}
    assert alarm["Budget"]["TimeUnit"] == "MONTHLY"
    assert "BudgetName" not in alarm["Budget"], "with a name of its own, another address could not replace it"
    notifications = [entry["Notification"] for entry in alarm["NotificationsWithSubscribers"]]
    assert [(entry["NotificationType"], entry["Threshold"]) for entry in notifications] == [
        ("ACTUAL", 50),
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]
    assert {entry["ThresholdType"] for entry in notifications} == {"PERCENTAGE"}
    assert all(
        entry["Subscribers"] == [{"SubscriptionType": "EMAIL", "Address": {"Ref": "Email"}}]
        for entry in alarm["NotificationsWithSubscribers"]
    )


def test_no_role_may_do_anything_by_wildcard_and_all_actions_exist(resources):
    for role, statement in allowed(resources):
        for action in listed(statement["Action"]):
            service, _, name = action.partition(":")
            assert "*" not in action, f"{role}: {action}"
            assert name.lower() in ACTIONS[service]["Actions"], f"{role}: AWS has no {action}"


def test_what_writes_is_limited_to_resources_of_ours_where_aws_can_limit_it(resources):
    for role, statement in allowed(resources):
        for action in listed(statement["Action"]) if "*" in listed(statement["Resource"]) else ():
            looks = action.partition(":")[2].startswith(("Describe", "List", "GetServiceQuota"))
            assert looks or action in UNLIMITED, f"{role} may do {action} to everything"
    (metrics,) = [entry for _, entry in allowed(resources) if entry["Action"] == "cloudwatch:PutMetricData"]
    assert metrics["Condition"] == {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}


def test_no_role_deletes_objects_and_each_writes_below_its_own_prefixes_only(resources):
    written = {}
    for role, statement in allowed(resources):
        actions = set(listed(statement["Action"]))
        assert not {action for action in actions if action.startswith("s3:Delete")}
        if "s3:PutObject" in actions:
            written[role] = [place["Fn::Sub"] for place in listed(statement["Resource"])]
    assert written == {
        "TrainingFiles": ["${Storage.Arn}/dvc/*", "${Storage.Arn}/runs/*"],
        "ServingRole": ["${Storage.Arn}/capture/*"],
        "DeployRole": ["${Storage.Arn}/bundles/*"],
    }
    holders = [
        name
        for name, resource in resources.items()
        if {"Ref": "TrainingFiles"} in resource["Properties"].get("ManagedPolicyArns", ())
    ]
    assert holders == ["MachineRole", "TrainRole"]


def test_a_training_machine_has_no_say_over_machines_or_roles(resources):
    assert "Policies" not in resources["MachineRole"]["Properties"]
    assert resources["MachineProfile"]["Properties"]["Roles"] == [{"Ref": "MachineRole"}]


@pytest.mark.parametrize(
    ("action", "condition"),
    [
        ("ec2:TerminateInstances", {"aws:ResourceTag/project": "plant-disease-detector"}),
        ("ec2:CreateTags", {"ec2:CreateAction": "RunInstances"}),
        ("iam:CreateServiceLinkedRole", {"iam:AWSServiceName": "spot.amazonaws.com"}),
    ],
)
def test_workflows_touch_none_but_machines_of_this_project(resources, action, condition):
    (statement,) = [
        statement
        for role, statement in allowed(resources)
        if role == "TrainRole" and action in listed(statement["Action"])
    ]
    assert statement["Condition"] == {"StringEquals": condition}


def test_a_machine_starts_only_with_the_tag_by_which_it_can_be_ended(resources):
    starts = [statement for _, statement in allowed(resources) if "ec2:RunInstances" in listed(statement["Action"])]
    tagged, rest = starts
    assert tagged["Condition"] == {"StringEquals": {"aws:RequestTag/project": "plant-disease-detector"}}
    assert tagged["Resource"]["Fn::Sub"].endswith(":instance/*")
    assert not [place for place in rest["Resource"] if ":instance/" in place["Fn::Sub"]]


def test_a_role_is_handed_over_to_the_one_service_it_is_for(resources):
    passed = {
        role: (statement["Resource"], statement["Condition"]["StringEquals"]["iam:PassedToService"])
        for role, statement in allowed(resources)
        if "iam:PassRole" in listed(statement["Action"])
    }
    assert passed == {
        "TrainRole": ({"Fn::GetAtt": ["MachineRole", "Arn"]}, "ec2.amazonaws.com"),
        "DeployRole": ({"Fn::GetAtt": ["ServingRole", "Arn"]}, "sagemaker.amazonaws.com"),
    }


def test_sagemaker_takes_the_serving_role_for_this_account_only(resources):
    (trust,) = resources["ServingRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_roles_for_workflows_are_there_only_for_a_repository(resources):
    assert {name: entry["Condition"] for name, entry in resources.items() if "Condition" in entry} == {
        "GitHub": "MakesProvider",
        "TrainRole": "HasRepository",
        "DeployRole": "HasRepository",
    }


@pytest.mark.parametrize(
    ("subject", "roles"),
    [
        ("repo:me/leaves:environment:training", ["TrainRole"]),
        ("repo:me/leaves:ref:refs/heads/main", ["TrainRole"]),
        ("repo:me@12/leaves@34:environment:training", ["TrainRole"]),
        ("repo:me@12/leaves@34:ref:refs/heads/some/branch", ["TrainRole"]),
        ("repo:me/leaves:ref:refs/tags/detector@v1.0.0", ["DeployRole"]),
        ("repo:me@12/leaves@34:ref:refs/tags/detector@v1.0.0", ["DeployRole"]),
        ("repo:me/leaves:ref:refs/tags/v1.0.0", []),
        ("repo:me/leaves:pull_request", []),
        ("repo:me@12/leaves@34:pull_request", []),
        ("repo:me/leaves:environment:other", []),
        ("repo:you/leaves:environment:training", []),
        ("repo:you@12/leaves@34:ref:refs/heads/main", []),
        ("repo:me/leaves2:ref:refs/heads/main", []),
        ("repo:me2/leaves:ref:refs/heads/main", []),
        ("repo:me@12/other@34:ref:refs/heads/me/leaves@34", []),
        ("repo:me@12/other@34:ref:refs/tags/leaves@1/detector@v1.0.0", []),
        ("repo:you/x:environment:repo:me/leaves:environment:training", []),
    ],
)
def test_a_workflow_takes_a_role_only_from_where_it_may(resources, subject, roles):
    taken = []
    for role in ("TrainRole", "DeployRole"):
        (trust,) = resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
        assert trust["Condition"]["StringEquals"] == {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"}
        patterns = [
            pattern["Fn::Sub"].replace("${Owner}", "me").replace("${Repository}", "leaves")
            for pattern in trust["Condition"]["StringLike"]["token.actions.githubusercontent.com:sub"]
        ]
        taken += [role] * any(fnmatchcase(subject, pattern) for pattern in patterns)
    assert taken == roles


def allowed(resources: dict) -> list[tuple[str, dict]]:
    """Each statement that allows something, with the name of the role or policy it is in."""
    documents = [
        (name, policy["PolicyDocument"])
        for name, resource in resources.items()
        for policy in [*resource["Properties"].get("Policies", ()), resource["Properties"]]
        if "PolicyDocument" in policy
    ]
    statements = [(name, statement) for name, document in documents for statement in document["Statement"]]
    assert len(statements) > 10
    return [(name, statement) for name, statement in statements if statement["Effect"] == "Allow"]


def listed(value: str | list) -> list:
    return value if isinstance(value, list) else [value]
