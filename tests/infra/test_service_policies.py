"""The rights of roles that AWS's services take: machines, served detectors, the reaper, the API, workflows."""

from __future__ import annotations

import json

import boto3
import fake_aws
import iam_requests
import iam_story
import pytest
from iam_evaluator import ACCOUNT, Question, Request, allowed
from import_graph import ROOT
from stack_policies import Stack

from plantdoc.ec2 import reaper

pytest_plugins = ["ec2_fixtures", "worker_fixtures"]
TEMPLATE, API = ROOT / "infra/base.yaml", ROOT / "infra/api.yaml"
BUCKET, REGION = "leaves", "eu-central-1"
GIVEN = {"Bucket": BUCKET, "Email": "me@example.org", "Owner": "me", "Repository": "leaves", "ReaperCode": "pass"}
OBJECTS = f"arn:aws:s3:::{BUCKET}"
STACK = Stack(TEMPLATE, f"plant-disease-{BUCKET}", REGION, ACCOUNT, GIVEN)
BUCKET_POLICY = STACK.resource("StoragePolicy")["PolicyDocument"]


@pytest.mark.full
def test_machine_may_do_what_a_training_does_and_no_more(run, network):
    network.requests.clear()
    end = run.ended(run.launch())
    assert end["state"] == "done", run.log()
    stack = Stack(TEMPLATE, "x", REGION, ACCOUNT, GIVEN | {"Bucket": run.bucket})
    asked = [iam_requests.of_s3(each.method, each.key, each.query, each.conditional) for each in network.requests]
    requests = list(dict.fromkeys(request for found in asked for request in found))
    # An upload in parts that breaks off is ended by S3's own client.
    place = f"arn:aws:s3:::{run.bucket}"
    requests.append(Request.of("s3:AbortMultipartUpload", f"{place}/runs/{run.id}/outputs/{'a' * 64}"))
    assert "s3:AbortMultipartUpload" in iam_story.documented(TEMPLATE, "MachineRole")
    bucket = stack.resource("StoragePolicy")["PolicyDocument"]
    story = iam_story.Story(stack.policy("MachineRole"), requests, bucket)
    iam_story.check(story)
    others = [
        Request.of("s3:PutObject", f"{place}/dvc/files/md5/ab/cd"),
        Request.of("s3:PutObject", f"{place}/runs/code/{'a' * 64}.tar.gz", **{"s3:if-none-match": "*"}),
        Request.of("s3:PutObject", f"{place}/runs/{run.id}/attempts/2.json", **{"s3:if-none-match": "*"}),
        Request.of("s3:PutObject", f"{place}/runs/{run.id}/result.json"),
        Request.of("s3:PutObject", f"{place}/runs/{run.id}/1/end.json"),
        Request.of("s3:DeleteObject", f"{place}/runs/{run.id}/1/status.json"),
        Request.of("s3:GetObject", f"{place}/capture/1"),
        Request.of("ec2:TerminateInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"),
    ]
    assert story.denied(others) == others


