"""Start one machine for an attempt: over markets, types and zones until there is one, with a line for each try."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from plantdoc.aws import ec2_prices
from plantdoc.aws.tags import TAG
from plantdoc.core import hashing
from plantdoc.core.errors import UserError
from plantdoc.ec2 import attempts, instance_types, instances, launch_config, quotas, user_data
from plantdoc.remote.aws_context import AwsContext
from plantdoc.settings.runner_params import Runner

log = logging.getLogger("plantdoc")
_LEAST = 5 / 60  # hours; a machine that may live for less than this is not worth its start
_NO_ROOM = ("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientFreeAddressesInSubnet")
_ELSEWHERE = (*_NO_ROOM, "SpotMaxPriceTooLow", "Unsupported", *quotas.REFUSALS)
_BUSY = ("RequestLimitExceeded", "Unavailable", "ServiceUnavailable", "InternalError", "InternalFailure")
_TRIES = 5  # of one request that AWS was too busy for


@dataclass(frozen=True)
class Order:
    """What the machine is to do and what it may cost: `spent` are dollars of earlier attempts at the same run."""

    run: str
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
    hours: float

    def __str__(self) -> str:
        market = "spot" if self.spot else "on demand"
        return (
            f"{self.type} in {self.zone}, {market}: ${self.price.dollars:.4f} an hour ({self.price.source}); "
            f"at most {self.hours:.1f} h and ${self.hours * self.price.dollars:.2f}"
        )


def launch(
    aws: AwsContext,
    runner: Runner,
    base: launch_config.LaunchConfig,
    order: Order,
    attempt: attempts.Attempt,
    alive: Callable[[], bool],
    record: Callable[[instances.Instance, float], None],
    held: Callable[[], AbstractContextManager],
) -> None:
    """Start a machine and `record` it with its price an hour.

    `alive` renews the claim before each try; False, and another has taken over: nothing is started. Between asking AWS
    and `record`, in the context `held`, no signal is to come in: nobody would know of the machine.

    Raises:
        UserError: there is none to be had, or no money left for one.
    """
    refused: list[tuple[str, Offer]] = []
    for offer in _offers(aws, runner, base, order.spent):
        quota = quotas.code(offer.type, offer.spot)
        if any(name in quotas.REFUSALS and quotas.code(o.type, o.spot) == quota for name, o in refused):
            continue  # holds for the whole region
        if not alive():
            return
        log.info("ec2: %s", offer)
        with held():
            answer = _ask(aws, runner, order, attempt, base, offer)
            if isinstance(answer, instances.Instance):
                record(answer, offer.price.dollars)
                return
        log.info("ec2: %s in %s: %s", offer.type, offer.zone, _why(answer))
        refused.append((answer, offer))
    raise UserError(_nothing(aws, runner, refused))


def _offers(aws: AwsContext, runner: Runner, base: launch_config.LaunchConfig, spent: float) -> Iterator[Offer]:
    markets = [True, *([False] if runner.on_demand_fallback else [])] if runner.spot else [False]
    for spot in markets:
        for kind in runner.instance_types:
            for zone in base.subnets:
                price = ec2_prices.of(aws.session, aws.region, kind, zone, spot)
                hours = min(runner.max_hours, (runner.max_dollars - spent) / price.dollars)
                if hours < min(_LEAST, runner.max_hours):
                    raise UserError(
                        f"runner.max_dollars = {runner.max_dollars:g} leaves {max(hours, 0) * 60:.0f} minutes of "
                        f"{kind} at ${price.dollars:.4f} an hour (${spent:.2f} went into earlier attempts): raise it, "
                        "and the same command continues from the last epoch"
                    )
                yield Offer(kind, zone, spot, price, hours)


def _ask(
    aws: AwsContext,
    runner: Runner,
    order: Order,
    attempt: attempts.Attempt,
    base: launch_config.LaunchConfig,
    offer: Offer,
) -> instances.Instance | str:
    """The machine, or the name of the refusal after which another place is to be tried."""
    from botocore.exceptions import ClientError, HTTPClientError

    now = time.time()
    deadline = int(now + offer.hours * 3600)
    text = user_data.render(
        bucket=aws.bucket,
        region=aws.store.client.meta.region_name,
        run_id=order.run,
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
        "run": order.run,
        "attempt": str(attempt.n),
        "deadline": str(deadline),
        "Name": f"plant-disease-{order.run}",
    }
    tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    volume = {"VolumeSize": runner.disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    # The claim's token too: a bucket emptied and a run started anew on the same day is another machine.
    token = hashing.of_value([order.run, attempt.n, attempt.claim["token"], offer.type, offer.zone, offer.spot])
    # AWS says "no capacity" with a status on which boto3 would try again: once, then we see for ourselves.
    ec2 = aws.client("ec2", tries=1)
    for left in reversed(range(_TRIES)):
        try:
            answer = ec2.run_instances(
                ImageId=base.image,
                InstanceType=offer.type,
                MinCount=1,
                MaxCount=1,
                ClientToken=token,
                UserData=text,
                SubnetId=base.subnets[offer.zone],
                SecurityGroupIds=[base.group],
                IamInstanceProfile={"Name": base.profile},
                InstanceInitiatedShutdownBehavior="terminate",
                MetadataOptions={"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
                BlockDeviceMappings=[{"DeviceName": base.disk, "Ebs": volume}],
                TagSpecifications=[{"ResourceType": kind, "Tags": tagged} for kind in ("instance", "volume")],
                **({"InstanceMarketOptions": market} if offer.spot else {}),
            )
        except ClientError as error:
            name = error.response["Error"]["Code"]
            if name in _ELSEWHERE:
                return name
            if name not in _BUSY or not left:
                raise
        except HTTPClientError:
            # The answer may be what was lost: with the same token AWS gives the same machine again.
            if not left:
                raise
        else:
            about = answer["Instances"][0] | {"Tags": tagged}
            return replace(instances.of(about), type=offer.type, zone=offer.zone, spot=offer.spot)
        time.sleep(min(2 ** (_TRIES - left), 10) * attempts.beat() / 5)
    raise AssertionError


def _why(name: str) -> str:
    if name in _NO_ROOM:
        return f"no capacity ({name})"
    if name in quotas.REFUSALS:
        return f"the account's quota is used up ({name})"
    return {"Unsupported": "not offered there (Unsupported)"}.get(name, f"AWS says no ({name})")


def _nothing(aws: AwsContext, runner: Runner, refused: list[tuple[str, Offer]]) -> str:
    exhausted = {quotas.code(o.type, o.spot): o.type for name, o in refused if name in quotas.REFUSALS}
    text = [quotas.remedy(aws, quota, kind) for quota, kind in exhausted.items()]
    if any(name not in quotas.REFUSALS for name, _ in refused):
        more = "" if runner.on_demand_fallback or not runner.spot else ", or allow runner.on_demand_fallback"
        text.insert(0, f"add runner.instance_types or runner.zones, try again later{more}")
    return f"no capacity after {len(refused)} tries, listed above: " + "; ".join(text)
