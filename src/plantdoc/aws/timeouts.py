"""Time-outs of boto3 clients."""

from __future__ import annotations


def patience():
    """Short timeouts of boto3 for a connectivity check: seconds, and one retry."""
    from botocore.config import Config

    return Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 2, "mode": "standard"})