@pytest.mark.slow
def test_reaper_ends_what_is_ours_and_nothing_else(monkeypatch):
    with fake_aws.running(region=REGION) as aws:
        tags = [{"Key": "project", "Value": "plant-disease-detector"}, {"Key": "deadline", "Value": "1"}]
        aws.client("ec2").run_instances(
            ImageId=aws.rules.image,
            InstanceType="g5.xlarge",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        assert reaper.handler({}, None) == 1
        requests = iam_requests.of([call for call in aws.calls if call.by != "test"], aws)
    log = f"{STACK.arn('ReaperLog').removesuffix(':*')}:log-stream:2026/11/30/[$LATEST]0123456789abcdef"
    lambdas = {action: [Request.of(action, log)] for action in ("logs:CreateLogStream", "logs:PutLogEvents")}
    assert lambdas.keys() <= iam_story.documented(TEMPLATE, "ReaperRole")
    story = iam_story.Story(STACK.policy("ReaperRole"), requests)
    iam_story.check(story, lambdas)
    ending = next(each for each in requests if each.action == "ec2:TerminateInstances")
    others = [ending.changed(**{"aws:ResourceTag/project": value}) for value in (None, "another")]
    others.append(Request.of("ec2:StopInstances", ending.arn, **dict(ending.context)))
    assert story.denied(others) == others


def test_served_detector_reads_bundles_and_writes_what_it_was_asked():
    """Its code asks AWS for nothing: SageMaker does, with this role, as its documentation says."""
    place = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/plant-disease-detector"
    image = f"arn:aws:ecr:{REGION}:763104351884:repository/tensorflow-inference"
    alarm = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:plant-disease-detector-errors"
    requests = {
        "s3:ListBucket": [Request.of("s3:ListBucket", OBJECTS, **{"s3:prefix": "bundles/0/model.tar.gz"})],
        "s3:GetObject": [Request.of("s3:GetObject", f"{OBJECTS}/bundles/0/model.tar.gz")],
        "s3:PutObject": [Request.of("s3:PutObject", f"{OBJECTS}/capture/plant-disease-detector/1.jsonl")],
        "logs:CreateLogGroup": [Request.of("logs:CreateLogGroup", place)],
        "logs:DescribeLogStreams": [Request.of("logs:DescribeLogStreams", place)],
        "cloudwatch:PutMetricData": [
            Request.of("cloudwatch:PutMetricData", "*", **{"cloudwatch:namespace": "/aws/sagemaker/Endpoints"})
        ],
        "cloudwatch:DescribeAlarms": [Request.of("cloudwatch:DescribeAlarms", alarm)],
        "ecr:GetAuthorizationToken": [Request.of("ecr:GetAuthorizationToken", "*")],
    }
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        requests[action] = [Request.of(action, f"{place}:log-stream:detector/i-0123456789abcdef0")]
    for action in ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"):
        requests[action] = [Request.of(action, image)]
    assert requests.keys() <= iam_story.documented(TEMPLATE, "ServingRole")
    story = iam_story.Story(STACK.policy("ServingRole"), [], BUCKET_POLICY)
    iam_story.check(story, requests)
    others = [
        Request.of("s3:GetObject", f"{OBJECTS}/dvc/files/md5/ab/cd"),
        Request.of("s3:PutObject", f"{OBJECTS}/bundles/0/model.tar.gz"),
        Request.of("s3:ListBucket", OBJECTS),
        Request.of("cloudwatch:PutMetricData", "*", **{"cloudwatch:namespace": "AWS/Billing"}),
        Request.of("cloudwatch:DescribeAlarms", alarm.replace("plant-disease-detector-errors", "billing")),
        Request.of("logs:PutLogEvents", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:other:log-stream:x"),
    ]
    assert story.denied(others) == others


def test_public_api_asks_its_endpoint_and_writes_its_log(monkeypatch):
    from plantdoc.public_api import lambda_function

    endpoint = "plant-disease-detector"
    stack = Stack(API, "plant-disease-api", REGION, ACCOUNT, {"Endpoint": endpoint, "Bucket": BUCKET, "Code": "x"})
    with fake_aws.running(region=REGION) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        lambda_function._client.cache_clear()
        with pytest.raises(boto3.client("sagemaker-runtime").exceptions.ClientError):
            lambda_function._invoke({"EndpointName": endpoint, "Body": b"x", "ContentType": "image/png"})
        lambda_function._client.cache_clear()
        requests = iam_requests.of(aws.calls, aws)
    assert requests
    log = f"{stack.arn('Log').removesuffix(':*')}:log-stream:2026/11/30/[$LATEST]0123456789abcdef"
    lambdas = {action: [Request.of(action, log)] for action in ("logs:CreateLogStream", "logs:PutLogEvents")}
    assert lambdas.keys() <= iam_story.documented(API, "Role")
    story = iam_story.Story(stack.policy("Role"), requests)
    iam_story.check(story, lambdas)
    others = [Request.of("sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/another")]
    assert story.denied(others) == others


TOKEN = "token.actions.githubusercontent.com"
# The evaluator knows these two claims by another provider's name.
KNOWN = {f"{TOKEN}:sub": "accounts.google.com:sub", f"{TOKEN}:aud": "accounts.google.com:aud"}
TRAINING, PRODUCTION = "repo:me/leaves:environment:training", "repo:me/leaves:environment:production"
NEW = "repo:me@12/leaves@34"
TAG = "refs/tags/detector@v1.0.0"


def test_workflow_takes_a_role_only_from_where_it_may():
    """GitHub's tokens, as "OpenID Connect reference" in its documentation has their claims, against both trusts."""
    tokens = [
        ("TrainRole", TRAINING, "refs/pull/7/merge"),
        ("TrainRole", f"{NEW}:environment:training", "refs/heads/any"),
        ("DeployRole", PRODUCTION, TAG),
        ("DeployRole", f"{NEW}:environment:production", TAG),
        (None, PRODUCTION, "refs/heads/main"),
        (None, PRODUCTION, "refs/tags/v1.0.0"),
        (None, f"{NEW}:environment:production", "refs/heads/detector@v1"),
        (None, f"repo:me/leaves:ref:{TAG}", TAG),
        (None, "repo:me/leaves:ref:refs/heads/main", "refs/heads/main"),
        (None, f"{NEW}:ref:refs/heads/some/branch", "refs/heads/some/branch"),
        (None, "repo:me/leaves:pull_request", "refs/pull/7/merge"),
        (None, "repo:me/leaves:environment:other", "refs/heads/main"),
        (None, "repo:you/leaves:environment:training", "refs/heads/main"),
        (None, "repo:me/leaves2:environment:training", "refs/heads/main"),
        (None, "repo:me2/leaves:environment:training", "refs/heads/main"),
        (None, "repo:you@12/leaves@34:environment:production", TAG),
        # A ":" in a name is "%3A" in a token.
        (None, "repo:me@12/other@34:environment:me/leaves@34%3Aenvironment%3Atraining", "refs/heads/main"),
        (None, "repo:me@12/other@34:ref:refs/tags/leaves@1/detector@v1.0.0", "refs/tags/leaves@1/detector@v1.0.0"),
    ]
    questions, expected = [], []
    for role in ("TrainRole", "DeployRole"):
        (trust,) = STACK.resource(role)["AssumeRolePolicyDocument"]["Statement"]
        # The provider is the principal; what it may is looked at as a policy of its own.
        statement = {key: value for key, value in trust.items() if key != "Principal"}
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement | {"Resource": STACK.arn(role)}]})
        for claim, known in KNOWN.items():
            text = text.replace(claim, known)
        policy = json.loads(text)
        for owner, sub, ref in tokens:
            subject, audience = KNOWN[f"{TOKEN}:sub"], KNOWN[f"{TOKEN}:aud"]
            claims = {subject: sub, f"{TOKEN}:ref": ref, audience: "sts.amazonaws.com"}
            request = Request.of("sts:AssumeRoleWithWebIdentity", STACK.arn(role), **claims)
            questions += [Question(request, policy), Question(request.changed(**{audience: "other"}), policy)]
            expected += [owner == role, False]
    assert allowed(questions) == expected


def test_no_branch_is_in_any_trust():
    for name in ("TrainRole", "DeployRole", "ServingRole", "MachineRole", "ReaperRole"):
        trust = json.dumps(STACK.resource(name)["AssumeRolePolicyDocument"])
        assert "refs/heads" not in trust and ":*" not in trust and ":ref:" not in trust
