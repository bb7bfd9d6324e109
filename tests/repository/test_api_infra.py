"""The public API's template by what it says: CloudFormation itself is not to be had in a test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cfnlint
import pytest
from cfnlint.decode import decode

from plantdoc.public_api import lambda_function, stack

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "infra/api.yaml"
ACTIONS = json.loads((Path(cfnlint.__file__).parent / "data/AdditionalSpecs/Policies.json").read_text())


@pytest.fixture(scope="module")
def template() -> dict:
    template, faults = decode(str(TEMPLATE))
    assert not faults
    return template


@pytest.fixture(scope="module")
def resources(template) -> dict:
    return {name: entry["Properties"] for name, entry in template["Resources"].items()}


def test_the_template_passes_cfn_lint_in_both_kinds_of_region():
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--regions", "us-east-1", "eu-central-1", "--", TEMPLATE],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_short_enough_to_be_sent_as_it_is():
    assert TEMPLATE.stat().st_size < 51_200
    assert stack.TEMPLATE == TEMPLATE


def test_function_may_only_invoke_its_endpoint_and_write_its_log(resources):
    role = resources["Role"]
    assert not {"ManagedPolicyArns", "PermissionsBoundary"} & set(role)
    statements = [each for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"]]
    assert {each["Effect"] for each in statements} == {"Allow"}
    rights = {
        action: each["Resource"]
        for each in statements
        for action in (each["Action"] if isinstance(each["Action"], list) else [each["Action"]])
    }
    ours = "arn:${AWS::Partition}:sagemaker:${AWS::Region}:${AWS::AccountId}:endpoint/${Endpoint}"
    assert rights == {
        "sagemaker:InvokeEndpoint": {"Fn::Sub": ours},
        "logs:CreateLogStream": {"Fn::GetAtt": ["Log", "Arn"]},
        "logs:PutLogEvents": {"Fn::GetAtt": ["Log", "Arn"]},
    }
    for action in rights:
        service, _, name = action.partition(":")
        assert name.lower() in ACTIONS[service]["Actions"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert (trust["Principal"], trust["Action"]) == ({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")


def test_the_code_calls_nothing_but_what_the_role_allows():
    called = set(re.findall(r"_client\(\)\.(\w+)\(", Path(lambda_function.__file__).read_text()))
    assert called == {"invoke_endpoint"}


def test_each_route_asks_who_comes(template, resources):
    routes = [entry for entry in template["Resources"].values() if entry["Type"] == "AWS::ApiGatewayV2::Route"]
    assert {entry["Properties"]["RouteKey"] for entry in routes} == {"POST /predict", "GET /health", "HEAD /health"}
    for entry in routes:
        assert entry["Properties"]["AuthorizationType"] == {"Fn::If": ["Signed", "AWS_IAM", "NONE"]}
    assert template["Conditions"]["Signed"] == {"Fn::Equals": [{"Ref": "Access"}, "iam"]}
    hashed = {"Fn::If": ["ByKey", {"Ref": "KeyHash"}, {"Ref": "AWS::NoValue"}]}
    variables = resources["Function"]["Environment"]["Variables"]
    assert variables == {"ENDPOINT": {"Ref": "Endpoint"}, "ACCESS": {"Ref": "Access"}, "KEY_SHA256": hashed}
    assert template["Conditions"]["ByKey"] == {"Fn::Equals": [{"Ref": "Access"}, "key"]}


def test_it_is_closed_unless_it_is_said_to_be_open(template):
    access = template["Parameters"]["Access"]
    assert (access["Default"], access["AllowedValues"]) == ("key", ["key", "iam", "open"])
    rule = template["Rules"]["KeyIsThere"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "Access"}, "key"]}
    assert rule["Assertions"][0]["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "KeyHash"}, ""]}]}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("KeyHash", ["", "a" * 64], ["a" * 63, "A" * 64, "a-key-in-plain-text"]),
        ("Endpoint", ["plant-disease-detector"], ["plant-disease-", "other", "plant-disease-*", "plant-disease-x/y"]),
    ],
)
def test_parameters_take_what_they_are_for(template, name, good, bad):
    pattern = re.compile(template["Parameters"][name]["AllowedPattern"])
    assert all(pattern.fullmatch(value) for value in good)
    assert not any(pattern.fullmatch(value) for value in bad)


def test_no_origin_no_cors(template, resources):
    chosen, there, otherwise = resources["Api"]["CorsConfiguration"]["Fn::If"]
    assert (chosen, otherwise) == ("HasOrigins", {"Ref": "AWS::NoValue"})
    assert there["AllowOrigins"] == {"Ref": "Origins"}
    assert there["AllowMethods"] == ["GET", "POST"]
    assert {"content-type", "x-api-key"} <= set(there["AllowHeaders"])
    assert "AllowCredentials" not in there
    assert template["Parameters"]["Origins"]["Default"] == ""
    assert template["Conditions"]["HasOrigins"] == {
        "Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Origins"}]}, ""]}]
    }


def test_requests_are_throttled_and_end_in_time(resources):
    throttle = resources["Stage"]["DefaultRouteSettings"]
    assert throttle == {"ThrottlingRateLimit": {"Ref": "Rate"}, "ThrottlingBurstLimit": {"Ref": "Burst"}}
    assert (resources["Stage"]["StageName"], resources["Stage"]["AutoDeploy"]) == ("$default", True)
    integration = resources["Integration"]
    assert (integration["IntegrationType"], integration["PayloadFormatVersion"]) == ("AWS_PROXY", "2.0")
    assert lambda_function.WAIT < resources["Function"]["Timeout"] < integration["TimeoutInMillis"] / 1000 <= 30


def test_the_function_is_that_of_the_parcel_and_its_log_ends(template, resources):
    made = resources["Function"]
    assert made["Handler"] == "lambda_function.handler" and hasattr(lambda_function, "handler")
    assert made["Code"] == {"S3Bucket": {"Ref": "Bucket"}, "S3Key": {"Ref": "Code"}}
    assert made["LoggingConfig"] == {"LogGroup": {"Ref": "Log"}}
    assert resources["Log"]["RetentionInDays"] == 30
    assert template["Resources"]["Log"]["DeletionPolicy"] == "Delete"
    assert "ReservedConcurrentExecutions" not in made, "a new account could not reserve any"


def test_only_this_api_calls_the_function(resources):
    call = resources["Call"]
    assert call["Principal"] == "apigateway.amazonaws.com"
    source = re.sub(r"\$\{AWS::\w+\}", "x", call["SourceArn"]["Fn::Sub"])
    assert source.replace("${Api}", "a1b2") == "arn:x:execute-api:x:x:a1b2/*"


def test_the_stack_says_the_address_and_nothing_of_the_key(template):
    assert set(template["Outputs"]) == {"Url"}
    assert template["Outputs"]["Url"]["Value"] == {
        "Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}"
    }
    assert "KeyHash" not in json.dumps(template["Outputs"])
