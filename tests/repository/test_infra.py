"""The CloudFormation template by what it says: CloudFormation itself is not to be had in a test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import boto3
import cfnlint
import pytest
from cfnlint.decode import decode
from ruamel.yaml import YAML

TEMPLATE = Path(__file__).resolve().parents[2] / "infra/base.yaml"
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


@pytest.mark.slow
def test_templates_pass_cfn_lint_in_both_kinds_of_region():
    done = subprocess.run(
        [
            Path(sys.executable).with_name("cfn-lint"),
            "--regions",
            "us-east-1",
            "eu-central-1",
            "--",
            *sorted(TEMPLATE.parent.glob("*.yaml")),
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


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
    uploads, versions, runs, capture = resources["Storage"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert uploads["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert versions["NoncurrentVersionExpiration"] == {"NoncurrentDays": {"Ref": "KeepOldVersionsDays"}}
    assert (runs["Prefix"], runs["ExpirationInDays"]) == ("runs/", 30), "not dvc/, which is kept for ever"
    assert (capture["Prefix"], capture["ExpirationInDays"]) == ("capture/", 30), "people's pictures"
    for rule in (runs, capture):  # a heartbeat replaces its object every few seconds
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert {each["Status"] for each in (uploads, versions, runs, capture)} == {"Enabled"}
    assert "ExpirationInDays" not in uploads | versions


def test_neither_a_failed_update_nor_a_deleted_stack_takes_the_bucket(resources):
    assert resources["Storage"]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resources["Storage"]["UpdateReplacePolicy"] == "Retain"


def test_the_bucket_refuses_whoever_comes_without_tls(resources):
    statement, _ = resources["StoragePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": ["Storage", "Arn"]}, {"Fn::Sub": "${Storage.Arn}/*"}]


def test_how_a_run_ended_is_written_once(resources):
    """As AWS describes it under "Enforce conditional writes": runs.Store.put_new sends the header, put does not."""
    _, statement = resources["StoragePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:PutObject")
    assert statement["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    once = [place["Fn::Sub"].replace("${Storage.Arn}/runs/", "") for place in statement["Resource"]]
    for key in LAYOUT:
        assert any(fnmatchcase(key, pattern) for pattern in once) == (
            key.rpartition("/")[2] in ("end.json", "result.json")
        )


def test_budget_alarms_at_50_80_100_percent_and_forecast(resources):
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
            looks = re.match("Describe|List|Get(AWSDefault)?ServiceQuota|GetProducts", action.partition(":")[2])
            assert looks or action in UNLIMITED, f"{role} may do {action} to everything"
    (metrics,) = [entry for _, entry in allowed(resources) if entry["Action"] == "cloudwatch:PutMetricData"]
    assert metrics["Condition"] == {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}


def test_no_role_deletes_objects_and_each_writes_below_its_own_prefixes_only(resources):
    written = {}
    for role, statement in allowed(resources):
        actions = set(listed(statement["Action"]))
        assert not {action for action in actions if action.startswith("s3:Delete")}
        if "s3:PutObject" in actions:
            written[role] = {place["Fn::Sub"].split("/")[1] for place in listed(statement["Resource"])}
    assert written == {
        "Runner": {"dvc", "runs"},
        "MachineRole": {"runs"},
        "ServingRole": {"capture"},
        "Deployer": {"bundles"},
    }
    assert resources["TrainRole"]["Properties"]["ManagedPolicyArns"] == [{"Ref": "Runner"}]
    assert resources["DeployRole"]["Properties"]["ManagedPolicyArns"] == [{"Ref": "Deployer"}]
    for role in ("TrainRole", "DeployRole"):
        assert "Policies" not in resources[role]["Properties"], "a workflow may do what a person may"


# A key of each kind that plantdoc.aws.run_store tells of, below runs/, and whether a machine is to write it.
RUN = "0123456789abcdef"
LAYOUT = {
    f"code/{'a' * 64}.tar.gz": False,
    f"weights/{'a' * 64}": False,
    f"{RUN}/attempts/1.json": False,
    f"{RUN}/1/status.json": True,
    f"{RUN}/12/log/000000": True,
    f"{RUN}/1/end.json": True,
    f"{RUN}/checkpoint/last.npz": True,
    f"{RUN}/outputs/{'a' * 64}": True,
    f"{RUN}/result.json": True,
}


def test_the_layout_is_that_of_the_runs():
    told = re.findall(
        r"^    (\S+)  ", (TEMPLATE.parent.parent / "src/plantdoc/aws/run_store.py").read_text(), re.MULTILINE
    )
    forms = [re.sub("<sha256>", "a" * 64, place).replace("<id>", RUN) for place in told]
    patterns = [re.sub("<[a-z]+>", "*", form) + ("*" if form.endswith("/") else "") for form in forms]
    assert len(patterns) == len(LAYOUT)
    for key, pattern in zip(LAYOUT, patterns, strict=True):
        assert fnmatchcase(key, pattern)


@pytest.mark.parametrize("key", LAYOUT)
def test_a_machine_writes_what_is_its_own_of_a_run_and_reads_all_of_it(resources, key):
    """No code or weights, which other machines fetch, and no claim, by which machines are started."""
    assert may(resources, "MachineRole", "s3:PutObject", f"runs/{key}") == LAYOUT[key]
    assert may(resources, "MachineRole", "s3:GetObject", f"runs/{key}")


def test_a_machine_reads_data_and_nothing_else_of_the_bucket(resources):
    assert may(resources, "MachineRole", "s3:GetObject", "dvc/files/md5/ab/cd")
    assert not may(resources, "MachineRole", "s3:PutObject", "dvc/files/md5/ab/cd")
    for key in ("bundles/model.tar.gz", "capture/1", "runs"):
        assert not may(resources, "MachineRole", "s3:GetObject", key)
    actions = {
        action for role, entry in allowed(resources) if role == "MachineRole" for action in listed(entry["Action"])
    }
    assert actions == {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"}
    assert resources["MachineProfile"]["Properties"]["Roles"] == [{"Ref": "MachineRole"}]


def may(resources: dict, holder: str, action: str, key: str) -> bool:
    """Whether a statement of the holder's allows the action on an object of the bucket."""
    places = [
        place["Fn::Sub"].replace("${Storage.Arn}/", "")
        for role, statement in allowed(resources)
        if role == holder and action in listed(statement["Action"])
        for place in listed(statement["Resource"])
    ]
    return any(fnmatchcase(key, place) for place in places)


