"""Files and folders as Beam's FileSystems know them: here, on S3, on what else the workers of a cluster share."""

# Beam is installed with `make setup BEAM=1` alone.
# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import functools
import io
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

create = functools.partial(FileSystems.create, compression_type=CompressionTypes.UNCOMPRESSED)
reading = functools.partial(FileSystems.open, compression_type=CompressionTypes.UNCOMPRESSED)


def picture(raw: str, source_id: str) -> BinaryIO:
    """A picture, opened; raises OSError whatever kind of place it is in."""
    try:
        if raw.startswith("s3://"):
            bucket, _, prefix = raw.removeprefix("s3://").partition("/")
            return io.BytesIO(_s3().get_object(Bucket=bucket, Key=f"{prefix}/{source_id}")["Body"].read())
        return reading(f"{raw}/{source_id}")
    except Exception as error:  # each kind of place has errors of its own
        raise OSError(str(error)) from error


@functools.cache
def _s3():
    # Beam makes a client for each file it opens, which takes longer than a square.
    import boto3

    return boto3.client("s3")


@contextlib.contextmanager
def scratch(parent: str) -> Iterator[str]:
    """A folder of its own below `parent`, which is gone afterwards."""
    work_folder = f"{parent.rstrip('/')}/.beam-{uuid.uuid4().hex}"
    FileSystems.mkdirs(f"{work_folder}/done")
    try:
        yield work_folder
    finally:
        FileSystems.delete([work_folder if Path(work_folder).is_dir() else f"{work_folder}/"])


def listed(pattern: str) -> list[str]:
    """Paths of the files that fit a pattern with `*`."""
    (found,) = FileSystems.match([pattern])
    return [each.path for each in found.metadata_list]
