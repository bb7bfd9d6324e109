"""A server that speaks S3, in this process and all in memory."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer


@contextlib.contextmanager
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Start it, point the AWS tools (also those of child processes) to it, and yield a boto3 client."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield boto3.client("s3")
    urllib.request.urlopen(f"{url}/moto-api/reset", data=b"").close()  # what was stored outlives the server
    server.stop()