def test_nobody_reaches_into_a_training_machine(resources):
    (name,) = [name for name, entry in resources.items() if entry["Type"] == "AWS::EC2::SecurityGroup"]
    group = resources[name]["Properties"]
    assert "SecurityGroupIngress" not in group
    assert not [entry for entry in resources.values() if entry["Type"] == "AWS::EC2::SecurityGroupIngress"]
    assert {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in group["SecurityGroupEgress"]} == {
        ("tcp", 443, 443),
        ("tcp", 80, 80),
    }


@pytest.mark.parametrize(
    ("action", "condition"),
    [
        ("ec2:TerminateInstances", {"aws:ResourceTag/project": "plant-disease-detector"}),
        ("ec2:CreateTags", {"ec2:CreateAction": "RunInstances"}),
        ("iam:CreateServiceLinkedRole", {"iam:AWSServiceName": "spot.amazonaws.com"}),
    ],
)
def test_who_trains_touches_none_but_machines_of_this_project(resources, action, condition):
    (statement,) = [
        statement
        for role, statement in allowed(resources)
        if role == "Runner" and action in listed(statement["Action"])
    ]
    assert statement["Condition"] == {"StringEquals": condition}


def test_instances_start_only_without_a_key(resources):
    starts = [statement for _, statement in allowed(resources) if "ec2:RunInstances" in listed(statement["Action"])]
    places = [place["Fn::Sub"] for statement in starts for place in listed(statement["Resource"])]
    assert sum(place.endswith(":instance/*") for place in places) == 1
    assert not [place for place in places if ":key-pair/" in place]


