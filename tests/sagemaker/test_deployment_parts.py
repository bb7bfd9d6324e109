"""The parts of an endpoint that need no container: gate, names, prices, uploads, and what the stand-in refuses."""

from __future__ import annotations

import io
import json
import tarfile
from types import SimpleNamespace

import fake_aws
import fake_sagemaker
import pytest
from botocore.exceptions import ClientError

from plantdoc.aws import clients
from plantdoc.core import dvc_config, hashing
from plantdoc.core.errors import UserError
from plantdoc.remote import aws_context, dvc_remote
from plantdoc.sagemaker import (
    bundle_upload,
    configs,
    endpoint_lifecycle,
    quality_gate,
    resource_names,
    sagemaker_prices,
    scaling,
    smoke_test,
)
from plantdoc.sagemaker.context import Context

REGION = "eu-central-1"
IMAGE = f"763104351884.dkr.ecr.{REGION}.amazonaws.com/tensorflow-inference:2.20-cpu-py312"
ROLE = "arn:aws:iam::123456789012:role/serving"


@pytest.fixture(scope="module")
def server():
    with fake_aws.running(region=REGION) as server:
        yield server


@pytest.fixture
def aws(server, monkeypatch):
    """An account with a bucket and a model archive in it."""
    from moto.moto_api._internal.models import moto_api_backend

    moto_api_backend.reset()
    server.sagemaker.renew()
    server.faults.clear()
    server.calls.clear()
    server.conflicts = 0
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3 = server.client("s3")
    s3.create_bucket(Bucket="leaves", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="leaves", Key="bundles/a/model.tar.gz", Body=b"not looked into")
    return server


@pytest.fixture
def there(aws) -> Context:
    where = dvc_config.Remote("storage", "s3://leaves/dvc", {"region": REGION})
    return Context(aws_context.AwsContext(where, "leaves", "dvc", dvc_remote.session(where), REGION))


def serving(map50: float, low: float, high: float, pictures: int = 100, **more: object) -> dict:
    return {"map50": map50, "map50_low": low, "map50_high": high, "pictures": pictures} | more


LIVE = quality_gate.Score(0.50, 0.45, 0.55, 100)


@pytest.mark.parametrize(
    ("new", "live", "refused"),
    [
        (serving(0.20, 0.1, 0.3), None, None),
        (serving(0.19, 0.1, 0.3), None, "min_map50 asks for 0.2"),
        (serving(0.50, 0.45, 0.55), LIVE, None),
        (serving(0.90, 0.85, 0.95), LIVE, None),
        # Half intervals of 0.05 each explain 0.0707.
        (serving(0.43, 0.38, 0.48), LIVE, None),
        (serving(0.42, 0.37, 0.47), LIVE, "0.080 below the live model's 0.500, and the intervals explain 0.071"),
        # The wider the interval, the more it explains; the half that matters is the upper one.
        (serving(0.42, 0.42, 0.52), LIVE, None),
        (serving(0.42, 0.20, 0.43), LIVE, "the intervals explain 0.051"),
        (serving(0.42, 0.37, 0.47, 40), LIVE, r"on 40 test pictures, the live one's on 100\)"),
        # No bootstrap, no interval: what is lower is refused.
        ({"map50": 0.49, "pictures": 100}, quality_gate.Score(0.5, 0.5, 0.5, 100), "and the intervals explain 0.000"),
        ({"map50": 0.50, "pictures": 100}, quality_gate.Score(0.5, 0.5, 0.5, 100), None),
        (serving(0.9, 0.8, 1.0, behaviour={}), None, None),
        (serving(0.9, 0.8, 1.0, behaviour={"passed": True, "mirrored": {"passed": True}}), None, None),
        (
            serving(
                0.9, 0.8, 1.0, behaviour={"passed": False, "no_leaf": {"passed": False}, "darker": {"passed": True}}
            ),
            None,
            "its behaviour tests failed: no_leaf$",
        ),
    ],
)
def test_the_gate(new, live, refused):
    import re

    found = quality_gate.reasons(new, live, 0.2)
    assert bool(found) == bool(refused)
    if refused:
        assert re.search(refused, found[0])


def test_all_reasons_are_in_one_line():
    with pytest.raises(quality_gate.Refusal) as refusal:
        quality_gate.check("it", serving(0.1, 0.1, 0.1, behaviour={"passed": False}), LIVE, 0.2)
    assert str(refusal.value).count(";") == 3 and "\n" not in str(refusal.value)


