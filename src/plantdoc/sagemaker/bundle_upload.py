"""Bundles in the bucket, each once, by its content: bundles/<sha256>/model.tar.gz."""

from __future__ import annotations

import base64
from pathlib import Path

from plantdoc.core.errors import UserError
from plantdoc.sagemaker.context import Context

_AT_ONCE = 5 * 10**9  # bytes that S3 takes in one request


def bring(context: Context, archive: Path, sha256: str) -> str:
    """Upload the bundle, unless it is there; returns its S3 address. What is there was checked by S3 on its way in.

    Raises:
        UserError: what lies there is not the bundle.
    """
    from botocore.exceptions import ClientError

    key, s3 = f"bundles/{sha256}/model.tar.gz", context.aws.store.client
    size = archive.stat().st_size
    if size > _AT_ONCE:
        raise UserError(f"{archive} is {size / 1e9:.1f} GB, and S3 takes 5 GB in a request: train a smaller model")
    if (there := _size(s3, context.bucket, key)) is None:
        # S3 compares what arrives with the hash, and writes nothing where they differ.
        digest = base64.b64encode(bytes.fromhex(sha256)).decode()
        try:
            with open(archive, "rb") as body:
                s3.put_object(Bucket=context.bucket, Key=key, Body=body, IfNoneMatch="*", ChecksumSHA256=digest)
        except ClientError as error:
            # Somebody else has just brought the same.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                raise
        there = _size(s3, context.bucket, key)
        print(f"deploy: uploaded {archive} to s3://{context.bucket}/{key}", flush=True)
    if there != size:
        raise UserError(
            f"s3://{context.bucket}/{key} has {there} bytes, {archive} has {size}: delete it there and run this again"
        )
    return f"s3://{context.bucket}/{key}"


def _size(s3, bucket: str, key: str) -> int | None:
    from botocore.exceptions import ClientError

    try:
        return s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return None
        raise
