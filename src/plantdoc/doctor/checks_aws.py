"""Checks of what is not on this machine: DVC's remote, credentials, EC2, SageMaker. See plantdoc.doctor.checks."""

from __future__ import annotations

import functools
import os

from plantdoc.core.errors import UserError


def storage(job: str) -> str:
    """DVC's remote answers and can be written; what runs elsewhere needs one that is not a folder here."""
    from plantdoc.remote import dvc_remote

    there = _default()
    if job in ("ec2", "deploy") and not there.on_s3:
        raise UserError(f"{there.url} is a folder of this machine: `make aws BUCKET=name REGION=region EMAIL=address`")
    with dvc_remote.opened(there) as opened:
        if there.on_s3:
            opened.reach()
        opened.try_to_write()
    return f"{there.url} can be read and written"


def credentials(job: str) -> str:
    """Check the AWS credentials; says whose they are, never what they are."""
    from plantdoc.aws import clients
    from plantdoc.remote import dvc_remote

    there = _default()
    if job == "push" and not there.on_s3:
        return "none needed: the remote is a folder"
    with clients.explained():
        session = dvc_remote.session(there if there.on_s3 else None)
        found = session.get_credentials()
        if not found:
            raise UserError("no AWS credentials were found: `aws configure` or `aws sso login`, or set AWS_PROFILE")
        sts = clients.make("sts", session=session, timeouts=clients.PROBE)
        if job == "push" and _is_aws(sts) and not _is_aws(server := dvc_remote.Bucket(there).client):
            return f"found ({found.method}); only AWS could say whose, and {server.meta.endpoint_url} is not AWS"
        who = sts.get_caller_identity()
    return f"account {who['Account']}, {who['Arn']} ({found.method})"


def instance_types(job: str) -> str:
    """Check the resources that `make aws` has made for instances, and their image."""
    from plantdoc.aws import clients
    from plantdoc.core import params
    from plantdoc.ec2 import launch_config
    from plantdoc.remote import aws_context
    from plantdoc.settings import runner_params

    runner = params.load(runner_params.Params).runner
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "2")  # it is only to be known whether there is an answer
    with clients.explained():
        there = aws_context.find(runner.region)
        found = launch_config.find(there, runner)
    return f"{found.image} with {found.profile} and {found.group} in {', '.join(found.subnets)}"


def quota(job: str) -> str:
    """The account may start one of the wanted instance types on one of the wanted markets."""
    from plantdoc.aws import clients
    from plantdoc.core import params
    from plantdoc.ec2 import instance_types
    from plantdoc.ec2.quotas import codes as quota_codes
    from plantdoc.remote import dvc_remote
    from plantdoc.settings import runner_params

    runner, there = params.load(runner_params.Params).runner, _default()
    instance_types.have_gpu(runner.instance_types)
    with clients.explained():
        session = dvc_remote.session(there if there.on_s3 else None)
        region = runner.region or session.region_name
        ec2 = clients.make("ec2", region, session=session, timeouts=clients.PROBE)
        quotas = clients.make("service-quotas", region, session=session, timeouts=clients.PROBE)
        about = ec2.describe_instance_types(InstanceTypes=runner.instance_types)["InstanceTypes"]
        needs = {each["InstanceType"]: each["VCpuInfo"]["DefaultVCpus"] for each in about}
        limits = {code: _limit(quotas, code) for code in sorted({c for k in needs for c in quota_codes(k) if c})}
    found, possible = [], False
    for name in runner.instance_types:
        on_demand, spot = quota_codes(name)
        markets = {"spot": spot} if runner.spot else {}
        if not runner.spot or runner.on_demand_fallback:
            markets["on demand"] = on_demand
        # No code is known for the quota of some families: AWS will say.
        possible |= any(code is None or limits[code] >= needs[name] for code in markets.values())
        allowed = ", ".join(f"{limits[code]:g} {m}" if code else f"? {m}" for m, code in markets.items())
        found.append(f"{name} takes {needs[name]} vCPUs of {allowed}")
    text = f"{region}: {'; '.join(found)}"
    if not possible:
        codes = " or ".join(filter(None, markets.values()))
        raise UserError(f"{text}: ask for more under Service Quotas, Amazon EC2, {codes}")
    return text


def sagemaker(job: str) -> str:
    """SageMaker answers, these credentials may ask it, and what `make aws` has made for it is there."""
    from plantdoc.aws import clients
    from plantdoc.core import params
    from plantdoc.remote import dvc_remote
    from plantdoc.sagemaker import context, endpoint_lifecycle
    from plantdoc.settings import serve_params

    name = params.load(serve_params.Params).serve.endpoint
    with clients.explained():
        if not _default().on_s3:
            client = clients.make("sagemaker", session=dvc_remote.session(), timeouts=clients.PROBE)
            client.list_endpoints(MaxResults=1)
            return f"answers in {client.meta.region_name}"
        os.environ.setdefault("AWS_MAX_ATTEMPTS", "2")  # it is only to be known whether there is an answer
        there = context.find()
        state = endpoint_lifecycle.look(there, name)
        role = there.role.rpartition("/")[2]
    now = f"{name} is {state.status}" if state else f"no endpoint {name} yet"
    return f"{now} in {there.region}, to be served by {role}"


@functools.cache
def _default():
    from plantdoc.remote import remote_config

    return remote_config.default()


def _is_aws(client) -> bool:
    return ".amazonaws." in client.meta.endpoint_url


def _limit(quotas, code: str) -> float:
    """vCPUs that may run at once; where the account has no value of its own, AWS's default."""
    from botocore.exceptions import ClientError

    from plantdoc.aws import clients

    try:
        return quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
    except ClientError as error:
        if clients.code(error) != "NoSuchResourceException":
            raise
    return quotas.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
