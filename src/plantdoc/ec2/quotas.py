"""AWS's quotas on vCPUs in plain words, and how to raise them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Quota:
    """A quota of Amazon EC2 in Service Quotas."""

    code: str
    name: str


def _pair(on_demand: str, spot: str, family: str, spot_family: str = "") -> tuple[Quota, Quota]:
    return (
        Quota(on_demand, f"Running On-Demand {family} instances"),
        Quota(spot, f"All {spot_family or family} Spot Instance Requests"),
    )


# By family, for instances on demand and on the spot market, in vCPUs. Source: "Amazon EC2 instance type quotas",
# docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html.
_G = _pair("L-DB2E81BA", "L-3819A6DF", "G and VT")
_STANDARD = _pair("L-1216C47A", "L-34B43A08", "Standard (A, C, D, H, I, M, R, T, Z)")
_P_ON_DEMAND = Quota("L-417A185B", "Running On-Demand P instances")
_P_SPOT = {
    **dict.fromkeys("234", Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests")),
    "5": Quota("L-C4BD4855", "All P5 Spot Instance Requests"),
}
_FAMILIES: dict[str, tuple[Quota, Quota | None]] = {
    **dict.fromkeys(("g", "gr", "vt"), _G),
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), _STANDARD),
    "dl": _pair("L-6E869C2A", "L-85EED4F7", "DL"),
    "f": _pair("L-74FC7D96", "L-88CF9481", "F"),
    "inf": _pair("L-1945791B", "L-B5D1601B", "Inf"),
    "trn": _pair("L-2C3B7624", "L-6B0D517C", "Trn"),
    "x": _pair("L-7295265B", "L-E3A00192", "X"),
    "u": (Quota("L-43DA4232", "Running On-Demand High Memory instances"), None),
    "hpc": (Quota("L-F7808C92", "Running On-Demand HPC instances"), None),
}
# InstanceLimitExceeded counts instances of a type, those too that ended minutes ago
# (docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html).
REFUSALS = ("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded")


def find(instance_type: str, spot: bool) -> Quota | None:
    """The quota for machines of this type; None where the family is none of those that AWS's page lists."""
    family, generation = _family(instance_type)
    if family == "p":
        return _P_SPOT.get(generation) if spot else _P_ON_DEMAND
    return _FAMILIES.get(family, (None, None))[spot]


def codes(instance_type: str) -> tuple[str | None, str | None]:
    """Service Quotas' codes for machines of this type, on demand and on the spot market."""
    on_demand, spot = find(instance_type, False), find(instance_type, True)
    return on_demand and on_demand.code, spot and spot.code


def shared_by(instance_type: str, spot: bool) -> str:
    """What the machines that count against the same quota have in common: its code, or where that is unknown the
    family and the market."""
    found = find(instance_type, spot)
    return found.code if found else f"{instance_type.partition('.')[0]} {'spot' if spot else 'on demand'}"


def every_code() -> set[str]:
    """All codes that are known."""
    pairs = [*_FAMILIES.values(), (_P_ON_DEMAND, None), *((None, quota) for quota in _P_SPOT.values())]
    return {quota.code for pair in pairs for quota in pair if quota}


def remedy(aws, instance_type: str, spot: bool, reason: str) -> str:
    """The name and value of the quota for which EC2 refused with `reason`, and how to ask for more."""
    from botocore.exceptions import BotoCoreError, ClientError

    quota = find(instance_type, spot)
    again = "; machines that ended minutes ago still count, so try again first" if reason == REFUSALS[2] else ""
    if quota is None:
        return (
            f"a quota of the account for {instance_type} {'on the spot market' if spot else 'on demand'} in "
            f"{aws.region} is used up ({reason}){again}: look for its name under Service Quotas, Amazon EC2, and ask "
            "for more there"
        )
    allowed, wanted = "", 4
    try:
        found = aws.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=quota.code)
        allowed = f" allows {found['Quota']['Value']:g} vCPUs at once"
        about = aws.ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"][0]
        needs = about["VCpuInfo"]["DefaultVCpus"]
        allowed += f", {instance_type} takes {needs}"
        wanted = int(found["Quota"]["Value"]) + needs
    except (ClientError, BotoCoreError, KeyError, IndexError):
        pass  # the person may not look; the name of the quota is what matters
    return (
        f"the account's quota {quota.name} ({quota.code}) in {aws.region}{allowed}{again}: ask for more "
        f"in AWS's console under Service Quotas, Amazon EC2, or with `aws service-quotas "
        f"request-service-quota-increase --service-code ec2 --quota-code {quota.code} --desired-value {wanted} "
        f"--region {aws.region}`"
    )


def _family(instance_type: str) -> tuple[str, str]:
    """Letters of the family and the digits of its generation, like "gr" and "6"."""
    found = re.match(r"([a-z]+)-?(\d*)", instance_type)
    return (found[1], found[2]) if found else ("", "")
