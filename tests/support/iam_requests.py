"""Requests that AWS checks for a call: actions, resources and condition keys, as its documentation has them.

One call may be several: RunInstances is checked for each kind of thing that it makes, for its tags and for the role
that it hands over. Sources: the Service Authorization Reference; for what belongs to a call, the page named at its
rule. A call without a rule is one request of its own name on "*", so that a new call in the code meets the policy at
once.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Iterable

import fake_aws
from iam_evaluator import ACCOUNT, Request
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends

assert ACCOUNT == DEFAULT_ACCOUNT_ID
SERVICES = {"monitoring": "cloudwatch"}  # names in signatures, where those of actions differ
# IAM wants no right for these.
FREE = {("sts", "GetCallerIdentity")}
Rule = Callable[[fake_aws.Call, fake_aws.AWS], Iterable[Request]]


def of(calls: Iterable[fake_aws.Call], aws: fake_aws.AWS) -> list[Request]:
    """Requests of the calls, each once."""
    found: dict[Request, None] = {}
    for call in calls:
        service = SERVICES.get(call.service, call.service)
        if (service, call.action) in FREE:
            continue
        if service == "s3":
            requests: Iterable[Request] = of_s3(call.action, **call.given)
        elif rule := RULES.get(f"{service}:{call.action}") or RULES.get(service):
            requests = rule(call, aws)
        else:
            requests = [Request.of(f"{service}:{call.action}", "*")]
        found |= dict.fromkeys(requests)
    return list(found)


def of_s3(method: str, path: str, query: str = "", only_new: bool = False) -> Iterable[Request]:
    """Requests of a call of S3's REST interface; `path` is bucket and key."""
    bucket, _, key = urllib.parse.unquote(path).strip("/").partition("/")
    asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    arn = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
    if not key:
        actions = {"list-type": "ListBucket", "prefix": "ListBucket", "versions": "ListBucketVersions"}
        actions |= {"delete": "DeleteObject", "location": "GetBucketLocation", "tagging": "GetBucketTagging"}
        action = next((actions[name] for name in actions if name in asked), "ListBucket")
        context = {"s3:prefix": asked["prefix"]} if asked.get("prefix") and action == "ListBucket" else {}
    elif method == "DELETE":
        action, context = "AbortMultipartUpload" if "uploadId" in asked else "DeleteObject", {}
    elif method in ("PUT", "POST"):
        action, context = "PutObject", {"s3:if-none-match": "*"} if only_new else {}
    else:
        action, context = "GetObject", {}
    found = [Request.of(f"s3:{action}", arn, **context)]
    if action == "GetObject":
        # What is not there is a 404 only for those who may list the bucket, of whatever prefix, else a 403:
        # docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
        found.append(Request.of("s3:ListBucket", f"arn:aws:s3:::{bucket}"))
    return found


