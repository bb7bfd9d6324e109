"""Search for an instance for an attempt, over markets, types and zones."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from plantdoc.aws import ec2_prices
from plantdoc.core.errors import UserError
from plantdoc.ec2 import instances, launch_failures, launch_request, quotas
from plantdoc.ec2.launch_config import LaunchConfig
from plantdoc.ec2.launch_request import Offer, Order
from plantdoc.remote.aws_context import AwsContext
from plantdoc.settings.runner_params import Runner

log = logging.getLogger("plantdoc")
_LEAST = 5 / 60  # hours; a machine that may live for less than this is not worth its start
_NO_ROOM = ("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientFreeAddressesInSubnet")
_ELSEWHERE = (*_NO_ROOM, "SpotMaxPriceTooLow", "Unsupported", *quotas.REFUSALS)


class Launch:
    """The search for the machine of one attempt; it remembers what EC2 has refused.

    Whoever goes through `offers` requests them one by one until there is a machine: what has to be done before a
    request, and that no signal comes in before its machine is written down, is theirs.
    """

    def __init__(self, aws: AwsContext, runner: Runner, base: LaunchConfig, order: Order):
        self.aws, self.runner, self.base, self.order = aws, runner, base, order
        self._refused: list[tuple[str, Offer]] = []  # with EC2's name for the reason
        self._on_demand: dict[str, float] = {}  # dollars an hour by instance type

    def offers(self) -> Iterator[Offer]:
        """Ways to get a machine, the preferred ones first, without those for which a quota is used up.

        Raises:
            UserError: there are no more, or no money is left for the next one.
        """
        for offer in self._all_offers():
            if quotas.shared_by(offer.type, offer.spot) not in self._used_up():  # a quota holds for the whole region
                yield offer
        raise UserError(self._nothing())

    def request(self, offer: Offer) -> instances.Instance | None:
        """Start the machine of `offer`; None where EC2 refuses it there and may not elsewhere."""
        from botocore.exceptions import ClientError

        log.info("ec2: %s", offer)
        try:
            return launch_request.send(self.aws, self.runner, self.base, self.order, offer)
        except ClientError as error:
            reason = error.response["Error"]["Code"]
            if text := launch_failures.refusal(reason):
                raise UserError(f"EC2 starts no machine ({reason}): {text}") from None
            if reason not in _ELSEWHERE:
                raise
        log.info("ec2: %s in %s: %s", offer.type, offer.zone, _why(reason))
        self._refused.append((reason, offer))
        return None

    def _all_offers(self) -> Iterator[Offer]:
        runner, spent = self.runner, self.order.spent
        markets = [True, *([False] if runner.on_demand_fallback else [])] if runner.spot else [False]
        for spot in markets:
            for kind in runner.instance_types:
                for zone in self.base.subnets:
                    price = ec2_prices.of(self.aws.session, self.aws.region, kind, zone, spot)
                    most = self._most(kind, price)
                    hours = min(runner.max_hours, (runner.max_dollars - spent) / most)
                    if hours < min(_LEAST, runner.max_hours):
                        raise UserError(
                            f"runner.max_dollars = {runner.max_dollars:g} leaves {max(hours, 0) * 60:.0f} minutes of "
                            f"{kind} at ${most:.4f} an hour (up to ${spent:.2f} went into earlier attempts): raise it, "
                            "and the same command continues from the last epoch"
                        )
                    yield Offer(kind, zone, spot, price, most, hours)

    def _most(self, kind: str, price: ec2_prices.Price) -> float:
        """The most dollars that an hour of this type costs; AWS is asked once for each type."""
        if kind not in self._on_demand:
            self._on_demand[kind] = ec2_prices.most(self.aws.session, self.aws.region, kind, price)
        return max(self._on_demand[kind], price.dollars)

    def _used_up(self) -> dict[str, tuple[str, Offer]]:
        """Quotas that are used up, each with EC2's reason and an offer that met it."""
        met = [(reason, offer) for reason, offer in self._refused if reason in quotas.REFUSALS]
        return {quotas.shared_by(offer.type, offer.spot): (reason, offer) for reason, offer in met}

    def _nothing(self) -> str:
        used_up = self._used_up().values()
        text = [quotas.remedy(self.aws, offer.type, offer.spot, reason) for reason, offer in used_up]
        if any(reason not in quotas.REFUSALS for reason, _ in self._refused):
            more = ", or allow runner.on_demand_fallback"
            if self.runner.on_demand_fallback or not self.runner.spot:
                more = ""
            text.insert(0, f"add runner.instance_types or runner.zones, try again later{more}")
        return f"no capacity after {len(self._refused)} tries, listed above: " + "; ".join(text)


def _why(reason: str) -> str:
    if reason in _NO_ROOM:
        return f"no capacity ({reason})"
    if reason in quotas.REFUSALS:
        return f"the account's quota is used up ({reason})"
    return {"Unsupported": "not offered there (Unsupported)"}.get(reason, f"AWS says no ({reason})")
