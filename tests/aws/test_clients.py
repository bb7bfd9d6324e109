"""Clients of AWS are made in one place; regions of all parts of AWS are taken."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from plantdoc.aws import clients, price_list
from plantdoc.core.errors import UserError

# What runs alone or in a stage's code: see the docstring of plantdoc.aws.clients.
ALONE = {
    "src/plantdoc/aws/clients.py",
    "src/plantdoc/augment/beam/files.py",
    "src/plantdoc/core/s3_download.py",
    "src/plantdoc/ec2/reaper.py",
    "src/plantdoc/public_api/lambda_function.py",
}
MAKING = {"client", "resource", "Session", "session"}


def makes_clients(path: Path) -> bool:
    """Whether a module makes clients or sessions by itself: by `boto3.client`, an import of it, or `session.client`."""
    text = path.read_text(encoding="utf-8")
    if "boto3" not in text and ".client(" not in text:
        return False
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="boto3"), attr=name)) if name in MAKING:
                return True
            case ast.ImportFrom(module="boto3" | "boto3.session" | "botocore.session"):
                return True
            case ast.Call(func=ast.Attribute(attr="client", value=value)):
                if ast.unparse(value).endswith(("session", "session()")):
                    return True
    return False


def test_nobody_else_makes_clients_of_boto3(root):
    found = {
        path.relative_to(root).as_posix()
        for folder in ("src", "scripts")
        for path in (root / folder).rglob("*.py")
        if makes_clients(path)
    }
    assert found == ALONE


@pytest.mark.parametrize(
    ("code", "makes"),
    [
        ("boto3.client('s3')", True),
        ("boto3.Session()", True),
        ("from boto3 import client", True),
        ("aws.session.client('ec2')", True),
        ("dvc_remote.session().client('sagemaker', config=c)", True),
        ("aws.client('ec2')", False),
        ("def f(session: boto3.Session): ...", False),
        ("from boto3.exceptions import Boto3Error", False),
    ],
)
def test_what_counts_as_making_a_client(tmp_path, code, makes):
    (tmp_path / "module.py").write_text(code)
    assert makes_clients(tmp_path / "module.py") == makes


@pytest.mark.parametrize(
    ("timeouts", "tries", "variable", "expected"),
    [
        (clients.CONTROL, None, "7", (5, 30, 3)),
        (clients.LONG_RUN, None, None, (5, 30, 5)),
        (clients.LONG_RUN, None, "7", (5, 30, 7)),
        (clients.LONG_RUN, 1, "7", (5, 30, 1)),
        (clients.STORAGE, None, None, (10, 60, 10)),
        (clients.PROBE, None, "7", (3, 20, 2)),
    ],
)
def test_time_outs_and_tries(monkeypatch, timeouts, tries, variable, expected):
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    if variable:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", variable)
    session = clients.new_session(aws_access_key_id="key", aws_secret_access_key="secret")
    config = clients.make("sts", "us-east-1", session=session, timeouts=timeouts, tries=tries).meta.config
    assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == expected
    assert config.retries["mode"] == "standard"


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-central-1", "aws"),
        ("mx-central-1", "aws"),
        ("us-gov-west-1", "aws-us-gov"),
        ("cn-northwest-1", "aws-cn"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_regions_of_all_parts_of_aws_are_taken(region, partition):
    assert clients.region(region) == region and clients.partition(region) == partition


@pytest.mark.parametrize(
    "region", ["", "frankfurt", "eu-central", "EU-central-1", "eu_central_1", "europe-west-1", "e-a-1"]
)
def test_what_is_no_region_is_refused(region, monkeypatch):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(UserError, match=r"no region|is not a region of AWS"):
        clients.region(region)


def test_govcloud_has_no_price_list_to_be_asked():
    assert price_list.on_demand(None, "AmazonEC2", {"regionCode": "us-gov-west-1"}) is None
