"""An S3 bucket as a whole: whose it is, how much it holds, and emptying it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from botocore.exceptions import ClientError
from tqdm import tqdm

from plantdoc.aws import clients
from plantdoc.aws.tags import PROJECT, TAG
from plantdoc.core.errors import UserError

_AT_ONCE = 1000  # versions that S3 deletes in one request


@dataclass(frozen=True)
class Contents:
    """Contents of a bucket: objects as they are now, older versions with delete marks, and the bytes of all."""

    objects: int
    versions: int
    size: int

    def __bool__(self) -> bool:
        return bool(self.objects + self.versions)

    def __str__(self) -> str:
        size = tqdm.format_sizeof(self.size, "B")
        return f"objects: {self.objects}, old versions: {self.versions}, {size}"


def check_name(name: str) -> str:
    """`name`, if S3 takes it for a bucket.

    Raises:
        UserError: S3 would not, or only without TLS.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name):
        raise UserError(
            f"{name!r} is not a name for a bucket: 3 to 63 small letters, digits and hyphens, "
            "the first and the last no hyphen (dots do not go with TLS)"
        )
    if name.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or name.endswith(("-s3alias", "--x-s3")):
        raise UserError(f"{name!r} is not a name for a bucket: S3 keeps this beginning or end for itself")
    return name


def find(s3, name: str) -> str | None:
    """The region of our bucket of this name; None where the name is free.

    Raises:
        UserError: the bucket is there and belongs to another account or another purpose.
    """
    try:
        region = s3.head_bucket(Bucket=name).get("BucketRegion", s3.meta.region_name)
    except ClientError as error:
        if clients.code(error) in ("404", "NoSuchBucket"):
            return None
        if clients.code(error) in ("403", "AccessDenied"):
            raise UserError(
                f"the bucket {name} belongs to another account, or your credentials may not see it: "
                "names are shared by everyone on S3, choose another one"
            ) from None
        raise
    if not TAG.items() <= _tags(s3, name).items():
        raise UserError(
            f"the bucket {name} was not made by this project (no tag project={PROJECT}), so nothing is done "
            "with it: give another name"
        )
    return region


def contents(s3, name: str) -> Contents:
    """Count what is in the bucket; lists 1,000 versions a request."""
    objects = versions = size = 0
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        found = page.get("Versions", ())
        current = sum(version["IsLatest"] for version in found)
        objects += current
        versions += len(found) - current + len(page.get("DeleteMarkers", ()))
        size += sum(version["Size"] for version in found)
    return Contents(objects, versions, size)


def empty(s3, name: str, held: Contents) -> None:
    """Delete all versions of all objects for good, with a progress line; can be interrupted and run again.

    Raises:
        UserError: S3 kept some.
    """
    with tqdm(total=held.objects + held.versions, desc="empty", unit=" versions", dynamic_ncols=True) as bar:
        # From the front each time: what was there is gone.
        while found := _some_versions(s3, name):
            kept = s3.delete_objects(Bucket=name, Delete={"Objects": found, "Quiet": True}).get("Errors", ())
            if kept:
                raise UserError(
                    f"S3 kept {len(kept)} versions in {name}, the first {kept[0]['Key']}: {kept[0].get('Message')}; "
                    "mend that and run it again"
                )
            bar.update(len(found))


def delete(s3, name: str) -> None:
    """Delete the empty bucket; nothing happens where there is none.

    Raises:
        UserError: something was put into it meanwhile.
    """
    try:
        s3.delete_bucket(Bucket=name)
    except ClientError as error:
        if clients.code(error) == "BucketNotEmpty":
            raise UserError(f"the bucket {name} got new objects and was not deleted: run it again") from None
        if clients.code(error) != "NoSuchBucket":
            raise


def _some_versions(s3, name: str) -> list[dict[str, str]]:
    """As many versions and delete marks as S3 deletes in one request."""
    page = s3.list_object_versions(Bucket=name, MaxKeys=_AT_ONCE)
    found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
    return [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in found]


def _tags(s3, name: str) -> dict[str, str]:
    try:
        return {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=name)["TagSet"]}
    except ClientError as error:
        if clients.code(error) == "NoSuchTagSet":
            return {}
        raise
