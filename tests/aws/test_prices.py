"""A price is what AWS says, for the place and the market; without AWS it is an older one that says so."""

from __future__ import annotations

import datetime
import json

import boto3
import pytest
from botocore.stub import Stubber

from plantdoc.aws import ec2_prices
from plantdoc.core.errors import UserError

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


class Session(boto3.Session):
    """Clients whose answers are given beforehand; those of services without an answer are out of reach."""

    def __init__(self):
        super().__init__("key", "secret", region_name="eu-central-1")
        self.answers: dict[str, object] = {}
        self.asked: list[tuple[str, str, dict]] = []

    def client(self, service, region_name=None, config=None, **_):
        made = super().client(service, region_name=region_name, endpoint_url="http://127.0.0.1:1", config=config)
        made.meta.events.register(
            "before-parameter-build.*.*",
            lambda params, model, **_: self.asked.append((region_name, model.name, params)),
        )
        answer = self.answers.get(service)
        if answer is None:
            return made
        stub = Stubber(made)
        operation = {"ec2": "describe_spot_price_history", "pricing": "get_products"}[service]
        if isinstance(answer, str):
            stub.add_client_error(operation, answer)
        else:
            stub.add_response(operation, answer)
        stub.activate()
        return made


@pytest.fixture
def session() -> Session:
    return Session()


def history(*entries: tuple[str, int, str]) -> dict:
    """Spot prices: zone, hours ago, dollars."""
    return {
        "SpotPriceHistory": [
            {"AvailabilityZone": zone, "Timestamp": NOW - datetime.timedelta(hours=ago), "SpotPrice": dollars}
            for zone, ago, dollars in entries
        ]
    }


def listed(dollars: str) -> dict:
    """An entry of AWS's price list, cut down to what leads to the price."""
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": dollars}}
    product = {"product": {}, "terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": dimension}}}}}
    return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(product)]}


def test_a_spot_price_is_the_newest_of_the_zone(session):
    session.answers["ec2"] = history(
        ("eu-central-1a", 5, "0.5"), ("eu-central-1a", 1, "0.3"), ("eu-central-1b", 0, "9")
    )
    price = ec2_prices.of(session, "eu-central-1", "g5.xlarge", "eu-central-1a", spot=True)
    assert price == ec2_prices.Price(0.3, "spot price in eu-central-1a now")
    ((region, operation, asked),) = session.asked
    assert (region, operation) == ("eu-central-1", "DescribeSpotPriceHistory")
    assert (asked["InstanceTypes"], asked["AvailabilityZone"]) == (["g5.xlarge"], "eu-central-1a")


def test_without_a_zone_the_dearest_one_counts(session):
    session.answers["ec2"] = history(("a", 5, "0.9"), ("a", 1, "0.3"), ("b", 0, "0.4"))
    assert ec2_prices.of(session, "eu-central-1", "g5.xlarge", None, spot=True).dollars == 0.4


def test_on_demand_is_what_the_price_list_says_for_the_region(session):
    session.answers["pricing"] = listed("1.258")
    price = ec2_prices.of(session, "eu-central-1", "g5.xlarge", "eu-central-1a", spot=False)
    assert price == ec2_prices.Price(1.258, "AWS's price list for eu-central-1")
    ((region, _, asked),) = session.asked
    wanted = {entry["Field"]: entry["Value"] for entry in asked["Filters"]}
    assert region == "us-east-1", "the price list answers in few regions"
    assert wanted["regionCode"] == "eu-central-1" and wanted["instanceType"] == "g5.xlarge"
    assert {"Linux", "Shared", "OnDemand"} <= set(wanted.values())


def test_without_a_spot_price_it_costs_at_most_what_it_costs_on_demand(session):
    session.answers |= {"ec2": history(), "pricing": listed("1.258")}
    price = ec2_prices.of(session, "eu-central-1", "g5.xlarge", "eu-central-1a", spot=True)
    assert price == ec2_prices.Price(1.258, "AWS's price list for eu-central-1, the most that spot costs")


@pytest.mark.parametrize("pricing", [None, "AccessDeniedException", {"PriceList": []}, {"PriceList": ["{"]}])
def test_offline_or_denied_the_table_is_taken_and_says_how_old_it_is(session, pricing):
    session.answers |= {"pricing": pricing, "ec2": pricing if isinstance(pricing, str) else None}
    for spot in (False, True):
        price = ec2_prices.of(session, "eu-central-1", "g4dn.xlarge", "eu-central-1a", spot)
        assert price.dollars == 0.526
        assert f"a table of {ec2_prices.TABLE_DATE} for us-east-1, as AWS did not say" in price.source


def test_a_type_of_which_nobody_knows_the_price_is_refused_with_the_remedy(session):
    with pytest.raises(UserError, match=r"price of x9\.huge is not known.*pricing:GetProducts.*runner\.instance_types"):
        ec2_prices.of(session, "eu-central-1", "x9.huge", None, spot=False)


def test_the_table_has_the_types_that_the_params_name(root):
    from plantdoc.core import params
    from plantdoc.settings import runner_params

    assert set(params.load(runner_params.Params, root / "params.yaml").runner.instance_types) <= set(ec2_prices.TABLE)


def test_an_hour_of_spot_costs_at_most_the_price_on_demand(session):
    session.answers |= {"ec2": history(("a", 0, "0.3")), "pricing": listed("1.258")}
    spot = ec2_prices.of(session, "eu-central-1", "g5.xlarge", "a", spot=True)
    assert ec2_prices.most(session, "eu-central-1", "g5.xlarge", spot) == 1.258
    assert ec2_prices.most(session, "eu-central-1", "g5.xlarge", ec2_prices.Price(2.0, "")) == 2.0


@pytest.mark.parametrize(("region", "most"), [("us-east-1", 1.006), ("sa-east-1", 2.012)])
def test_the_table_is_a_bound_elsewhere_too(session, region, most):
    session.answers["pricing"] = {"PriceList": []}
    price = ec2_prices.Price(0.3, "spot")
    assert ec2_prices.most(session, region, "g5.xlarge", price) == most


@pytest.mark.parametrize("region", ["us-gov-west-1", "cn-north-1", "eusc-de-east-1"])
def test_other_partitions_say_how_a_price_is_set_by_hand(session, region, monkeypatch):
    session.answers["pricing"] = {"PriceList": []}
    with pytest.raises(UserError, match=rf'price of g5.xlarge in {region} is not known.*"{region}/g5.xlarge": DOLLARS'):
        ec2_prices.of(session, region, "g5.xlarge", None, spot=False)
    assert not [asked for asked in session.asked if asked[0] == "us-east-1"], "credentials of another partition"
    monkeypatch.setitem(ec2_prices.TABLE, f"{region}/g5.xlarge", 1.27)
    price = ec2_prices.of(session, region, "g5.xlarge", None, spot=False)
    assert price.dollars == 1.27 and ec2_prices.most(session, region, "g5.xlarge", price) == 1.27