@pytest.mark.parametrize("endpoint", ["plant-disease-detector", "plant-disease-" + 32 * "x"])
@pytest.mark.parametrize("version", ["detector@v1.2.0", "bundle-0123456789ab", "detector@v1000.2000.3000"])
def test_names_are_what_aws_takes_stable_and_of_their_content(endpoint, version):
    one, same, other = (resource_names.of(endpoint, version, content) for content in ({"a": 1}, {"a": 1}, {"a": 2}))
    assert one == same != other
    for name in (one, other):
        assert fake_sagemaker.NAME.fullmatch(name) and len(name) <= 63 and name.startswith(endpoint)


def test_a_bundle_is_uploaded_once_and_held_against_its_hash(there, aws, tmp_path, capsys):
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(b"a bundle")
    sha256 = hashing.of_file(archive)
    uri = bundle_upload.bring(there, archive, sha256)
    assert uri == f"s3://leaves/bundles/{sha256}/model.tar.gz"
    first = aws.client("s3").head_object(Bucket="leaves", Key=uri.removeprefix("s3://leaves/"))
    assert bundle_upload.bring(there, archive, sha256) == uri
    assert aws.client("s3").head_object(Bucket="leaves", Key=uri.removeprefix("s3://leaves/"))["ETag"] == first["ETag"]
    assert capsys.readouterr().out.count("deploy: uploaded") == 1


def test_a_price_is_aws_own_or_the_tables_with_its_date_or_none(there, aws):
    assert sagemaker_prices.of(there, "ml.c6i.large").source.startswith("a table of 2025-06")
    assert sagemaker_prices.of(there, "ml.no.such") is None
    rate = {"pricePerUnit": {"USD": "0.1210000000"}}
    listed = json.dumps({"terms": {"OnDemand": {"a": {"priceDimensions": {"b": rate}}}}})
    rules = aws.rules

    def respond(call, backend):
        wanted = {each["Field"]: each["Value"] for each in call.given.get("Filters", ())}
        assert wanted == {"regionCode": REGION, "instanceName": "ml.c6i.large", "platoinstancetype": "Hosting"}
        return "application/x-amz-json-1.1", json.dumps({"FormatVersion": "aws_v1", "PriceList": [listed]})

    aws.rules = SimpleNamespace(respond=respond)
    try:
        price = sagemaker_prices.of(there, "ml.c6i.large")
    finally:
        aws.rules = rules
    assert (price.dollars, price.source) == (0.121, f"AWS's price list for {REGION}")
    # 4 GB for ten seconds, and a gigabyte.
    assert sagemaker_prices.serverless(4096, 10, 10**9) == pytest.approx(0.0008 + 0.016)


def test_an_endpoint_that_is_not_there_answers_nobody(there):
    with pytest.raises(smoke_test.Broken, match="not found"):
        smoke_test.ask(there, "plant-disease-none", fake_aws.ROOT / "params.yaml")
    assert endpoint_lifecycle.look(there, "plant-disease-none") is None
    assert not endpoint_lifecycle.delete(there, "plant-disease-none")
    scaling.remove(there, "plant-disease-none")
    assert configs.keep_only(there, "plant-disease-none", set()) == []


def test_without_the_stack_of_make_aws_it_says_what_to_run(there):
    with pytest.raises(UserError, match=r"no stack plant-disease-leaves .* run `make aws BUCKET=leaves"):
        there.role  # noqa: B018


def test_who_may_not_is_told_which_right_is_missing(there, aws):
    aws.fail(
        "DescribeEndpoint", "AccessDeniedException", message="not authorized to perform: sagemaker:DescribeEndpoint"
    )
    with pytest.raises(UserError, match="AWS denies sagemaker:DescribeEndpoint"), clients.explained():
        endpoint_lifecycle.look(there, "plant-disease-detector")


# What AWS refuses, and moto does not.


def model(client, name: str = "plant-disease-m", **changes: object) -> None:
    container = {"Image": IMAGE, "ModelDataUrl": "s3://leaves/bundles/a/model.tar.gz"} | changes
    client.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)