def _ec2(call: fake_aws.Call, kind: str, name: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:ec2:{call.region}:{account}:{kind}/{name}"


def _flat(given: dict, prefix: str) -> dict[str, str]:
    """Values of a list of structures in EC2's query: what stands behind the prefix, by the rest of its name."""
    return {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}


def _run_instances(call: fake_aws.Call, aws: fake_aws.AWS) -> Iterable[Request]:
    """See ExamplePolicies_EC2.html and supported-iam-actions-tagging.html of AWSEC2/latest/UserGuide."""
    given, action = call.given, "ec2:RunInstances"
    spot = given.get("InstanceMarketOptions.MarketType") == "spot"
    tags: dict[str, dict[str, str]] = {}
    for n in (
        each[1] for each in (re.fullmatch(r"TagSpecification\.(\d+)\.ResourceType", key) for key in given) if each
    ):
        pairs = _flat(given, f"TagSpecification.{n}.Tag.")
        tags[given[f"TagSpecification.{n}.ResourceType"]] = {
            f"aws:RequestTag/{pairs[f'{k}.Key']}": pairs[f"{k}.Value"] for k in {key.split(".")[0] for key in pairs}
        }
    instance, volume = _ec2(call, "instance", "i-0123456789abcdef0"), _ec2(call, "volume", "vol-0123456789abcdef0")
    about = {"ec2:InstanceType": given["InstanceType"]}
    if tokens := given.get("MetadataOptions.HttpTokens"):
        about["ec2:MetadataHttpTokens"] = tokens
    yield Request.of(action, instance, **about, **tags.get("instance", {}))
    disk = {"ec2:VolumeSize": given.get("BlockDeviceMapping.1.Ebs.VolumeSize", "75")}
    yield Request.of(action, volume, **disk, **tags.get("volume", {}))
    yield Request.of(action, _ec2(call, "image", given["ImageId"], account=""))
    yield Request.of(action, _ec2(call, "subnet", given["SubnetId"]))
    yield Request.of(action, _ec2(call, "security-group", given["SecurityGroupId.1"]))
    yield Request.of(action, _ec2(call, "network-interface", "eni-0123456789abcdef0"))
    places = {"instance": instance, "volume": volume}
    for kind, values in tags.items():
        yield Request.of("ec2:CreateTags", places[kind], **{"ec2:CreateAction": "RunInstances"}, **values)
    profile = iam_backends[ACCOUNT]["aws"].get_instance_profile(given["IamInstanceProfile.Name"])
    yield _pass_role(profile.roles[0].arn, "ec2.amazonaws.com")
    if spot:
        yield Request.of(action, _ec2(call, "spot-instances-request", "sir-0123456789"))
        # docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
        yield _linked_role("spot.amazonaws.com", "AWSServiceRoleForEC2Spot")


def _terminate(call: fake_aws.Call, aws: fake_aws.AWS) -> Iterable[Request]:
    for id in (value for key, value in call.given.items() if key.startswith("InstanceId.")):
        tags = {f"aws:ResourceTag/{tag['key']}": tag["value"] for tag in aws.backend.get_instance(id).get_tags()}
        yield Request.of("ec2:TerminateInstances", _ec2(call, "instance", id), **tags)


def _describe_stacks(call: fake_aws.Call, aws: fake_aws.AWS) -> Iterable[Request]:
    """By name: AWS checks `stack/NAME/*` or, where there is such a stack, its id; both are known from its refusals."""
    name = call.given["StackName"]
    if not name.startswith("arn:"):
        place = f"arn:aws:cloudformation:{call.region}:{ACCOUNT}:stack/{name}"
        yield Request.of("cloudformation:DescribeStacks", f"{place}/*")
        name = f"{place}/6c2c2b10-0c1e-11f0-8d8e-0a1b2c3d4e5f"
    yield Request.of("cloudformation:DescribeStacks", name)


def _get_parameter(call: fake_aws.Call, aws: fake_aws.AWS) -> Iterable[Request]:
    account = "" if call.given["Name"].startswith("/aws/") else ACCOUNT  # AWS's public parameters are of no account
    yield Request.of("ssm:GetParameter", f"arn:aws:ssm:{call.region}:{account}:parameter{call.given['Name']}")


def _get_quota(call: fake_aws.Call, aws: fake_aws.AWS) -> Iterable[Request]:
    place = f"{call.given['ServiceCode']}/{call.given['QuotaCode']}"
    yield Request.of("servicequotas:GetServiceQuota", f"arn:aws:servicequotas:{call.region}:{ACCOUNT}:{place}")


def _sagemaker(call: fake_aws.Call, aws: fake_aws.AWS) -> Iterable[Request]:
    """Names are parts of ARNs; whoever makes something with tags needs AddTags too, and CreateModel hands over a role.

    See docs.aws.amazon.com/sagemaker/latest/dg/api-permissions-reference.html.
    """
    given, action = call.given, f"sagemaker:{call.action}"
    kinds = {"EndpointName": "endpoint", "EndpointConfigName": "endpoint-config", "ModelName": "model"}
    arns = [
        f"arn:aws:sagemaker:{call.region}:{ACCOUNT}:{kind}/{given[key]}" for key, kind in kinds.items() if key in given
    ]
    arns += [given["ResourceArn"]] if "ResourceArn" in given else []
    context = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in given.get("Tags", ())}
    types = tuple(each["InstanceType"] for each in given.get("ProductionVariants", ()) if "InstanceType" in each)
    if types:
        context["sagemaker:InstanceTypes"] = types
    for arn in arns or ["*"]:
        yield Request.of(action, arn, **context)
    if call.action.startswith("Create") and given.get("Tags"):
        yield Request.of("sagemaker:AddTags", arns[0])
    if role := given.get("ExecutionRoleArn"):
        yield _pass_role(role, "sagemaker.amazonaws.com")


