"""Checks of an AWS account for endpoints on SageMaker: rights, memory, quotas.

All of them ask only what changes nothing. See plantdoc.doctor.checks for what a check returns and raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from plantdoc.core.errors import UserError
from plantdoc.doctor import aws_questions, checks_account, checks_start
from plantdoc.doctor.aws_questions import Unknown, ask

_MEMORY = 3072  # MB; what a new account allows a serverless endpoint, which no API of AWS tells
_SCALING_ROLE = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"


def deploying(job: str) -> str:
    """These credentials may make an endpoint and hand the serving role over, as IAM's simulation of policies says."""
    role = aws_questions.outputs().get("ServingRole")
    if not role:
        raise UserError(f"the stack is older than this code, it has no ServingRole: {aws_questions.make_aws()}")
    account, name = role.split(":")[4], aws_questions.serve().endpoint
    place = f"arn:aws:sagemaker:{aws_questions.region()}:{account}"
    wanted = {
        "sagemaker:CreateModel": f"{place}:model/{name}",
        "sagemaker:CreateEndpointConfig": f"{place}:endpoint-config/{name}",
        "sagemaker:CreateEndpoint": f"{place}:endpoint/{name}",
        "s3:PutObject": f"arn:aws:s3:::{aws_questions.bucket()}/bundles/x/model.tar.gz",
    }
    lacking = checks_account.denied(wanted)
    lacking += checks_account.denied({"iam:PassRole": role}, **{"iam:PassedToService": "sagemaker.amazonaws.com"})
    if lacking:
        raise UserError(
            f"these credentials lack {', '.join(lacking)}: attach the policy Deployer, which `make aws` prints"
        )
    return f"these credentials may serve {name}"


def memory(job: str) -> str:
    """Compare a serverless endpoint's memory with what AWS allows a new account."""
    serve = aws_questions.serve()
    if not serve.serverless:
        return "not needed: serve.serverless is false"
    if serve.memory_mb > _MEMORY:
        raise Unknown(
            f"serve.memory_mb = {serve.memory_mb}: a new account allows {_MEMORY} MB, and no API tells the limit: set "
            f"it to {_MEMORY}, or ask AWS's support for more (Memory size in MB per serverless endpoint)"
        )
    return f"{serve.memory_mb} MB, and a new account allows {_MEMORY}"


def instances(job: str) -> str:
    """The quota of an endpoint's instances is twice its most: an update runs the old ones and the new ones."""
    serve = aws_questions.serve()
    if serve.serverless:
        return "not needed: serve.serverless is true"
    name, needed = f"{serve.instance_type} for endpoint usage", 2 * serve.max_instances
    bound = (aws_questions.parameter("EndpointInstanceTypes") if aws_questions.remote().on_s3 else None) or "*"
    if not any(fnmatchcase(serve.instance_type, pattern) for pattern in bound.split(",")):
        more = f"{bound.replace(',', ' ')} {serve.instance_type}"
        raise UserError(
            f'the policy Deployer allows {bound}, not {serve.instance_type}: `make aws … ENDPOINT_TYPES="{more}"`, or '
            "another serve.instance_type"
        )
    found = next((each for each in _quotas() if each["QuotaName"] == name), None)
    if not found:
        raise UserError(f"serve.instance_type = {serve.instance_type}: AWS has no quota of that name: choose another")
    if found["Value"] < needed:
        raise UserError(
            f"the quota {name} is {found['Value']:g}, and an update takes {needed} at once (twice serve.max_instances)"
            f": `aws service-quotas request-service-quota-increase --service-code sagemaker --quota-code "
            f"{found['QuotaCode']} --desired-value {needed} --region {aws_questions.region()}`"
        )
    return f"{needed} of {found['Value']:g} {serve.instance_type}, as many as an update takes"


def scaling_role(job: str) -> str:
    """AWS's service-linked role for scaling is there, or will be made at the first endpoint on instances."""
    if aws_questions.serve().serverless:
        return "not needed: serve.serverless is true"
    return checks_start.linked_role(_SCALING_ROLE, "endpoint on instances")


def _quotas() -> Iterator[dict]:
    """SageMaker's quotas: the account's own, where it has any, and AWS's."""
    token: dict[str, str] = {}
    while True:
        page = ask("service-quotas", "ListServiceQuotas", ServiceCode="sagemaker", MaxResults=100, **token)
        yield from page["Quotas"]
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}
