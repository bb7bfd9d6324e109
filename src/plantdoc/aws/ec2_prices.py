"""Price of an EC2 instance per hour: AWS's own, or one from a dated table where AWS gives none."""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from plantdoc.aws import clients, price_list
from plantdoc.core.errors import UserError

log = logging.getLogger("plantdoc")

# Linux on demand in us-east-1, dollars an hour, entered by hand for this month and not held against AWS's list since;
# most other regions are dearer. Where AWS publishes no price list in dollars (GovCloud, China, the European Sovereign
# Cloud) add entries of your own by region, like "us-gov-west-1/g5.xlarge": 1.27.
TABLE_DATE = "2025-06"
_TABLE_REGION = "us-east-1"
_DEAREST = 2.0  # by how much other regions may be dearer than us-east-1: a cautious guess, not looked up
TABLE = {
    "c5.large": 0.085,
    "c5.xlarge": 0.17,
    "c5.2xlarge": 0.34,
    "c5.4xlarge": 0.68,
    "c6i.xlarge": 0.17,
    "c6i.2xlarge": 0.34,
    "c6i.4xlarge": 0.68,
    "g4dn.xlarge": 0.526,
    "g4dn.2xlarge": 0.752,
    "g4dn.4xlarge": 1.204,
    "g4dn.8xlarge": 2.176,
    "g4dn.12xlarge": 3.912,
    "g4dn.16xlarge": 4.352,
    "g4dn.metal": 7.824,
    "g5.xlarge": 1.006,
    "g5.2xlarge": 1.212,
    "g5.4xlarge": 1.624,
    "g5.8xlarge": 2.448,
    "g5.12xlarge": 5.672,
    "g5.16xlarge": 4.096,
    "g5.24xlarge": 8.144,
    "g5.48xlarge": 16.288,
    "g6.xlarge": 0.8048,
    "g6.2xlarge": 0.9776,
    "g6.4xlarge": 1.3232,
    "g6.8xlarge": 2.0144,
    "g6.12xlarge": 4.6016,
    "g6.16xlarge": 3.3968,
    "g6.24xlarge": 6.6752,
    "g6.48xlarge": 13.3504,
    "m5.large": 0.096,
    "m5.xlarge": 0.192,
    "m5.2xlarge": 0.384,
    "m5.4xlarge": 0.768,
    "m6i.large": 0.096,
    "m6i.xlarge": 0.192,
    "m6i.2xlarge": 0.384,
    "p4d.24xlarge": 21.9576,
    "t3.micro": 0.0104,
    "t3.small": 0.0208,
    "t3.medium": 0.0416,
    "t3.large": 0.0832,
    "t3.xlarge": 0.1664,
    "t3.2xlarge": 0.3328,
}
# A machine of one's own hours, with nothing but Linux on it.
_KIND = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}


@dataclass(frozen=True)
class Price:
    """Dollars an hour, and where that is known from, for people to read."""

    dollars: float
    source: str


def of(session, region: str, instance_type: str, zone: str | None, spot: bool) -> Price:
    """Current price of an instance type, without disk and traffic.

    For the spot market the last price of the zone, or, without one, the dearest zone's. Where AWS has none, the price
    on demand, which is the most that a spot machine costs; then that of TABLE.

    Raises:
        UserError: nothing tells the price, so that no limit in dollars could be kept.
    """
    if spot and (price := _spot(session, region, instance_type, zone)):
        return price
    price = _on_demand(session, region, instance_type) or _table(region, instance_type)
    return Price(price.dollars, f"{price.source}, the most that spot costs") if spot else price


def most(session, region: str, instance_type: str, price: Price) -> float:
    """The most dollars that an hour of a machine at `price` may cost.

    Spot is charged at the price of each hour, which changes while a machine runs, but never above the price on demand,
    as no other limit is set (docs.aws.amazon.com/AWSEC2/latest/UserGuide/how-spot-instances-work.html).

    Raises:
        UserError: nothing tells the price on demand, so that no limit in dollars could be kept.
    """
    if listed := _on_demand(session, region, instance_type):
        return max(price.dollars, listed.dollars)
    table = _table(region, instance_type).dollars
    is_of_region = region == _TABLE_REGION or f"{region}/{instance_type}" in TABLE
    return max(price.dollars, table if is_of_region else table * _DEAREST)


def _spot(session, region: str, instance_type: str, zone: str | None) -> Price | None:
    now = datetime.datetime.now(datetime.UTC)
    asked = {"AvailabilityZone": zone} if zone else {}
    try:
        client = clients.make("ec2", region, session=session, timeouts=clients.PROBE)
        answer = client.describe_spot_price_history(
            InstanceTypes=[instance_type], ProductDescriptions=["Linux/UNIX"], StartTime=now, MaxResults=100, **asked
        )
        newest: dict[str, tuple] = {}
        for entry in answer["SpotPriceHistory"]:
            listed_zone = entry["AvailabilityZone"]
            if zone in (None, listed_zone):
                newest[listed_zone] = max(newest.get(listed_zone, (entry["Timestamp"], 0.0)), _dated(entry))
    except (ClientError, BotoCoreError, KeyError, ValueError) as error:
        log.debug("spot prices: %s", error)
        return None
    if not newest:
        return None
    listed_zone, (_, dollars) = max(newest.items(), key=lambda item: item[1][1])
    return Price(dollars, f"spot price in {listed_zone} now") if dollars > 0 else None


def _dated(entry: dict) -> tuple[datetime.datetime, float]:
    return entry["Timestamp"], float(entry["SpotPrice"])


def _on_demand(session, region: str, instance_type: str) -> Price | None:
    wanted = _KIND | {"instanceType": instance_type, "regionCode": region}
    dollars = price_list.on_demand(session, "AmazonEC2", wanted)
    return Price(dollars, f"AWS's price list for {region}") if dollars else None


def _table(region: str, instance_type: str) -> Price:
    own = f"{region}/{instance_type}"
    if own in TABLE:
        return Price(TABLE[own], f"the table in src/plantdoc/aws/ec2_prices.py for {region}")
    if (partition := clients.partition(region)) != "aws":
        raise UserError(
            f"the price of {instance_type} in {region} is not known: AWS's price list answers in dollars for the "
            f'partition aws alone, and this is {partition}. Look it up and add "{own}": DOLLARS to TABLE in '
            "src/plantdoc/aws/ec2_prices.py"
        )
    if instance_type not in TABLE:
        raise UserError(
            f"the price of {instance_type} is not known: AWS did not say (are pricing:GetProducts and "
            "ec2:DescribeSpotPriceHistory allowed?), and the table in src/plantdoc/aws/ec2_prices.py does not have it; "
            f"allow these, or choose other runner.instance_types, like {min(TABLE, key=TABLE.__getitem__)}"
        )
    return Price(TABLE[instance_type], f"a table of {TABLE_DATE} for us-east-1, as AWS did not say")
