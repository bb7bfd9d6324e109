"""The function's code as AWS takes it: a zip of few files, in the bucket under the hash of its bytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from plantdoc.aws import content_objects
from plantdoc.remote.aws_context import AwsContext

FUNCTION = Path(__file__).with_name("lambda_function.py")
SRC = FUNCTION.parents[2]
# What understands a request: the files of ours that the function imports, which import the standard library alone.
MODULES = (
    "plantdoc/__init__.py",
    "plantdoc/decoder/__init__.py",
    "plantdoc/decoder/file_kind.py",
    "plantdoc/serving/__init__.py",
    "plantdoc/serving/handler/__init__.py",
    "plantdoc/serving/handler/base64_text.py",
    "plantdoc/serving/handler/content_encoding.py",
    "plantdoc/serving/handler/form.py",
    "plantdoc/serving/handler/options.py",
    "plantdoc/serving/handler/refusal.py",
    "plantdoc/serving/handler/request.py",
)
PREFIX = "bundles/api/"  # in the bucket
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def make() -> bytes:
    """The zip; the same code makes the same bytes, on any machine: stored, since compressors differ."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, path in {FUNCTION.name: FUNCTION, **{name: SRC / name for name in MODULES}}.items():
            member = zipfile.ZipInfo(name, _LONG_AGO)
            member.create_system = 3  # Unix, which the rights below are of
            member.external_attr = 0o100644 << 16
            archive.writestr(member, path.read_bytes())
    return file.getvalue()


def key(data: bytes) -> str:
    """Key of the zip in the bucket."""
    return f"{PREFIX}{hashlib.sha256(data).hexdigest()}.zip"


def send(aws: AwsContext, data: bytes) -> bool:
    """Bring the zip to the bucket; returns whether it was not there yet.

    Raises:
        UserError: what lies there is something else, which AWS would run.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    return content_objects.put(aws.store.client, aws.bucket, key(data), data, sha256)


def sent(aws: AwsContext) -> list[str]:
    """Keys of what was ever sent and is still there."""
    pages = aws.store.client.get_paginator("list_objects_v2").paginate(Bucket=aws.bucket, Prefix=PREFIX)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]
