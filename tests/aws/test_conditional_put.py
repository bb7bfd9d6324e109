"""A conditional write: 412 alone says that the object is there, 409 is asked again."""

from __future__ import annotations

import io

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from plantdoc.aws import conditional_put, run_store

PUT = {"Bucket": "leaves", "Key": "runs/a/result.json", "Body": b"{}"}


@pytest.fixture
def s3():
    return boto3.client("s3", "us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")


@pytest.fixture
def answers(s3):
    """A function that lets S3 answer PutObject with these statuses, one after another."""
    with Stubber(s3) as stub:

        def prepare(*statuses: int) -> None:
            codes = {409: "ConditionalRequestConflict", 412: "PreconditionFailed", 403: "AccessDenied"}
            for status in statuses:
                expected = PUT | {"IfNoneMatch": "*"}
                if status == 200:
                    stub.add_response("put_object", {}, expected)
                else:
                    stub.add_client_error(
                        "put_object", codes[status], http_status_code=status, expected_params=expected
                    )

        yield prepare
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("statuses", "written"),
    [([200], True), ([412], False), ([409, 409, 200], True), ([409, 412], False), ([409] * 9 + [200], True)],
)
def test_a_conflict_decides_nothing(s3, answers, statuses, written):
    answers(*statuses)
    pauses = []
    assert conditional_put.put_new(s3, pause=pauses.append, **PUT) == written
    assert len(pauses) == statuses.count(409) and all(0 < pause <= 10 for pause in pauses)


@pytest.mark.parametrize(("statuses", "code"), [([403], "AccessDenied"), ([409] * 10, "ConditionalRequestConflict")])
def test_other_refusals_and_a_conflict_without_end_are_errors(s3, answers, statuses, code):
    answers(*statuses)
    with pytest.raises(ClientError, match=code):
        conditional_put.put_new(s3, pause=lambda seconds: None, **PUT)


def test_a_file_is_sent_from_where_it_began(s3, monkeypatch):
    sent = []

    def put_object(**given: object) -> None:
        sent.append(given["Body"].read())
        if len(sent) < 3:
            error = {"Error": {"Code": "ConditionalRequestConflict"}, "ResponseMetadata": {"HTTPStatusCode": 409}}
            raise ClientError(error, "PutObject")

    monkeypatch.setattr(s3, "put_object", put_object)
    body = io.BytesIO(b"head body")
    body.seek(5)
    assert conditional_put.put_new(s3, pause=lambda seconds: None, Bucket="b", Key="k", Body=body)
    assert sent == [b"body"] * 3


def test_the_run_store_writes_after_a_conflict_that_came_to_nothing(s3, answers, monkeypatch):
    """The object is not there at the time of the conflict: read then, it would be another's."""
    monkeypatch.setattr(conditional_put.time, "sleep", lambda seconds: None)
    store = run_store.Store.__new__(run_store.Store)
    store.bucket, store.prefix, store.client = "leaves", "runs/", s3
    answers(409, 200)
    assert store.put_new("a/result.json", b"{}")
