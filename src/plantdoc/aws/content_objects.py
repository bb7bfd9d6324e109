"""Objects in S3 that are named by the SHA-256 of their content: written once, and proved before they are used."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
from pathlib import Path

from plantdoc.aws import conditional_put
from plantdoc.aws.clock import CLOCK, Clock
from plantdoc.core.errors import UserError

_MISSING = ("404", "NoSuchKey", "NotFound")
_CONFLICT = 409
_BLOCK = 1 << 20


def put(s3, bucket: str, key: str, content: Path | bytes, sha256: str, clock: Clock = CLOCK) -> bool:
    """Write the object unless it is there; returns whether this wrote it.

    S3 compares what arrives with `sha256`. What is there already may be anybody's: it is held against `sha256` by the
    checksum that S3 keeps, or read where there is none.

    Args:
        s3: a client.
        bucket: its name.
        key: contains `sha256`, so that equal content has an equal key.
        content: a file, or its bytes; 5 GB at most.
        sha256: of the content, in hex.
        clock: waited by while another write of this key is under way.

    Raises:
        UserError: something else lies under this key, or another write of it does not end.
    """
    there, wrote = _sha256(s3, bucket, key), False
    if there is None:
        wrote = _write(s3, bucket, key, content, sha256, clock)
        there = sha256 if wrote else _sha256(s3, bucket, key)
    if there != sha256:
        raise UserError(
            f"s3://{bucket}/{key} is not what its name says: its SHA-256 is {there or 'unknown, it is gone again'}. "
            "Find out who wrote it, delete it there and run this again"
        )
    return wrote


def _write(s3, bucket: str, key: str, content: Path | bytes, sha256: str, clock: Clock) -> bool:
    """Write the object where there is none; False where there is one by now."""
    from botocore.exceptions import ClientError

    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    proof = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": digest}
    try:
        with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as body:
            return conditional_put.put_new(s3, pause=clock.sleep, Bucket=bucket, Key=key, Body=body, **proof)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != _CONFLICT:
            raise
        raise UserError(f"another upload to s3://{bucket}/{key} does not end: run this again later") from None


def _sha256(s3, bucket: str, key: str) -> str | None:
    """SHA-256 of the object's bytes, in hex; None where there is none."""
    from botocore.exceptions import ClientError

    try:
        about = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        kept = about.get("ChecksumSHA256", "")
        # One of several parts is a checksum of checksums.
        if kept and about.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" and "-" not in kept:
            return base64.b64decode(kept).hex()
        found = hashlib.sha256()
        with contextlib.closing(s3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
            while block := body.read(_BLOCK):
                found.update(block)
        return found.hexdigest()
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return None
        raise
