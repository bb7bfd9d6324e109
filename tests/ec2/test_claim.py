"""The claim of an attempt: the JSON in S3, and what is said of an object that is none."""

from __future__ import annotations

import json
import re

import pytest

from plantdoc.core.errors import UserError
from plantdoc.ec2.claim import Claim
from plantdoc.ec2.instances import Instance

NEW = {
    **{"token": "t0ken", "time": 1700000000.25, "code": "c0de"},
    **dict.fromkeys(("instance", "launched", "type", "zone", "region", "spot", "price", "deadline")),
}
INSTANCE = {
    **{"instance": "i-1", "launched": 1700000010.0, "type": "g5.xlarge", "zone": "us-east-1a", "region": "us-east-1"},
    **{"spot": True, "price": 0.47, "most": 1.258, "deadline": 1700020000.0},
}
ENDED = {"ended": 1700000100.5, "stopped": "somebody"}


@pytest.mark.parametrize("stored", [NEW, NEW | INSTANCE, NEW | INSTANCE | ENDED, NEW | {"of": ["a newer version"]}])
def test_the_json_is_written_as_it_was_read(stored):
    assert Claim.of(json.loads(json.dumps(stored)), "s3://b/k").as_json() == stored


def test_a_new_claim_says_that_there_is_no_machine_and_then_which_one():
    claim = Claim(token="t0ken", time=1700000000.25, code="c0de")
    assert claim.as_json() == NEW
    about = {name: INSTANCE[name] for name in ("launched", "type", "zone", "spot", "deadline")}
    machine = Instance(id="i-1", state="pending", run="r", attempt=1, ended=None, reason="", **about)
    assert claim.with_machine(machine, "us-east-1", 0.47, 1.258).as_json() == NEW | INSTANCE


@pytest.mark.parametrize(
    ("stored", "fault"),
    [
        ({}, "(it has no token)"),
        (NEW | {"time": None}, "(it has no time)"),
        ([], "(it has no token)"),
        (NEW | {"token": 7}, "(token = 7)"),
        (NEW | INSTANCE | {"deadline": "1700020000"}, "(deadline = '1700020000')"),
        (NEW | INSTANCE | {"deadline": float("inf")}, "(deadline = inf)"),
        (NEW | {"ended": True}, "(ended = True)"),
        (NEW | INSTANCE | {"spot": "yes"}, "(spot = 'yes')"),
    ],
)
def test_an_object_that_is_no_claim_is_named(stored, fault):
    with pytest.raises(
        UserError, match=rf"^s3://b/k is not the claim of an attempt {re.escape(fault)}.*newest version"
    ):
        Claim.of(stored, "s3://b/k")