def config(client, name: str = "plant-disease-c", capture: bool = False, **variant: object) -> None:
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}
    more = {
        "DataCaptureConfig": {
            "EnableCapture": True,
            "InitialSamplingPercentage": 1,
            "DestinationS3Uri": "s3://leaves/capture",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        }
    }
    client.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[{"VariantName": "detector", "ModelName": "plant-disease-m"} | (variant or serverless)],
        **(more if capture else {}),
    )


def refused(match: str):
    return pytest.raises(ClientError, match=match)


def test_the_stand_in_refuses_what_aws_refuses_of_models_and_configs(aws):
    client = aws.client("sagemaker")
    for name in ("plant_disease", "-plant", "x" * 64):
        with pytest.raises(Exception, match=r"constraint|valid"):
            model(client, name)
    with refused("Could not find model data"):
        model(client, ModelDataUrl="s3://leaves/bundles/b/model.tar.gz")
    with refused("another region"):
        model(client, Image=IMAGE.replace(REGION, "us-east-1"))
    with refused("Could not find model"):
        config(client)
    model(client)
    with refused("already existing model"):
        model(client)
    for memory, concurrency in ((1500, 5), (6143, 5)):
        with refused("no such serverless config"):
            config(client, ServerlessConfig={"MemorySizeInMB": memory, "MaxConcurrency": concurrency})
    with refused("not for serverless"):
        config(client, capture=True)
    with refused("no such instance type"):
        config(client, InstanceType="c6i.large", InitialInstanceCount=1)
    config(client)
    with refused("already existing endpoint config"):
        config(client)
    with refused("in use by plant-disease-c"):
        client.delete_model(ModelName="plant-disease-m")


def test_the_stand_in_refuses_what_aws_refuses_of_endpoints(aws):
    client = aws.client("sagemaker")
    model(client)
    config(client)
    config(client, "plant-disease-machines", InstanceType="ml.c6i.large", InitialInstanceCount=1)
    which = {"EndpointName": "plant-disease-e"}
    with refused("Could not find endpoint configuration"):
        client.create_endpoint(**which, EndpointConfigName="plant-disease-none")
    client.create_endpoint(**which, EndpointConfigName="plant-disease-machines")
    with refused("already existing endpoint"):
        client.create_endpoint(**which, EndpointConfigName="plant-disease-c")
    with refused("in-progress"):
        client.update_endpoint(**which, EndpointConfigName="plant-disease-machines")
    with refused("in-progress"):
        client.delete_endpoint(**which)
    with refused("in use by plant-disease-e"):
        client.delete_endpoint_config(EndpointConfigName="plant-disease-machines")
    runtime = aws.client("sagemaker-runtime")
    with refused("is Creating"):
        runtime.invoke_endpoint(**which, Body=b"\x89PNG \xff\xd8")
    # What lies in the bucket is no archive: the container does not start.
    states = [client.describe_endpoint(**which)["EndpointStatus"] for _ in range(fake_sagemaker.LOOKS)]
    assert states[-1] == "Failed" and set(states[:-1]) == {"Creating"}
    assert "Failed to extract model data" in client.describe_endpoint(**which)["FailureReason"]
    with refused("in-progress|Failed"):
        client.update_endpoint(**which, EndpointConfigName="plant-disease-machines")
    aws.sagemaker.backend.endpoints["plant-disease-e"].endpoint_status = "InService"
    with refused("serverless endpoint is not supported"):
        client.update_endpoint(**which, EndpointConfigName="plant-disease-c")
    with refused("'body' failed to satisfy constraint: Member must have length less than or equal to 26214400"):
        runtime.invoke_endpoint(**which, Body=bytes(25_000_001))
    guard = {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 1}},
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "none"}]},
    }
    with refused("no such alarm"):
        client.update_endpoint(**which, EndpointConfigName="plant-disease-machines", DeploymentConfig=guard)
    with refused("no machines to scale"):
        aws.client("application-autoscaling").register_scalable_target(
            ServiceNamespace="sagemaker",
            ResourceId="endpoint/plant-disease-none/variant/detector",
            ScalableDimension="sagemaker:variant:DesiredInstanceCount",
            MinCapacity=1,
            MaxCapacity=2,
        )
    client.delete_endpoint(**which)
    with refused("Could not find endpoint"):
        client.describe_endpoint(**which)


def test_a_container_that_comes_with_nothing_is_told(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz"):
        pass
    with pytest.raises(fake_sagemaker.Refused, match=r"(?s)ping health check.*inference\.py"):
        fake_sagemaker.start(packed.getvalue(), {})
