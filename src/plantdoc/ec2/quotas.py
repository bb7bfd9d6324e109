"""AWS's quotas on vCPUs in plain words, and how to raise them."""

from __future__ import annotations

import re

# Family of instances → Service Quotas' codes, in vCPUs, for instances on demand and on the spot market.
QUOTAS = {
    "g": ("L-DB2E81BA", "L-3819A6DF"),
    "vt": ("L-DB2E81BA", "L-3819A6DF"),
    "p": ("L-417A185B", "L-7212CCBC"),
}
STANDARD = ("L-1216C47A", "L-34B43A08")  # families A, C, D, H, I, M, R, T, Z
REFUSALS = ("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded")
_NAMES = {
    "L-DB2E81BA": "Running On-Demand G and VT instances",
    "L-3819A6DF": "All G and VT Spot Instance Requests",
    "L-417A185B": "Running On-Demand P instances",
    "L-7212CCBC": "All P4, P3 and P2 Spot Instance Requests",
    "L-1216C47A": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    "L-34B43A08": "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
}


def codes(instance_type: str) -> tuple[str, str]:
    """Service Quotas' codes for machines of this type, on demand and on the spot market."""
    family = re.split("[^a-z]", instance_type, maxsplit=1)[0]
    return QUOTAS.get(family, STANDARD)


def code(instance_type: str, spot: bool) -> str:
    """Service Quotas' code for this kind of machine."""
    return codes(instance_type)[spot]


def remedy(aws, quota: str, instance_type: str) -> str:
    """The quota's name and value, and how to ask for more."""
    from botocore.exceptions import BotoCoreError, ClientError

    allowed, wanted = "", 4
    try:
        found = aws.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=quota)
        allowed = f" allows {found['Quota']['Value']:g} vCPUs at once"
        about = aws.ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"][0]
        needs = about["VCpuInfo"]["DefaultVCpus"]
        allowed += f", {instance_type} takes {needs}"
        wanted = int(found["Quota"]["Value"]) + needs
    except (ClientError, BotoCoreError, KeyError, IndexError):
        pass  # the person may not look; the name of the quota is what matters
    return (
        f"the account's quota {_NAMES.get(quota, 'of this kind')} ({quota}) in {aws.region}{allowed}: ask for more "
        f"in AWS's console under Service Quotas, Amazon EC2, or with `aws service-quotas "
        f"request-service-quota-increase --service-code ec2 --quota-code {quota} --desired-value {wanted} "
        f"--region {aws.region}`"
    )