def _scaling(call: fake_aws.Call, aws: fake_aws.AWS) -> Iterable[Request]:
    """What Application Auto Scaling does on behalf of who asks it, with that person's rights.

    See docs.aws.amazon.com/autoscaling/application/userguide/security_iam_id-based-policy-examples.html: "Permissions
    for target resources" and "CloudWatch".
    """
    action, given = f"application-autoscaling:{call.action}", call.given
    if call.action.startswith("Describe"):
        yield Request.of(action, "*")
        return
    target = f"arn:aws:application-autoscaling:{call.region}:{ACCOUNT}:scalable-target/0123456789abcdef"
    yield Request.of(action, target, **{"application-autoscaling:service-namespace": given["ServiceNamespace"]})
    endpoint = f"arn:aws:sagemaker:{call.region}:{ACCOUNT}:{'/'.join(given['ResourceId'].split('/')[:2])}"
    alarm = f"arn:aws:cloudwatch:{call.region}:{ACCOUNT}:alarm:TargetTracking-{given['ResourceId']}-AlarmHigh"
    match call.action:
        case "RegisterScalableTarget":
            yield Request.of("sagemaker:DescribeEndpoint", endpoint)
            yield Request.of("sagemaker:UpdateEndpointWeightsAndCapacities", endpoint)
            service = "sagemaker.application-autoscaling.amazonaws.com"
            yield _linked_role(service, "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint")
        case "PutScalingPolicy":
            yield Request.of("cloudwatch:PutMetricAlarm", alarm)
        case "DeleteScalingPolicy":
            yield Request.of("cloudwatch:DeleteAlarms", alarm)


def _alarms(call: fake_aws.Call, aws: fake_aws.AWS) -> Iterable[Request]:
    given = call.given
    names = [value for key, value in given.items() if re.fullmatch(r"AlarmName(s\.member\.\d+)?", key)]
    names += given.get("AlarmNames", [])
    for name in names:
        arn = f"arn:aws:cloudwatch:{call.region}:{ACCOUNT}:alarm:{name}"
        yield Request.of(f"cloudwatch:{call.action}", arn)
        if call.action == "PutMetricAlarm" and any(key.startswith("Tags") for key in given):
            yield Request.of("cloudwatch:TagResource", arn)


def _pass_role(arn: str, service: str) -> Request:
    return Request.of("iam:PassRole", arn, **{"iam:PassedToService": service})


def _linked_role(service: str, name: str) -> Request:
    arn = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{service}/{name}"
    return Request.of("iam:CreateServiceLinkedRole", arn, **{"iam:AWSServiceName": service})


RULES: dict[str, Rule] = {
    "ec2:RunInstances": _run_instances,
    "ec2:TerminateInstances": _terminate,
    "cloudformation:DescribeStacks": _describe_stacks,
    "ssm:GetParameter": _get_parameter,
    "servicequotas:GetServiceQuota": _get_quota,
    "sagemaker": _sagemaker,
    "application-autoscaling": _scaling,
    "cloudwatch": _alarms,
}
