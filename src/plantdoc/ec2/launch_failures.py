"""Failures of launches that would come back on every machine: the account, a quota or a key stands in the way."""

from __future__ import annotations

from plantdoc.ec2.instances import Instance

_KEY = (
    "its disk is encrypted, and the key for that cannot be used. Where the account's default key for EBS is a customer "
    "managed one, its policy has to allow kms:CreateGrant, kms:Decrypt, kms:DescribeKey, kms:ReEncrypt* and "
    "kms:GenerateDataKeyWithoutPlaintext to whoever starts trainings, and spot machines need a grant for "
    "AWSServiceRoleForEC2Spot; or set the default back to aws/ebs (EC2, Settings, Data protection and security)"
)
# Codes of an instance's StateReason (docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html), by their
# beginnings. Those of `Server.` pass; Client.UserInitiatedShutdown and InstanceInitiatedShutdown are no failures.
_STATE_REASONS = {
    "Client.InternalError": _KEY,
    "Client.InvalidKMSKey": _KEY,
    "Client.VolumeLimitExceeded": (
        "the account's quota on EBS storage is used up: delete volumes or ask for more (Service Quotas, Amazon EBS, "
        "Storage for General Purpose SSD (gp3) volumes), or lower runner.disk_gb"
    ),
    "Client.InvalidSnapshot": "the image's snapshot is gone: choose another runner.image",
}
# Codes with which RunInstances refuses every request of the account, in this region or for spot
# (docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html).
_REFUSALS = {
    "PendingVerification": (
        "AWS is still checking this account or its first use of the region, mostly for minutes and for up to four "
        "hours, and sends a mail when it is done: run the same command again then; after that time write to AWS Support"
    ),
    "Blocked": "AWS has blocked this account: write to AWS Support",
    "OptInRequired": (
        "the account is not signed up for EC2 in this region: enable the region in AWS's console (Account, AWS "
        "Regions), or set another runner.region"
    ),
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        "spot machines need a role that these credentials may not make: have an administrator run `aws iam "
        "create-service-linked-role --aws-service-name spot.amazonaws.com` once, or set runner.spot=false"
    ),
}


def remedy(machine: Instance) -> str | None:
    """What to do about a machine that EC2 ended while it started; None where the next one may start."""
    found = (text for code, text in _STATE_REASONS.items() if machine.reason.startswith(code))
    return None if machine.alive else next(found, None)


def refusal(code: str) -> str | None:
    """What to do where RunInstances refuses with this code; None where another offer may be taken or it is unknown."""
    return _REFUSALS.get(code)