def test_default_types_are_those_of_the_params_and_of_the_smoke_tests():
    template, _ = decode(str(TEMPLATE))
    params = YAML(typ="safe").load(TEMPLATE.parents[1] / "params.yaml")
    bounds = {
        name: template["Parameters"][name]["Default"].split(",") for name in ("InstanceTypes", "EndpointInstanceTypes")
    }
    for name in [*params["runner"]["instance_types"], "t3.large"]:
        assert any(fnmatchcase(name, pattern) for pattern in bounds["InstanceTypes"]), name
    assert any(fnmatchcase(params["serve"]["instance_type"], pattern) for pattern in bounds["EndpointInstanceTypes"])


@pytest.mark.parametrize(("policy", "least"), [("Runner", 16), ("Deployer", 30)])
def test_each_action_of_a_person_has_a_word_why(policy, least):
    text = re.search(rf"^  {policy}:\n(.*?)(?=^  \S)", TEMPLATE.read_text(), re.DOTALL | re.MULTILINE)[1]
    actions = re.findall(rf"^ +(?:- |Action: )((?:{'|'.join(ACTIONS)}):\w+)(.*)", text, re.M)
    assert len(actions) >= least
    unsaid = [action for action, why in actions if not re.match(r" # \w+", why)]
    assert unsaid == []


@pytest.mark.parametrize("policy", ["Runner", "Deployer"])
def test_the_policy_of_a_person_is_within_what_iam_takes(resources, policy):
    document = json.dumps(resources[policy]["Properties"]["PolicyDocument"], separators=(",", ":"))
    longest = document.replace("${AWS::Partition}", "aws").replace("${AWS::Region}", "ap-southeast-1")
    assert len(longest.replace("${AWS::AccountId}", "1" * 12)) < 6144 - 500, "the bucket's name is yet to come"


# Calls of boto3's clients that the code makes, by the action that allows them.
CALLS = {
    "run_instances": "ec2:RunInstances",
    "terminate_instances": "ec2:TerminateInstances",
    "describe_instances": "ec2:DescribeInstances",
    "describe_instance_types": "ec2:DescribeInstanceTypes",
    "describe_instance_type_offerings": "ec2:DescribeInstanceTypeOfferings",
    "describe_availability_zones": "ec2:DescribeAvailabilityZones",
    "describe_security_groups": "ec2:DescribeSecurityGroups",
    "describe_subnets": "ec2:DescribeSubnets",
    "describe_images": "ec2:DescribeImages",
    "describe_spot_price_history": "ec2:DescribeSpotPriceHistory",
    "get_products": "pricing:GetProducts",
    "get_parameter": "ssm:GetParameter",
    "get_service_quota": "servicequotas:GetServiceQuota",
    "get_aws_default_service_quota": "servicequotas:GetAWSDefaultServiceQuota",
    "describe_stacks": "cloudformation:DescribeStacks",
}
# What the same calls want beside, and what S3 and DVC do.
WITH_IT = {
    "ec2:CreateTags",
    "iam:PassRole",
    "iam:CreateServiceLinkedRole",
    "s3:ListBucket",
    "s3:GetObject",
    "s3:PutObject",
    "s3:AbortMultipartUpload",
}


def test_a_person_who_trains_may_do_what_the_code_does_and_no_more(resources):
    source = TEMPLATE.parent.parent
    files = [
        *(source / "src/plantdoc/ec2").glob("*.py"),
        source / "src/plantdoc/aws/ec2_prices.py",
        source / "src/plantdoc/remote/aws_context.py",
        source / "src/plantdoc/doctor/checks_aws.py",
        source / "src/plantdoc/aws/cloudformation.py",
        source / "src/plantdoc/aws/price_list.py",
        source / "scripts/ec2.py",
    ]
    text = "".join(path.read_text() for path in files)
    asked = set(re.findall(r"""[."'](run_instances|terminate_\w+|(?:describe|get)_\w+)\b""", text))
    asked = {call for call in asked if any(hasattr(client, call) for client in clients())}
    unknown = asked - set(CALLS) - {"get_caller_identity", "get_object", "get_paginator", "get_waiter"}
    unknown -= {"describe_change_set", "describe_stack_events"}  # of `make aws`, which is for another person
    assert not unknown, f"allow these in infra/base.yaml, and add them here: {unknown}"
    allows = {action for role, entry in allowed(resources) if role == "Runner" for action in listed(entry["Action"])}
    wanted = {CALLS[call] for call in asked & set(CALLS)} | WITH_IT
    assert allows == wanted, f"lacks {wanted - allows}, has too many {allows - wanted}"


