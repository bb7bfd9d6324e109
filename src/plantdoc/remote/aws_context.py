"""Where on AWS things are kept and started: the bucket, the account's session, the region."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from plantdoc.aws.run_store import Store
from plantdoc.core.errors import UserError
from plantdoc.remote import dvc_remote

if TYPE_CHECKING:
    import boto3

_TRIES = 5  # of a request to EC2, with back-off in between


@dataclass(frozen=True)
class AwsContext:
    """The bucket that DVC's remote is in, the prefix of the remote, and the region that machines start in."""

    where: dvc_remote.Remote
    bucket: str
    prefix: str
    session: boto3.Session
    region: str

    @cached_property
    def store(self) -> Store:
        """The runs in the bucket."""
        settings = self.where.settings
        verify = settings.get("ssl_verify")
        return Store(
            self.bucket,
            self.session,
            endpoint_url=settings.get("endpointurl"),
            verify=False if str(verify).lower() == "false" else verify,
        )

    @cached_property
    def ec2(self):
        """A client of EC2 that gives up on a silent endpoint in about a minute."""
        return self.client("ec2")

    def client(self, service: str, tries: int | None = None):
        """A boto3 client; `tries` of a request, by default a few."""
        from botocore.config import Config

        tries = tries or int(os.environ.get("AWS_MAX_ATTEMPTS", _TRIES))
        settings = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": tries})
        return self.session.client(service, region_name=self.region, config=settings)


def find(region: str = "") -> AwsContext:
    """The place that the repository in the current directory says; `region` is runner.region, '' for the default.

    Raises:
        UserError: the DVC remote is no bucket, or there is no region.
    """
    there = _quick() or dvc_remote.default()
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


def _quick() -> dvc_remote.Remote | None:
    """What `remote.default` says, in a hundredth of the time: from DVC's files of settings, lowest level first.

    None where the remote is no bucket, or the files do not tell.
    """
    import platformdirs
    from configobj import ConfigObj, ConfigObjError

    folders = [
        os.environ.get("DVC_SYSTEM_CONFIG_DIR") or platformdirs.site_config_dir("dvc", "iterative"),
        os.environ.get("DVC_GLOBAL_CONFIG_DIR") or platformdirs.user_config_dir("dvc", "iterative"),
    ]
    merged: dict[str, dict[str, str]] = {}
    for file in (*(Path(folder, "config") for folder in folders), Path(".dvc/config"), Path(".dvc/config.local")):
        try:
            sections = ConfigObj(str(file), encoding="utf-8").dict() if file.is_file() else {}
        except (ConfigObjError, UnicodeDecodeError, OSError):
            return None
        for name, values in sections.items():
            if isinstance(values, dict):
                merged.setdefault(name.strip().lower(), {}).update({key.lower(): v for key, v in values.items()})
    name = merged.get("core", {}).get("remote", "")
    settings = merged.get(f'remote "{name}"', {})
    if not str(settings.get("url", "")).startswith("s3://"):
        return None
    return dvc_remote.Remote(name, settings.pop("url"), {key: str(value) for key, value in settings.items()})
