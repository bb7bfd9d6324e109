"""Trainings that run elsewhere, as they lie in S3: who is at it, how far it is, what it made.

A run is named by its id, the hash of all that determines its result. Below `runs/` of the bucket:

    code/<sha256>.tar.gz              the tracked tree, for all runs that have the same
    weights/<sha256>                  a file of model.weights
    <id>/attempts/<n>.json            the claim of attempt n (1, 2, …): first come, first served; then its machine
    <id>/<n>/status.json              the machine's heartbeat
    <id>/<n>/log/<k>                  what the training printed, as bytes, in pieces numbered from 0
    <id>/<n>/end.json                 written once, when the machine knows how the attempt ended
    <id>/checkpoint/                  the last finished epoch (plantdoc.train.checkpoint)
    <id>/outputs/<sha256>             files of the outputs
    <id>/result.json                  written once, after the outputs: the run is done

Nothing is ever deleted by a machine. Imports no TensorFlow: the commands start in a moment.
"""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from pathlib import Path

from plantdoc.core import hashing, stage
from plantdoc.core.errors import UserError

_READS = 5  # of an answer that breaks off in its body: botocore repeats requests, but not those
_MISSING = ("NoSuchKey", "404", "NotFound")


class Store:
    """Objects below `s3://bucket/runs/`. Keys are relative to that.

    Every method may raise what boto3 does, after it was tried for about a minute (AWS_MAX_ATTEMPTS says how often).
    """

    def __init__(self, bucket: str, session=None, **options):
        from plantdoc.aws import clients  # takes long to import, and the module's names are needed without it

        self.bucket, self.prefix = bucket, "runs/"
        self.client = clients.make("s3", session=session, timeouts=clients.STORAGE, **options)

    def put(self, key: str, body: bytes | dict) -> None:
        """Write an object; a dict as JSON."""
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=_bytes(body))

    def put_new(self, key: str, body: bytes | dict) -> bool:
        """Write an object that is not there yet; returns whether it is now ours.

        Of several writers one succeeds: S3 decides (`If-None-Match: *`). A body that tells its writer from others is
        recognised when an answer was lost on the way and the retry finds it written.
        """
        from plantdoc.aws import conditional_put

        content = _bytes(body)
        written = conditional_put.put_new(self.client, Bucket=self.bucket, Key=self.prefix + key, Body=content)
        return written or self.get(key) == content

    def get(self, key: str) -> bytes | None:
        """An object's bytes; None where there is none."""
        from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

        for left in reversed(range(_READS)):
            try:
                found = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
            try:
                return found["Body"].read()
            except (HTTPClientError, IncompleteReadError):
                if not left:
                    raise

    def read(self, key: str) -> dict | None:
        """A JSON object; None where there is none."""
        found = self.get(key)
        return None if found is None else json.loads(found)

    def upload(self, path: Path, key: str) -> str:
        """Send a file with its SHA-256, which is returned."""
        sha256 = hashing.of_file(path)
        self.client.upload_file(str(path), self.bucket, self.prefix + key, ExtraArgs={"Metadata": {"sha256": sha256}})
        return sha256

    def download(self, key: str, path: Path, sha256: str | None = None) -> bool:
        """Bring an object to the file `path`, whole or not at all; returns whether there is one.

        Raises:
            UserError: its content is not that of `sha256`, or, without one, of the SHA-256 it was sent with.
        """
        from botocore.exceptions import ClientError

        try:
            wanted = sha256 or self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)["Metadata"]["sha256"]
            with stage.replacing(path, folder=False) as file:
                self.client.download_file(self.bucket, self.prefix + key, str(file))
                if hashing.of_file(file) != wanted:
                    raise UserError(f"s3://{self.bucket}/{self.prefix}{key} is damaged: its SHA-256 is not {wanted}")
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return False
            raise
        return True

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._head(key) is not None

    def age(self, key: str) -> float | None:
        """Seconds since the object was written, by S3's own clock; None where there is none."""
        if (found := self._head(key)) is None:
            return None
        now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        return (now - found["LastModified"]).total_seconds()

    def keys(self, below: str = "") -> list[str]:
        """The keys that begin with `below`, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + below)
        return sorted(item["Key"].removeprefix(self.prefix) for page in pages for item in page.get("Contents", ()))

    def folders(self) -> list[str]:
        """The names of the folders right below `runs/`, sorted, without a look into them."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"
        )
        found = (item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ()))
        return sorted(prefix.removeprefix(self.prefix).rstrip("/") for prefix in found)

    def _head(self, key: str) -> dict | None:
        from botocore.exceptions import ClientError

        try:
            return self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise


def _bytes(body: bytes | dict) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"
