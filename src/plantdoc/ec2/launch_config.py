"""Launch configuration of an instance: image, network and role, looked up before anything is claimed."""

from __future__ import annotations

from dataclasses import dataclass

from plantdoc.aws.tags import stack_name
from plantdoc.core.errors import UserError
from plantdoc.ec2 import instance_types
from plantdoc.remote.aws_context import AwsContext
from plantdoc.settings.runner_params import Runner

_NO_IMAGE = ("ParameterNotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Malformed")
# AWS's own parameters that name the newest of its Deep Learning AMIs.
_AMI = "/aws/service/deeplearning/ami/x86_64/{}/latest/ami-id"
_OPEN_MODULES = "oss-nvidia-driver"  # in the names of AWS's images
_DEFAULT_DISK = "/dev/sda1"


@dataclass(frozen=True)
class LaunchConfig:
    """An image's id and root disk, the stack's instance profile and security group, and a subnet for each zone."""

    image: str
    disk: str
    profile: str
    group: str
    subnets: dict[str, str]


def find(aws: AwsContext, runner: Runner) -> LaunchConfig:
    """Look everything up.

    Raises:
        UserError: the stack, the image, a type or a zone is not there, or the disk is too small for the image.
    """
    _check_types(aws, runner)
    profile, group = _stack(aws)
    image, disk = _image(aws, runner)
    return LaunchConfig(image, disk, profile, group, _subnets(aws, group, runner.zones))


def _check_types(aws: AwsContext, runner: Runner) -> None:
    from botocore.exceptions import ClientError

    for name in runner.instance_types:
        if instance_types.is_before_turing(name) and _OPEN_MODULES in runner.image:
            raise UserError(
                f"runner.instance_types: the driver of the image {runner.image} (NVIDIA's open kernel modules) does "
                f"not drive the GPU of {name}: choose a type with a newer one (g4dn, g5, g6, p4d, …), or set "
                "runner.image to an image of your own with NVIDIA's proprietary driver"
            )
        try:
            about = aws.ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("InvalidInstanceType", "InvalidParameterValue"):
                raise
            raise UserError(f"runner.instance_types: {aws.region} knows no {name}") from None
        makers = {gpu.get("Manufacturer") for gpu in about.get("GpuInfo", {}).get("Gpus", ())}
        if ("NVIDIA" in makers) != instance_types.has_gpu(name):
            raise UserError(
                f"runner.instance_types: {name} {'has an' if 'NVIDIA' in makers else 'has no'} NVIDIA GPU, other than "
                "its name says (plantdoc/ec2/instance_types.py): choose another type"
            )


def _stack(aws: AwsContext) -> tuple[str, str]:
    """Instance profile and security group that `make aws` has made."""
    from plantdoc.aws import cloudformation

    name = stack_name(aws.bucket)
    remedy = f"run `make aws BUCKET={aws.bucket} REGION={aws.region} EMAIL=address`"
    stack = cloudformation.find(aws.client("cloudformation"), name)
    if not stack:
        raise UserError(
            f"there is no stack {name} in {aws.region}, and with it no role and no network rules for a machine: "
            f"{remedy}, or set runner.region to the bucket's region"
        )
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}
    try:
        return outputs["MachineProfile"], outputs["MachineGroup"]
    except KeyError as error:
        raise UserError(f"the stack {name} is older than this code, it has no {error.args[0]}: {remedy}") from None


def _image(aws: AwsContext, runner: Runner) -> tuple[str, str]:
    from botocore.exceptions import ClientError

    image = runner.image
    if not image.startswith(("/", "ami-")):
        image = _AMI.format(image)
    try:
        if image.startswith("/"):
            image = aws.client("ssm").get_parameter(Name=image)["Parameter"]["Value"]
        found = aws.ec2.describe_images(ImageIds=[image])["Images"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in _NO_IMAGE:
            raise
        found = []
    if not found:
        raise UserError(
            f"runner.image = {runner.image}: {aws.region} has no such image; give the name of an AWS Deep Learning "
            f"AMI, an SSM parameter that names an AMI there, or ami-…{_how_to_find_one(aws.region)}"
        )
    disks = {each["DeviceName"]: each.get("Ebs", {}) for each in found[0].get("BlockDeviceMappings", ())}
    root = found[0].get("RootDeviceName") or _DEFAULT_DISK
    if runner.disk_gb < (least := disks.get(root, {}).get("VolumeSize", 0)):
        raise UserError(f"runner.disk_gb = {runner.disk_gb}: the image {image} needs {least} or more")
    return image, root


def _how_to_find_one(region: str) -> str:
    from plantdoc.aws import clients

    if (partition := clients.partition(region)) == "aws":
        return ""
    return (
        f". AWS does not publish the parameters of its Deep Learning AMIs everywhere, and {region} is in the partition "
        f"{partition}: `aws ec2 describe-images --region {region} --owners amazon --filters 'Name=name,Values=Deep "
        "Learning Base OSS Nvidia Driver GPU AMI (Ubuntu*' --query 'Images[].[CreationDate,ImageId,Name]'` lists what "
        "is there"
    )


def _subnets(aws: AwsContext, group: str, zones: list[str]) -> dict[str, str]:
    """The group's network by zone, in the order asked for: AWS's own subnets first, then those with most room."""
    network = aws.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["VpcId"]
    filters = [{"Name": "vpc-id", "Values": [network]}, {"Name": "state", "Values": ["available"]}]
    pages = aws.ec2.get_paginator("describe_subnets").paginate(Filters=filters)
    found = [subnet for page in pages for subnet in page["Subnets"]]
    found.sort(key=lambda each: (each.get("DefaultForAz", False), each.get("AvailableIpAddressCount", 0)))
    by_zone = {each["AvailabilityZone"]: each["SubnetId"] for each in found}
    if not by_zone:
        raise UserError(f"the network {network} in {aws.region} has no subnet: make one, or run `make aws` again")
    if unknown := [zone for zone in zones if zone not in by_zone]:
        raise UserError(
            f"runner.zones: {', '.join(unknown)}: the network in {aws.region} has {', '.join(sorted(by_zone))}"
        )
    return {zone: by_zone[zone] for zone in zones or sorted(by_zone)}
