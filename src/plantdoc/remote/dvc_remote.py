"""Where data and models lie beside git: DVC's remote, a bucket or a folder, looked at as DVC itself would reach it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from plantdoc.core import stage
from plantdoc.core.dvc_config import Remote
from plantdoc.core.errors import UserError

_CHUNK = 1 << 20
_PROBE = "probe"  # beside the folders that DVC makes there


def session(remote: Remote | None = None):
    """A boto3 session with the credentials that DVC takes for `remote`; without one, those of the environment."""
    from plantdoc.aws import clients  # a folder does without

    settings = remote.settings if remote else {}
    for key, variable in {"credentialpath": "AWS_SHARED_CREDENTIALS_FILE", "configpath": "AWS_CONFIG_FILE"}.items():
        if key in settings:
            os.environ.setdefault(variable, settings[key])
    return clients.new_session(
        aws_access_key_id=settings.get("access_key_id"),
        aws_secret_access_key=settings.get("secret_access_key"),
        aws_session_token=settings.get("session_token"),
        profile_name=settings.get("profile"),
        region_name=settings.get("region"),
    )


class Bucket:
    """Objects below an `s3://bucket/prefix`. Every method may raise what boto3 does."""

    def __init__(self, remote: Remote):
        self.name, _, self.prefix = remote.url.removeprefix("s3://").rstrip("/").partition("/")
        from plantdoc.aws import clients

        self.client = clients.make(
            "s3",
            session=session(remote),
            timeouts=clients.PROBE,
            endpoint_url=remote.settings.get("endpointurl"),
            verify=remote.settings.get("ssl_verify"),
        )

    def reach(self) -> None:
        """Ask for something that needs the bucket and the right to list it."""
        self.client.list_objects_v2(Bucket=self.name, Prefix=self._key(""), MaxKeys=1)

    def try_to_write(self) -> None:
        """Begin an upload and break it off: the right to write is shown, and nothing is left behind."""
        upload = self.client.create_multipart_upload(Bucket=self.name, Key=self._key(_PROBE))
        self.client.abort_multipart_upload(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"])

    def read(self, key: str) -> Iterator[bytes]:
        """The object's bytes in pieces; FileNotFoundError where there is none."""
        from botocore.exceptions import ClientError

        try:
            body = self.client.get_object(Bucket=self.name, Key=self._key(key))["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise FileNotFoundError(key) from None
            raise
        yield from body.iter_chunks(_CHUNK)

    def put(self, file: Path, key: str) -> None:
        with open(file, "rb") as body:
            self.client.put_object(Bucket=self.name, Key=self._key(key), Body=body)

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key


class Folder:
    """The same for a folder. Every method may raise OSError."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def reach(self) -> None:
        os.listdir(self.path)

    def try_to_write(self) -> None:
        """Write and remove a file, where the folder is or would be made."""
        there = next(path for path in (self.path, *self.path.parents) if path.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"probe")

    def read(self, key: str) -> Iterator[bytes]:
        with open(self.path / key, "rb") as file:
            while piece := file.read(_CHUNK):
                yield piece

    def put(self, file: Path, key: str) -> None:
        with stage.replacing(self.path / key, folder=False) as target:
            shutil.copyfile(file, target)


@contextlib.contextmanager
def opened(remote: Remote) -> Iterator[Bucket | Folder]:
    """Yield the remote's storage; whatever it refuses meanwhile becomes one UserError with the remedy."""
    if not remote.on_s3:
        try:
            yield Folder(remote.url)
        except OSError as error:
            raise UserError(f"the remote {remote.url}: {_explain(error, remote)}") from None
        return
    from botocore.exceptions import ClientError

    from plantdoc.aws import clients

    try:
        with clients.explained():
            try:
                yield Bucket(remote)
            except ClientError as error:
                if clients.code(error) != "NoSuchBucket":
                    raise
                raise UserError(
                    "there is no such bucket: check the url in .dvc/config, or make it with `make aws BUCKET=name "
                    "REGION=region EMAIL=address`"
                ) from None
    except UserError as error:
        raise UserError(f"the remote {remote.url}: {error}") from None


def _explain(error: OSError, remote: Remote) -> str:
    elsewhere = f"`dvc remote modify --local {remote.name} url FOLDER`"
    if isinstance(error, FileNotFoundError):
        return f"not there: `make push` in the clone that has the data makes it; if it is elsewhere, {elsewhere}"
    return f"{error.strerror or error}: mend that, or choose another folder with {elsewhere}"
