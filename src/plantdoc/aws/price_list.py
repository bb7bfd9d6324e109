"""AWS's price list: dollars on demand."""

from __future__ import annotations

import json
import logging

from botocore.exceptions import BotoCoreError, ClientError

from plantdoc.aws import timeouts

log = logging.getLogger("plantdoc")
_LISTED_IN = "us-east-1"  # one of the few regions that answer for all


def on_demand(session, service: str, wanted: dict[str, str]) -> float | None:
    """Dollars an hour of what `wanted` describes; None where AWS does not say.

    Args:
        session: of boto3.
        service: as the list names it, like AmazonEC2.
        wanted: attributes of the product; where several have them, the dearest counts.
    """
    try:
        client = session.client("pricing", region_name=_LISTED_IN, config=timeouts.patience())
        filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in wanted.items()]
        prices = [
            float(dimension["pricePerUnit"]["USD"])
            for product in map(json.loads, client.get_products(ServiceCode=service, Filters=filters)["PriceList"])
            for term in product["terms"]["OnDemand"].values()
            for dimension in term["priceDimensions"].values()
        ]
    except (ClientError, BotoCoreError, KeyError, ValueError) as error:
        log.debug("price list: %s", error)
        return None
    return max(prices, default=0.0) or None
