"""Checks of what is not on this machine: DVC's remote, credentials, quota, SageMaker. See plantdoc.doctor.checks."""

from __future__ import annotations

import functools
import re

from plantdoc.errors import UserError

# What `make doctor FOR=ec2` asks about where params.yaml has no runner.instance_types.
INSTANCE_TYPES = ("g4dn.xlarge", "g5.xlarge")
# Family of instances → Service Quotas' codes, in vCPUs, for instances on demand and on the spot market.
QUOTAS = {
    "g": ("L-DB2E81BA", "L-3819A6DF"),
    "vt": ("L-DB2E81BA", "L-3819A6DF"),
    "p": ("L-417A185B", "L-7212CCBC"),
}
STANDARD = ("L-1216C47A", "L-34B43A08")  # families A, C, D, H, I, M, R, T, Z


def storage(job: str) -> str:
    """DVC's remote answers and can be written; what runs elsewhere needs one that is not a folder here."""
    from plantdoc.storage import remote

    there = _default()
    if job in ("ec2", "deploy") and not there.on_s3:
        raise UserError(f"{there.url} is a folder of this machine: `make aws BUCKET=name REGION=region EMAIL=address`")
    with remote.opened(there) as opened:
        if there.on_s3:
            opened.reach()
        opened.try_to_write()
    return f"{there.url} can be read and written"


def credentials(job: str) -> str:
    """Whose credentials these are; never what they are."""
    from plantdoc.cloud import aws
    from plantdoc.storage import remote

    there = _default()
    if not there.on_s3:
        there = None
        if job == "push":
            return "none needed: the remote is a folder"
    with aws.explained():
        session = remote.session(there)
        found = session.get_credentials()
        if not found:
            raise UserError("no AWS credentials were found: `aws configure` or `aws sso login`, or set AWS_PROFILE")
        sts = session.client("sts", config=remote.patience())
        if job == "push" and _is_aws(sts) and not _is_aws(server := remote.Bucket(there).client):
            return f"found ({found.method}); only AWS could say whose, and {server.meta.endpoint_url} is not AWS"
        who = sts.get_caller_identity()
    return f"account {who['Account']}, {who['Arn']} ({found.method})"


def quota(job: str) -> str:
    """The account may start one of the wanted instance types, on demand or on the spot market."""
    from plantdoc import params
    from plantdoc.cloud import aws
    from plantdoc.storage import remote

    wanted = (params.read().get("runner") or {}).get("instance_types") or INSTANCE_TYPES
    with aws.explained():
        session = remote.session()
        ec2 = session.client("ec2", config=remote.patience())
        quotas = session.client("service-quotas", config=remote.patience())
        about = ec2.describe_instance_types(InstanceTypes=list(wanted))["InstanceTypes"]
        needs = {each["InstanceType"]: each["VCpuInfo"]["DefaultVCpus"] for each in about}
        limits = {code: _limit(quotas, code) for code in sorted({code for name in wanted for code in _codes(name)})}
    found, possible = [], False
    for name in wanted:
        on_demand, spot = (limits[code] for code in _codes(name))
        possible |= max(on_demand, spot) >= needs[name]
        found.append(f"{name} takes {needs[name]} vCPUs of {on_demand:g} on demand, {spot:g} spot")
    text = f"{session.region_name}: {'; '.join(found)}"
    if not possible:
        raise UserError(f"{text}: ask for more under Service Quotas, Amazon EC2, {' or '.join(_codes(wanted[0]))}")
    return text


def sagemaker(job: str) -> str:
    """SageMaker answers, and these credentials may ask it."""
    from plantdoc.cloud import aws
    from plantdoc.storage import remote

    with aws.explained():
        client = remote.session().client("sagemaker", config=remote.patience())
        client.list_endpoints(MaxResults=1)
    return f"answers in {client.meta.region_name}"


@functools.cache
def _default():
    from plantdoc.storage import remote

    return remote.default()


def _is_aws(client) -> bool:
    return ".amazonaws.com" in client.meta.endpoint_url


def _codes(instance_type: str) -> tuple[str, str]:
    family = re.match("[a-z]*", instance_type)[0]
    return QUOTAS.get(family, STANDARD)


def _limit(quotas, code: str) -> float:
    """vCPUs that may run at once; where the account has no value of its own, AWS's default."""
    from botocore.exceptions import ClientError

    from plantdoc.cloud import aws

    try:
        return quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
    except ClientError as error:
        if aws.code(error) != "NoSuchResourceException":
            raise
    return quotas.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
