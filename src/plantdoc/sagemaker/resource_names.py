"""Names on SageMaker: stable for what they stand for, and within what AWS takes (63 letters, digits and hyphens)."""

from __future__ import annotations

import re

from plantdoc.core import hashing

LONGEST = 63
_DIGITS = 8  # of a hash, at a name's end
VARIANT = "detector"


def of(endpoint: str, version: str, content: object) -> str:
    """The name of a model or config: endpoint, version, and a hash of all that it says, since neither can be changed.

    Equal content has an equal name, so what is there already is found by it.
    """
    end = f"-{hashing.of_value(content)[:_DIGITS]}"
    slug = re.sub("[^a-z0-9]+", "-", version.lower()).strip("-")
    return f"{endpoint}-{slug}"[: LONGEST - len(end)].rstrip("-") + end


def resource(endpoint: str) -> str:
    """Name of the endpoint's instances in application-autoscaling."""
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def alarms(endpoint: str) -> dict[str, str]:
    """The endpoint's alarms by what they watch."""
    return {"errors": f"{endpoint}-errors", "latency": f"{endpoint}-latency"}
