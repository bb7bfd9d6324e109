"""Price of an endpoint: AWS's own, or one from a dated table where AWS gives none."""

from __future__ import annotations

from plantdoc.aws import price_list
from plantdoc.aws.ec2_prices import Price
from plantdoc.sagemaker.context import Context

# Real-time machines in us-east-1, dollars an hour, entered by hand for this month and not held against AWS's list
# since; most other regions are dearer.
TABLE_DATE = "2025-06"
TABLE = {
    "ml.t2.medium": 0.056,
    "ml.t2.large": 0.111,
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.m6i.large": 0.115,
    "ml.m6i.xlarge": 0.23,
    "ml.c5.large": 0.102,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.c6i.large": 0.102,
    "ml.c6i.xlarge": 0.204,
    "ml.c6i.2xlarge": 0.408,
    "ml.c7i.large": 0.107,
    "ml.c7i.xlarge": 0.214,
    "ml.g4dn.xlarge": 0.736,
    "ml.g5.xlarge": 1.408,
}
# Serverless, of the same date: dollars for a second of 1 GB, and for a GB of pictures and answers.
SERVERLESS_SECOND, SERVERLESS_GB = 0.00002, 0.016


def of(context: Context, instance_type: str) -> Price | None:
    """Dollars an hour of one machine of this type; None where nothing tells."""
    wanted = {"regionCode": context.region, "instanceName": instance_type, "platoinstancetype": "Hosting"}
    if dollars := price_list.on_demand(context.aws.session, "AmazonSageMaker", wanted):
        return Price(dollars, f"AWS's price list for {context.region}")
    if instance_type in TABLE:
        return Price(TABLE[instance_type], f"a table of {TABLE_DATE} for us-east-1, as AWS did not say")
    return None


def serverless(memory_mb: int, seconds: float, transferred: int) -> float:
    """Dollars that a serverless endpoint costs for `seconds` of work and `transferred` bytes, by the table."""
    return memory_mb / 1024 * seconds * SERVERLESS_SECOND + transferred / 1e9 * SERVERLESS_GB
