"""Checks of an AWS account before the first commands: who, where, when, and what `make aws` makes or has made.

All of them ask only what changes nothing. See plantdoc.doctor.checks for what a check returns and raises.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

from plantdoc.core.errors import UserError
from plantdoc.doctor import aws_questions
from plantdoc.doctor.aws_questions import Unknown, ask

_SKEW = 240  # seconds; AWS refuses signatures that are five minutes off
# Of `make aws`: each kind of thing that the stack makes.
_MAKING = (
    "cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet", "s3:CreateBucket", "iam:CreateRole",
    "iam:CreatePolicy", "iam:CreateInstanceProfile", "ec2:CreateSecurityGroup", "lambda:CreateFunction",
    "events:PutRule", "logs:CreateLogGroup", "budgets:ModifyBudget",
)  # fmt: skip


def identity(job: str) -> str:
    """Check the credentials; says whose they are, never what they are."""
    from plantdoc.aws import clients

    with clients.explained():
        found = aws_questions.session().get_credentials()
    if not found:
        raise UserError("no AWS credentials were found: `aws configure` or `aws sso login`, or set AWS_PROFILE")
    who = ask("sts", "GetCallerIdentity")
    return f"account {who['Account']}, {who['Arn']} ({found.method})"


def clock(job: str) -> str:
    """Compare this machine's clock with AWS's."""
    answer = ask("sts", "GetCallerIdentity")
    off = time.time() - parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    if abs(off) > _SKEW:
        raise UserError(f"this machine's clock is {off:+.0f} s off AWS's: set it (`timedatectl set-ntp true`)")
    return "as AWS's" if abs(off) < 5 else f"{off:+.0f} s off AWS's, which it accepts"


def region(job: str) -> str:
    """The region is one of AWS's and switched on in this account."""
    from botocore.exceptions import ClientError

    from plantdoc.aws import clients

    name = aws_questions.region()
    try:
        (found,) = ask("ec2", "DescribeRegions", RegionNames=[name], AllRegions=True)["Regions"]
    except clients.Denied:
        raise
    except (ClientError, ValueError, UserError):  # where there is no such region, nobody answers
        if name in aws_questions.session().get_available_regions("ec2"):
            raise
        raise UserError(f"AWS has no region {name}: set runner.region or AWS_DEFAULT_REGION to another") from None
    if found.get("OptInStatus") == "not-opted-in":
        raise UserError(
            f"{name} is switched off in this account: `aws account enable-region --region-name {name}`, which takes "
            "minutes to hours, or another region"
        )
    return f"{name} is open to this account"


def stack(job: str) -> str:
    """Check the stack of `make aws`: there, finished, and with the outputs of this code's template."""
    from plantdoc.aws.tags import stack_name

    name = stack_name(aws_questions.bucket())
    found = aws_questions.stack()
    if not found:
        raise UserError(f"there is no stack {name} in {aws_questions.region()}: {aws_questions.make_aws()}")
    status = found["StackStatus"]
    if not status.endswith("_COMPLETE") or status in ("ROLLBACK_COMPLETE", "DELETE_COMPLETE"):
        raise UserError(f"the stack {name} is in {status}: {aws_questions.make_aws()} takes it up")
    wanted = {"MachineProfile", "Runner", "Deployer", "ServingRole"}
    if lacking := wanted - aws_questions.outputs().keys():
        names = ", ".join(sorted(lacking))
        raise UserError(f"the stack {name} is older than this code, it has no {names}: {aws_questions.make_aws()}")
    return f"{name} is {status}"


def bucket(job: str) -> str:
    """The bucket is there, in the region, and these credentials see it; nothing is written."""
    from botocore.exceptions import ClientError

    from plantdoc.aws import clients

    name = aws_questions.bucket()
    try:
        found = ask("s3", "HeadBucket", Bucket=name).get("BucketRegion")
    except clients.Denied:
        raise UserError(
            f"the bucket {name} belongs to another account, or these credentials lack s3:ListBucket on it: attach the "
            "policy Runner of the stack, or choose another name"
        ) from None
    except ClientError as error:
        if clients.code(error) == "404":
            raise UserError(f"there is no bucket {name}: {aws_questions.make_aws()}") from None
        found = error.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
        if not found:
            raise
    if found and found != aws_questions.region():
        raise UserError(f"the bucket {name} is in {found}, not in {aws_questions.region()}: set runner.region to ''")
    return f"{name} is there" + (f", in {found}" if found else "")


def network(job: str) -> str:
    """The region has the default network (VPC) that training machines start in."""
    where = aws_questions.region()
    if not ask("ec2", "DescribeVpcs", Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]:
        raise UserError(
            f"{where} has no default network (VPC), so no training can run there: "
            f"`aws ec2 create-default-vpc --region {where}`, then `make aws` again"
        )
    if aws_questions.remote().on_s3 and (found := aws_questions.stack()):
        if not any(each["OutputKey"] == "MachineGroup" for each in found.get("Outputs", ())):
            raise UserError(f"the stack was made when there was no default network: {aws_questions.make_aws()} again")
        return "a default network, and the stack's security group in it"
    return "a default network"


def making(job: str) -> str:
    """These credentials may make what `make aws` makes, as IAM's simulation of policies says."""
    if aws_questions.remote().on_s3 and aws_questions.stack():
        return "made already; for changes, `make aws … DRY_RUN=1` says what it would do"
    if lacking := denied(dict.fromkeys(_MAKING, "*")):
        raise UserError(
            f"these credentials lack {', '.join(lacking)}: `make aws` is for an administrator of the account "
            "(AdministratorAccess)"
        )
    return "these credentials may make bucket, roles and budget"


def denied(wanted: dict[str, str], **context: str) -> list[str]:
    """Those of the actions, each with a resource, that IAM's simulation denies these credentials.

    Raises:
        Unknown: an account's root user, for which IAM simulates nothing.
        Denied: these credentials may not ask.
    """
    who = ask("sts", "GetCallerIdentity")["Arn"]
    if who.endswith(":root"):
        raise Unknown("these are the account's root user's credentials, which may do everything: make a user of IAM")
    if ":assumed-role/" in who:  # a role's path is not in the session's name
        who = ask("iam", "GetRole", RoleName=who.split("/")[1])["Role"]["Arn"]
    entries = [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for key, value in context.items()
    ]
    found = []
    for arn in dict.fromkeys(wanted.values()):
        actions = [action for action, place in wanted.items() if place == arn]
        about: dict = {} if arn == "*" else {"ResourceArns": [arn]}
        answer = ask(
            "iam", "SimulatePrincipalPolicy", PolicySourceArn=who, ActionNames=actions, ContextEntries=entries, **about
        )
        results = answer["EvaluationResults"]
        found += [each["EvalActionName"] for each in results if each["EvalDecision"] != "allowed"]
    return found
