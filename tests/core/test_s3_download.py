"""Sources in S3, against a server that speaks S3."""

from __future__ import annotations

import fake_s3
import pytest

from plantdoc.core import s3_download
from plantdoc.core.errors import UserError


@pytest.fixture
def bucket(monkeypatch):
    """A client of a server with a bucket named "leaves"."""
    with fake_s3.running(monkeypatch) as client:
        client.create_bucket(Bucket="leaves")
        yield client


def put(client, *keys: str) -> None:
    for key in keys:
        client.put_object(Bucket="leaves", Key=key, Body=key.encode())


def test_a_prefix_becomes_a_folder(bucket, tmp_path):
    keys = [f"data/v1/TRAIN/p {i}%20&+.jpg" for i in range(20)]
    put(bucket, *keys, "data/v1/", "data/v10/other.jpg", "data/v1.txt")
    for url in ("s3://leaves/data/v1", "s3://leaves/data/v1/"):
        to = s3_download.download(url, tmp_path / str(len(url)))
        assert {p.relative_to(to).as_posix(): p.read_text() for p in to.rglob("*") if p.is_file()} == {
            key.removeprefix("data/v1/"): key for key in keys
        }


def test_one_object_becomes_a_file(bucket, tmp_path):
    put(bucket, "data/leaves.zip", "data/leaves.zip.md5")
    assert s3_download.download("s3://leaves/data/leaves.zip", tmp_path / "x").read_text() == "data/leaves.zip"


@pytest.mark.parametrize("url", ["s3://leaves/nothing/here", "s3://elsewhere/x", "s3:///x"])
def test_what_is_not_there_is_named(url, bucket, tmp_path):
    with pytest.raises(UserError, match=url):
        s3_download.download(url, tmp_path / "x")


def files(folder) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_markers_of_folders_are_no_files(bucket, tmp_path):
    for marker in ("k", "k/", "k/train", "k/train/deep/", "k/empty.txt"):
        bucket.put_object(Bucket="leaves", Key=marker, Body=b"")
    put(bucket, "k/train/x.jpg", "k/train/deep/y.jpg")
    found = {"train/x.jpg": "k/train/x.jpg", "train/deep/y.jpg": "k/train/deep/y.jpg", "empty.txt": ""}
    for url in ("s3://leaves/k", "s3://leaves/k/"):
        to = s3_download.download(url, tmp_path / str(len(url)))
        assert files(to) == found


def test_a_name_longer_than_file_systems_take_is_shortened_alike_for_a_picture_and_its_label(bucket, tmp_path):
    # As keys of S3 go: 1,024 bytes in all.
    names = [f"{letter * 130}{suffix}" for letter in "éö" for suffix in (".jpg", ".txt")]
    put(bucket, *(f"p/{name}" for name in names), f"p/{'ü' * 200}/x.jpg")
    to = s3_download.download("s3://leaves/p", tmp_path / "x")
    found = files(to)
    assert sorted(found.values()) == sorted([*(f"p/{name}" for name in names), f"p/{'ü' * 200}/x.jpg"])
    stems = sorted(path.stem for path in to.iterdir() if path.is_file())
    assert stems[0] == stems[1] != stems[2] == stems[3]


def test_keys_that_lead_out_are_refused(bucket, tmp_path):
    put(bucket, "data/../../out.txt")
    with pytest.raises(UserError, match="leads out"):
        s3_download.download("s3://leaves/data", tmp_path / "x")


def test_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(UserError, match=r"s3://leaves/data cannot be read: .*127\.0\.0\.1.*the network"):
        s3_download.download("s3://leaves/data", tmp_path / "x")


def test_without_credentials(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="credentials"):
        s3_download.download("s3://leaves/data", tmp_path / "x")
