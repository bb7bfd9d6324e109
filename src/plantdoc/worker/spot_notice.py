"""Spot interruption notice of EC2, two minutes before it takes the instance."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from plantdoc.worker.job import Interrupted

_SECONDS = 2.0  # for an answer, which comes from the machine's own host


def look() -> None:
    """Ask the metadata service (IMDSv2).

    Raises:
        Interrupted: the machine goes.
    """
    try:
        token = _ask("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        found = _ask("meta-data/spot/instance-action", "GET", {"X-aws-ec2-metadata-token": token})
    except OSError:  # 404: no notice; and where there is no answer there is none either
        return
    about = json.loads(found)
    raise Interrupted(f"EC2 takes the spot machine away ({about['action']} at {about['time']})")


def _ask(path: str, method: str, headers: dict[str, str]) -> str:
    url = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
    request = urllib.request.Request(f"{url}/latest/{path}", headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_SECONDS) as answer:
        return answer.read().decode()