# The same for those who deploy, whose code asks for more things by more ways.
DEPLOYS = {
    "add_tags": "sagemaker:AddTags",
    "Endpoint.create": "sagemaker:CreateEndpoint",
    "create_endpoint_config": "sagemaker:CreateEndpointConfig",
    "Model.create": "sagemaker:CreateModel",
    "delete_endpoint": "sagemaker:DeleteEndpoint",
    "delete_endpoint_config": "sagemaker:DeleteEndpointConfig",
    "delete_model": "sagemaker:DeleteModel",
    "describe_endpoint": "sagemaker:DescribeEndpoint",
    "describe_endpoint_config": "sagemaker:DescribeEndpointConfig",
    "describe_model": "sagemaker:DescribeModel",
    "invoke_endpoint": "sagemaker:InvokeEndpoint",
    "list_tags": "sagemaker:ListTags",
    "list_endpoint_configs": "sagemaker:ListEndpointConfigs",
    "list_endpoints": "sagemaker:ListEndpoints",
    "list_models": "sagemaker:ListModels",
    "update_endpoint": "sagemaker:UpdateEndpoint",
    "delete_scaling_policy": "application-autoscaling:DeleteScalingPolicy",
    "deregister_scalable_target": "application-autoscaling:DeregisterScalableTarget",
    "put_scaling_policy": "application-autoscaling:PutScalingPolicy",
    "register_scalable_target": "application-autoscaling:RegisterScalableTarget",
    "describe_scalable_targets": "application-autoscaling:DescribeScalableTargets",
    "describe_scaling_policies": "application-autoscaling:DescribeScalingPolicies",
    "delete_alarms": "cloudwatch:DeleteAlarms",
    "put_metric_alarm": "cloudwatch:PutMetricAlarm",
    "describe_alarms": "cloudwatch:DescribeAlarms",
    "get_products": "pricing:GetProducts",
    "cloudformation.find": "cloudformation:DescribeStacks",
    "put_object": "s3:PutObject",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
}
DEPLOYS_WITH_IT = {
    "cloudwatch:TagResource",
    "iam:PassRole",
    "iam:CreateServiceLinkedRole",
    "s3:ListBucket",
    "s3:AbortMultipartUpload",
    "sagemaker:UpdateEndpointWeightsAndCapacities",
}


def test_a_person_who_deploys_may_do_what_the_code_does_and_no_more(resources):
    source = TEMPLATE.parent.parent
    files = [
        *(source / "src/plantdoc/sagemaker").glob("*.py"),
        source / "src/plantdoc/aws/conditional_put.py",
        source / "src/plantdoc/aws/content_objects.py",
        source / "src/plantdoc/aws/price_list.py",
        source / "scripts/deploy.py",
    ]
    text = "".join(path.read_text() for path in files)
    verbs = "add|create|delete|deregister|describe|get|head|invoke|list|put|register|update"
    asked = set(re.findall(rf"""[."']((?:{verbs})_\w+)\b""", text))
    asked = {call for call in asked if any(hasattr(client, call) for client in clients())} - {"get_paginator"}
    asked |= set(re.findall(r"\b((?:Endpoint|Model)\.create|cloudformation\.find)\b", text))
    assert not asked - set(DEPLOYS), f"allow these in infra/base.yaml, and add them here: {asked - set(DEPLOYS)}"
    allows = {action for role, entry in allowed(resources) if role == "Deployer" for action in listed(entry["Action"])}
    wanted = {DEPLOYS[call] for call in asked} | DEPLOYS_WITH_IT
    assert allows == wanted, f"lacks {wanted - allows}, has too many {allows - wanted}"


