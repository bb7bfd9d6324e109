"""Bundles in the bucket, each once, by its content: bundles/<sha256>/model.tar.gz."""

from __future__ import annotations

from pathlib import Path

from plantdoc.aws import content_objects
from plantdoc.core.errors import UserError
from plantdoc.sagemaker.context import Context

_AT_ONCE = 5 * 10**9  # bytes that S3 takes in one request


def bring(context: Context, archive: Path, sha256: str) -> str:
    """Upload the bundle, unless it is there; returns its S3 address.

    Raises:
        UserError: what lies there is not the bundle.
    """
    key = f"bundles/{sha256}/model.tar.gz"
    size = archive.stat().st_size
    if size > _AT_ONCE:
        raise UserError(f"{archive} is {size / 1e9:.1f} GB, and S3 takes 5 GB in a request: train a smaller model")
    if content_objects.put(context.aws.store.client, context.bucket, key, archive, sha256, context.clock):
        print(f"deploy: uploaded {archive} to s3://{context.bucket}/{key}", flush=True)
    return f"s3://{context.bucket}/{key}"
