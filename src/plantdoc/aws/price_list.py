"""AWS's price list: dollars on demand."""

from __future__ import annotations

import json
import logging

from botocore.exceptions import BotoCoreError, ClientError

from plantdoc.aws import clients

log = logging.getLogger("plantdoc")
# A region that answers for all of its partition; GovCloud has none, and the prices of the other two are in another
# currency than dollars or missing.
_LISTED_IN = {"aws": "us-east-1", "aws-cn": "cn-northwest-1", "aws-eusc": "eusc-de-east-1"}


def on_demand(session, service: str, wanted: dict[str, str]) -> float | None:
    """Dollars an hour of what `wanted` describes; None where AWS does not say.

    Args:
        session: of boto3.
        service: as the list names it, like AmazonEC2.
        wanted: attributes of the product, regionCode among them; where several have them, the dearest counts.
    """
    try:
        listed_in = _LISTED_IN.get(clients.partition(wanted["regionCode"]))
        if listed_in is None:
            return None
        client = clients.make("pricing", listed_in, session=session, timeouts=clients.PROBE)
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