@pytest.mark.parametrize(
    ("action", "condition"),
    [
        ("application-autoscaling:RegisterScalableTarget", {"application-autoscaling:service-namespace": "sagemaker"}),
        ("iam:CreateServiceLinkedRole", {"iam:AWSServiceName": "sagemaker.application-autoscaling.amazonaws.com"}),
    ],
)
def test_who_deploys_scales_and_hands_over_nothing_but_what_serves(resources, action, condition):
    (statement,) = [
        statement
        for role, statement in allowed(resources)
        if role == "Deployer" and action in listed(statement["Action"])
    ]
    assert statement["Condition"] == {"StringEquals": condition}


@pytest.mark.parametrize("service", ["sagemaker", "cloudwatch"])
def test_who_deploys_changes_nothing_but_by_our_names(resources, service):
    for role, statement in allowed(resources):
        changes = [
            action
            for action in listed(statement["Action"])
            if action.startswith(f"{service}:") and not re.match(".*:(Describe|List|PutMetricData)", action)
        ]
        if role == "Deployer" and changes:
            assert all("plant-disease-" in place["Fn::Sub"] for place in listed(statement["Resource"])), changes


def clients() -> list:
    names = ("ec2", "pricing", "ssm", "service-quotas", "cloudformation", "sts", "s3", "iam")
    names += ("sagemaker", "sagemaker-runtime", "application-autoscaling", "cloudwatch")
    return [boto3.client(name, "us-east-1", aws_access_key_id="key", aws_secret_access_key="secret") for name in names]


def test_the_reaper_looks_every_quarter_of_an_hour_and_ends_what_is_ours(resources):
    parts = ["Reaper", "ReaperLog", "ReaperRole", "ReaperClock", "ReaperCall"]
    assert {name for name, entry in resources.items() if entry.get("Condition") == "HasReaper"} == set(parts)
    function = resources["Reaper"]["Properties"]
    assert (function["Code"], function["Handler"]) == ({"ZipFile": {"Ref": "ReaperCode"}}, "index.handler")
    assert resources["ReaperClock"]["Properties"]["ScheduleExpression"] == "rate(15 minutes)"
    (target,) = resources["ReaperClock"]["Properties"]["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": ["Reaper", "Arn"]}
    rights = {
        action: entry
        for role, entry in allowed(resources)
        if role == "ReaperRole"
        for action in listed(entry["Action"])
    }
    assert set(rights) == {
        "ec2:DescribeInstances",
        "ec2:TerminateInstances",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    tag = {"aws:ResourceTag/project": "plant-disease-detector"}
    assert rights["ec2:TerminateInstances"]["Condition"] == {"StringEquals": tag}


def test_a_role_is_handed_over_to_the_one_service_it_is_for(resources):
    passed = {
        role: (statement["Resource"], statement["Condition"]["StringEquals"]["iam:PassedToService"])
        for role, statement in allowed(resources)
        if "iam:PassRole" in listed(statement["Action"])
    }
    assert passed == {
        "Runner": ({"Fn::GetAtt": ["MachineRole", "Arn"]}, "ec2.amazonaws.com"),
        "Deployer": ({"Fn::GetAtt": ["ServingRole", "Arn"]}, "sagemaker.amazonaws.com"),
    }


def test_sagemaker_takes_the_serving_role_for_this_account_only(resources):
    (trust,) = resources["ServingRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_githubs_provider_outlives_the_stack(resources):
    """An account holds it once, and roles of other stacks may use it."""
    assert resources["GitHub"]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resources["GitHub"]["UpdateReplacePolicy"] == "Retain"


def test_roles_for_workflows_are_there_only_for_a_repository(resources):
    conditions = {name: entry["Condition"] for name, entry in resources.items() if "Condition" in entry}
    assert {name: about for name, about in conditions.items() if about not in ("HasReaper", "HasNetwork")} == {
        "GitHub": "MakesProvider",
        "TrainRole": "HasRepository",
        "DeployRole": "HasRepository",
    }


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
