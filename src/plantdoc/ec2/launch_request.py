"""One request for an instance: what EC2 is asked for, and asking again while it is too busy to answer."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

from plantdoc.aws import ec2_prices
from plantdoc.aws.tags import PREFIX, TAG
from plantdoc.core import hashing
from plantdoc.ec2 import instance_types, instances, user_data
from plantdoc.ec2.attempts import Attempt, beat
from plantdoc.ec2.launch_config import LaunchConfig
from plantdoc.remote.aws_context import AwsContext
from plantdoc.settings.runner_params import Runner

_BUSY = ("RequestLimitExceeded", "Unavailable", "ServiceUnavailable", "InternalError", "InternalFailure")
_TRIES = 5  # of one request that AWS was too busy for


@dataclass(frozen=True)
class Order:
    """What the machine is to do and what it may cost: `spent` is the most that earlier attempts may have cost."""

    attempt: Attempt
    code: str  # SHA-256 of the archive
    weights: str  # SHA-256 of a file of model.weights, or ''
    spent: float


@dataclass(frozen=True)
class Offer:
    """One way to get a machine, its price, and when it will have to end."""

    type: str
    zone: str
    spot: bool
    price: ec2_prices.Price
    most: float  # dollars an hour, on demand: spot costs up to that
    hours: float

    def __str__(self) -> str:
        market = "spot" if self.spot else "on demand"
        return (
            f"{self.type} in {self.zone}, {market}: ${self.price.dollars:.4f} an hour ({self.price.source}); "
            f"at most {self.hours:.1f} h and ${self.hours * self.most:.2f}"
        )


def send(aws: AwsContext, runner: Runner, base: LaunchConfig, order: Order, offer: Offer) -> instances.Instance:
    """Start the machine of `offer`.

    Raises:
        ClientError, HTTPClientError: EC2 refuses, or gives no answer.
    """
    wanted = _parameters(aws, runner, base, order, offer)
    # AWS says "no capacity" with a status on which boto3 would try again: once, then we see for ourselves.
    answer = _run_instances(aws.client("ec2", tries=1), wanted)
    machine = instances.of(answer["Instances"][0] | {"Tags": wanted["TagSpecifications"][0]["Tags"]})
    return replace(machine, type=offer.type, zone=offer.zone, spot=offer.spot)


def _parameters(aws: AwsContext, runner: Runner, base: LaunchConfig, order: Order, offer: Offer) -> dict[str, Any]:
    """Parameters of EC2's RunInstances for a machine that ends itself after the hours of the offer."""
    now, attempt = time.time(), order.attempt
    deadline = int(now + offer.hours * 3600)
    text = user_data.render(
        bucket=aws.bucket,
        region=aws.store.client.meta.region_name,
        run_id=attempt.run,
        attempt=attempt.n,
        code=order.code,
        minutes=max(1, math.ceil((deadline - now) / 60)),
        stall_minutes=runner.stall_minutes,
        dvc_prefix=aws.prefix,
        weights=order.weights,
        gpu=instance_types.have_gpu(runner.instance_types),
    )
    tags = runner.tags | {
        **TAG,
        "run": attempt.run,
        "attempt": str(attempt.n),
        "deadline": str(deadline),
        "Name": PREFIX + attempt.run,
    }
    tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    volume = {"VolumeSize": runner.disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    # The claim's token too: a bucket emptied and a run started anew on the same day is another machine.
    token = hashing.of_value([attempt.run, attempt.n, attempt.claim.token, offer.type, offer.zone, offer.spot])
    return {
        "ImageId": base.image,
        "InstanceType": offer.type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": token,
        "UserData": text,
        "SubnetId": base.subnets[offer.zone],
        "SecurityGroupIds": [base.group],
        "IamInstanceProfile": {"Name": base.profile},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [{"DeviceName": base.disk, "Ebs": volume}],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tagged} for kind in ("instance", "volume")],
        **({"InstanceMarketOptions": market} if offer.spot else {}),
    }


def _run_instances(ec2, wanted: dict[str, Any]) -> dict[str, Any]:
    """EC2's answer; asked again while it is busy, or where its answer was lost on the way.

    With the same ClientToken EC2 starts no second machine, but gives the first one again.
    """
    from botocore.exceptions import ClientError, HTTPClientError

    tried = 0
    while True:
        try:
            return ec2.run_instances(**wanted)
        except (ClientError, HTTPClientError) as error:
            tried += 1
            refused = isinstance(error, ClientError) and error.response["Error"]["Code"] not in _BUSY
            if refused or tried == _TRIES:
                raise
        time.sleep(min(2**tried, 10) * beat() / 5)
