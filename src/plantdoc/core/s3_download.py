"""Files from S3, by prefix or one by one. Credentials, region and endpoint are found the way the AWS tools do it."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from plantdoc.core import file_names
from plantdoc.core.errors import UserError

_CONNECTIONS = 16
_LONGEST = 255 - 9  # bytes of a file name; boto3 adds `.` and eight characters while it downloads


def download(url: str, to: Path) -> Path:
    """Bring `s3://bucket/key` to the file, or all below `s3://bucket/prefix` to the folder `to`, and return its path.

    Raises:
        UserError: no credentials, no access, no such bucket, nothing there, no network, or not enough disk space.
    """
    import boto3  # only this source needs it
    from boto3.exceptions import Boto3Error
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    try:
        settings = Config(connect_timeout=10, retries={"max_attempts": 3}, max_pool_connections=_CONNECTIONS)
        client = boto3.client("s3", config=settings)
        sizes = _list(client, bucket, prefix)
        if not sizes:
            raise UserError(f"{url} holds nothing: check the bucket and the name in it (s3://bucket/prefix)")
        free = shutil.disk_usage(to.parent).free
        if sum(sizes.values()) > free:
            raise UserError(f"{url} is {sum(sizes.values()) / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB left")
        targets = {key: _target(to, key, prefix) for key in sizes}
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        with (
            tqdm(total=sum(sizes.values()), desc="download", unit="B", unit_scale=True, dynamic_ncols=True) as bar,
            ThreadPoolExecutor(_CONNECTIONS) as pool,
        ):
            jobs = [
                pool.submit(client.download_file, bucket, key, str(target), Callback=bar.update)
                for key, target in targets.items()
            ]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except (BotoCoreError, Boto3Error, ClientError, ValueError) as error:
        raise UserError(f"{url} cannot be read: {error}; check the name, the credentials and the network") from None
    return to


def _list(client, bucket: str, prefix: str) -> dict[str, int]:
    """Key and size of the object `prefix`, or of all objects in the folder of that name."""
    sizes: dict[str, int] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        sizes |= {item["Key"]: item["Size"] for item in page.get("Contents", ())}
    inside = prefix if not prefix or prefix.endswith("/") else prefix + "/"
    below = {key: size for key, size in sizes.items() if key.startswith(inside) and not key.endswith("/")}
    # An object of no bytes named like a folder is what consoles and file managers make of one.
    folders = {key[:i] for key in below for i, c in enumerate(key) if c == "/"}
    if prefix in sizes and not prefix.endswith("/") and not (below and sizes[prefix] == 0):
        return {prefix: sizes[prefix]}
    return {key: size for key, size in below.items() if not (size == 0 and key in folders)}


def _target(to: Path, key: str, prefix: str) -> Path:
    if key == prefix:
        return to
    parts = PurePosixPath(key.removeprefix(prefix).lstrip("/")).parts
    if not parts or ".." in parts:
        raise UserError(f"the S3 key {key!r} leads out of the folder it would be downloaded to: rename it")
    return to.joinpath(*(file_names.shortened(part, _LONGEST) for part in parts))
