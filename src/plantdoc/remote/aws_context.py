"""Where on AWS things are kept and started: the bucket, the account's session, the region."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from plantdoc.aws.run_store import Store
from plantdoc.core.dvc_config import Remote
from plantdoc.core.errors import UserError
from plantdoc.remote import dvc_remote, remote_config

if TYPE_CHECKING:
    import boto3


@dataclass(frozen=True)
class AwsContext:
    """The bucket that DVC's remote is in, the prefix of the remote, and the region that machines start in."""

    where: Remote
    bucket: str
    prefix: str
    session: boto3.Session
    region: str

    @cached_property
    def store(self) -> Store:
        """The runs in the bucket."""
        settings = self.where.settings
        return Store(
            self.bucket, self.session, endpoint_url=settings.get("endpointurl"), verify=settings.get("ssl_verify")
        )

    @cached_property
    def ec2(self):
        """A client of EC2 that gives up on a silent endpoint in about a minute."""
        return self.client("ec2")

    def client(self, service: str, tries: int | None = None):
        """A boto3 client; `tries` of a request, by default a few."""
        from plantdoc.aws import clients

        return clients.make(service, self.region, session=self.session, timeouts=clients.LONG_RUN, tries=tries)


def find(region: str = "") -> AwsContext:
    """The place that the repository in the current directory says; `region` is runner.region, '' for the default.

    Raises:
        UserError: the DVC remote is no bucket, or there is no region.
    """
    there = remote_config.default()
    if not there.on_s3:
        raise UserError(
            f"AWS reaches code, data and models through S3 alone, and the DVC remote is the folder {there.url}: "
            "`make aws BUCKET=name REGION=region EMAIL=address` makes a bucket and sets the remote"
        )
    from plantdoc.aws import clients

    with clients.explained():
        session = dvc_remote.session(there)
        found = clients.region(region or session.region_name)
    bucket, _, prefix = there.url.removeprefix("s3://").rstrip("/").partition("/")
    return AwsContext(there, bucket, prefix, session, found)
