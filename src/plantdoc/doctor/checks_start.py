"""Checks of an AWS account for trainings on EC2: image, types, rights by a dry run, AWS's own roles and keys.

All of them ask only what changes nothing. See plantdoc.doctor.checks for what a check returns and raises.
"""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

from plantdoc.core.errors import UserError
from plantdoc.doctor import aws_questions
from plantdoc.doctor.aws_questions import Unknown, ask

_OWN_KEY = "alias/aws/ebs"
_SPOT_ROLE = "AWSServiceRoleForEC2Spot"


def image(job: str) -> str:
    """The image of params.yaml is there, by AWS's public parameter where it is one."""
    id, name = _image()
    return f"{id} ({name})"


def types(job: str) -> str:
    """The region has the instance types of params.yaml, and the stack's policies allow them."""
    from botocore.exceptions import ClientError

    wanted = aws_questions.runner().instance_types
    try:
        ask("ec2", "DescribeInstanceTypes", InstanceTypes=wanted)
    except ClientError as error:
        text = error.response["Error"].get("Message", "")
        raise UserError(f"runner.instance_types: {aws_questions.region()}: {text}: choose others") from None
    patterns = aws_questions.parameter("InstanceTypes")
    if patterns is None:
        raise UserError(
            f"the stack is older than this code, and its policies bound no type: {aws_questions.make_aws()}"
        )
    bound = patterns.split(",")
    if beyond := [name for name in wanted if not any(fnmatchcase(name, pattern) for pattern in bound)]:
        raise UserError(
            f'the policy Runner allows {patterns}, not {", ".join(beyond)}: `make aws … INSTANCE_TYPES="'
            f'{" ".join([*bound, *beyond])}"`, or other runner.instance_types'
        )
    return f"{', '.join(wanted)} are there, and the policy Runner allows them"


def start(job: str) -> str:
    """These credentials may start a machine: EC2 is asked for one as a dry run, which starts none."""
    from botocore.exceptions import ClientError

    from plantdoc.aws import clients

    given = aws_questions.outputs()
    if not {"MachineProfile", "MachineGroup"} <= given.keys():
        raise Unknown("only after `make aws` in a region that has a default network")
    runner, (id, _) = aws_questions.runner(), _image()
    group = ask("ec2", "DescribeSecurityGroups", GroupIds=[given["MachineGroup"]])["SecurityGroups"][0]
    subnets = ask("ec2", "DescribeSubnets", Filters=[{"Name": "vpc-id", "Values": [group["VpcId"]]}])["Subnets"]
    if not subnets:
        raise UserError(f"the network {group['VpcId']} has no subnet: make one, or run `make aws` again")
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    try:
        ask(
            "ec2",
            "RunInstances",
            DryRun=True,
            ImageId=id,
            InstanceType=runner.instance_types[0],
            MinCount=1,
            MaxCount=1,
            SubnetId=subnets[0]["SubnetId"],
            SecurityGroupIds=[given["MachineGroup"]],
            IamInstanceProfile={"Name": given["MachineProfile"]},
            MetadataOptions={"HttpTokens": "required", "HttpEndpoint": "enabled"},
            BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": runner.disk_gb, "Encrypted": True}}],
            TagSpecifications=[{"ResourceType": kind, "Tags": _tags()} for kind in ("instance", "volume")],
            **({"InstanceMarketOptions": market} if runner.spot else {}),
        )
    except clients.Denied:
        raise UserError(
            "these credentials may start no machine: attach the policy Runner, which `make aws` prints"
        ) from None
    except ClientError as error:
        return _after_dry_run(error)
    raise UserError("EC2 answered a dry run as if it had started a machine: look with `python scripts/ec2.py ls`")


def spot_role(job: str) -> str:
    """AWS's service-linked role for spot machines is there, or will be made at the first one."""
    if not aws_questions.runner().spot:
        return "not needed: runner.spot is false"
    return linked_role(_SPOT_ROLE, "spot machine")


def linked_role(name: str, first: str) -> str:
    """Whether a service-linked role is there; AWS makes it at the first use."""
    from botocore.exceptions import ClientError

    from plantdoc.aws import clients

    try:
        ask("iam", "GetRole", RoleName=name)
    except ClientError as error:
        if clients.code(error) not in ("NoSuchEntity", "NoSuchEntityException"):
            raise
        return f"{name} is not there yet: AWS makes it at the first {first}, which the stack's policies allow"
    return f"{name} is there"


def disk_key(job: str) -> str:
    """Disks are encrypted by AWS's own key: another default key wants rights that the stack does not give."""
    key = ask("ec2", "GetEbsDefaultKmsKeyId")["KmsKeyId"]
    if not key.endswith(_OWN_KEY):
        raise UserError(
            f"this account encrypts disks by its own key {key}: let its key policy allow {_SPOT_ROLE} and who trains "
            "kms:CreateGrant, kms:Decrypt and kms:GenerateDataKeyWithoutPlaintext, or machines end at their start; or "
            "`aws ec2 reset-ebs-default-kms-key-id`"
        )
    return "AWS's own (aws/ebs)"


def capacity(job: str) -> str:
    """Say what only the first start shows."""
    raise Unknown(
        "whether machines of these types are free just then, and whether AWS verifies a new account or region first "
        "(PendingVerification, up to four hours): `make ec2-smoke` shows both, for some cents"
    )


def _after_dry_run(error) -> str:
    from plantdoc.aws import clients

    code, text = clients.code(error), error.response["Error"].get("Message", "")
    if code == "DryRunOperation":
        return "EC2 would start a machine (dry run)"
    if code == "PendingVerification":
        raise UserError(f"AWS verifies this account first, which takes up to four hours: try again then ({text})")
    if code == "OptInRequired":
        raise UserError(f"this account is not signed up for EC2: finish its registration in AWS's console ({text})")
    raise UserError(f"EC2 refuses a dry run of a start: {code}: {text}")


def _image() -> tuple[str, str]:
    """Id and name of the image."""
    from botocore.exceptions import ClientError

    wanted = aws_questions.runner().image
    parameter = wanted
    if not wanted.startswith(("/", "ami-")):
        parameter = f"/aws/service/deeplearning/ami/x86_64/{wanted}/latest/ami-id"
    try:
        id = ask("ssm", "GetParameter", Name=parameter)["Parameter"]["Value"] if parameter[0] == "/" else parameter
        found = ask("ec2", "DescribeImages", ImageIds=[id])["Images"]
    except ClientError:
        found = []
    if not found:
        raise UserError(
            f"runner.image = {wanted}: {aws_questions.region()} has no such image; give the name of an AWS Deep "
            "Learning AMI, an SSM parameter that names an AMI there, or ami-…"
        )
    return found[0]["ImageId"], found[0].get("Name", wanted)


def _tags() -> list[dict[str, str]]:
    from plantdoc.aws.tags import TAG

    tags = TAG | {"deadline": str(int(time.time()) + 60)}
    return [{"Key": key, "Value": value} for key, value in tags.items()]
