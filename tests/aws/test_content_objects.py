"""Objects under the hash of their content: what lies there is proved, and 412 alone says that it is there."""

from __future__ import annotations

import base64
import hashlib
from types import SimpleNamespace

import fake_aws
import pytest
from moto.moto_api._internal.models import moto_api_backend
from stopped_clock import StoppedClock

from plantdoc.aws import content_objects
from plantdoc.core.errors import UserError
from plantdoc.public_api import lambda_zip

REGION, BUCKET = "eu-central-1", "leaves"
CONTENT, OTHER = b"a bundle", b"a bindle"  # as long
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = f"bundles/{SHA256}/model.tar.gz"


@pytest.fixture(scope="module")
def server():
    with fake_aws.running(region=REGION) as server:
        yield server


@pytest.fixture
def aws(server):
    moto_api_backend.reset()
    server.conflicts = 0
    server.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return server


@pytest.fixture(params=["bytes", "file"])
def content(request, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    return CONTENT if request.param == "bytes" else tmp_path / "file"


def put(aws, content, clock: StoppedClock | None = None) -> bool:
    return content_objects.put(aws.client("s3"), BUCKET, KEY, content, SHA256, (clock or StoppedClock()).clock)


def content_there(aws) -> bytes:
    return aws.client("s3").get_object(Bucket=BUCKET, Key=KEY)["Body"].read()


def test_it_is_written_once(aws, content):
    assert put(aws, content) and content_there(aws) == CONTENT
    about = aws.client("s3").head_object(Bucket=BUCKET, Key=KEY, ChecksumMode="ENABLED")
    assert about["ChecksumSHA256"] == base64.b64encode(bytes.fromhex(SHA256)).decode()
    assert not put(aws, content)


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


OBJECTS = {
    "with its SHA-256": lambda s3, data: s3.put_object(
        Bucket=BUCKET, Key=KEY, Body=data, ChecksumSHA256=checksum(data)
    ),
    "without a checksum": lambda s3, data: s3.put_object(Bucket=BUCKET, Key=KEY, Body=data),
    "with another checksum": lambda s3, data: s3.put_object(
        Bucket=BUCKET, Key=KEY, Body=data, ChecksumAlgorithm="SHA1"
    ),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_what_lies_there_is_proved(aws, content, kind):
    OBJECTS[kind](aws.client("s3"), CONTENT)
    assert not put(aws, content)
    aws.client("s3").delete_object(Bucket=BUCKET, Key=KEY)
    OBJECTS[kind](aws.client("s3"), OTHER)
    with pytest.raises(UserError, match=rf"s3://{BUCKET}/{KEY} is not what its name says.*delete it there"):
        put(aws, content)
    assert content_there(aws) == OTHER


def test_a_checksum_of_checksums_proves_nothing(aws):
    asked = []
    s3 = SimpleNamespace(
        head_object=lambda **_: {"ChecksumSHA256": checksum(CONTENT) + "-1", "ChecksumType": "COMPOSITE"},
        get_object=lambda **given: asked.append(given) or aws.client("s3").get_object(**given),
    )
    aws.client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=OTHER)
    with pytest.raises(UserError, match="is not what its name says"):
        content_objects.put(s3, BUCKET, KEY, CONTENT, SHA256)
    assert asked


def test_what_another_has_written_meanwhile_is_proved_too(aws, content, monkeypatch):
    """It is missing at the look, and there at the write."""
    look, looks = content_objects._sha256, []

    def late(*given):
        looks.append(given)
        return look(*given) if len(looks) % 2 == 0 else None

    monkeypatch.setattr(content_objects, "_sha256", late)
    aws.client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=CONTENT)
    assert not put(aws, content)
    aws.client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=OTHER)
    with pytest.raises(UserError, match="is not what its name says"):
        put(aws, content)


def test_a_conflict_is_tried_again_and_decides_nothing(aws, content):
    clock = StoppedClock()
    aws.conflicts = 3
    assert put(aws, content, clock) and content_there(aws) == CONTENT and aws.conflicts == 0
    assert len(clock.waits) == 3 and clock.waits == sorted(clock.waits)


def test_a_conflict_without_an_end_is_told(aws, content):
    clock = StoppedClock()
    aws.conflicts = 1000
    with pytest.raises(UserError, match=r"another upload .* does not end: run this again"):
        put(aws, content, clock)
    assert len(clock.waits) == 9 and sum(clock.waits) > 20


def test_the_code_of_the_public_api_is_proved(aws):
    place = SimpleNamespace(bucket=BUCKET, store=SimpleNamespace(client=aws.client("s3")))
    code = lambda_zip.make()
    aws.client("s3").put_object(Bucket=BUCKET, Key=lambda_zip.key(code), Body=code[:-1] + b"!")
    with pytest.raises(UserError, match="is not what its name says"):
        lambda_zip.send(place, code)
    aws.client("s3").delete_object(Bucket=BUCKET, Key=lambda_zip.key(code))
    assert lambda_zip.send(place, code) and not lambda_zip.send(place, code)
