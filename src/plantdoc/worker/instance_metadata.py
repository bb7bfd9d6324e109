"""The metadata service of EC2 (IMDSv2): which instance this is, and what EC2 announces."""

from __future__ import annotations

import functools
import os
import urllib.request

_SECONDS = 2.0  # for an answer, which comes from the machine's own host


def ask(path: str) -> str:
    """What is at `path` below latest/meta-data/.

    Raises:
        OSError: there is nothing (404), or no answer.
    """
    token = _request("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    return _request(f"meta-data/{path}", "GET", {"X-aws-ec2-metadata-token": token})


@functools.cache
def _instance_id() -> str:
    return ask("instance-id")


def instance_id() -> str | None:
    """Id of this instance; None where the service gives no answer."""
    try:
        return _instance_id()
    except OSError:
        return None


def _request(path: str, method: str, headers: dict[str, str]) -> str:
    url = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
    request = urllib.request.Request(f"{url}/latest/{path}", headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_SECONDS) as answer:
        return answer.read().decode()
