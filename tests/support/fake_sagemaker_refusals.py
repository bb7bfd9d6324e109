"""Texts and figures of what SageMaker refuses for an account's quotas, and of endpoints that are still cold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from fake_ec2_rules import Refused

MEMORY = "Memory size in MB per serverless endpoint"
CONCURRENCY = "Maximum total concurrency that can be allocated across all serverless endpoints"
# Of a cold endpoint: status, code and text.
COLD = {
    "not ready": (
        429,
        "ModelNotReadyException",
        "Model for endpoint {name} variant detector is not ready for inference yet.",
    ),
    "throttled": (429, "ThrottlingException", "Rate exceeded"),
    "unavailable": (503, "ServiceUnavailable", "The service is unavailable. Try your call again."),
    "timed out": (
        424,
        "ModelError",
        'Received server error (0) from primary with message "Your invocation timed out while waiting for a response '
        "from container primary. Review the latency metrics for each container in Amazon CloudWatch, resolve the "
        'issue, and try again.".',
    ),
}


@dataclass
class Quotas:
    """Quotas of an account, as new ones have them where that is known.

    `memory`: MB of a serverless endpoint; `concurrency`: of all serverless endpoints together; `instances`: by type,
    for endpoints; others have `others`.
    """

    memory: int = 3072
    concurrency: int = 200
    instances: dict[str, int] = field(default_factory=dict)
    others: int = 50

    def check(self, variant: dict, running: Iterable[dict]) -> None:
        """Refuse the variant where it does not fit beside what runs.

        Args:
            variant: a ProductionVariant.
            running: those of all endpoints; of one that is updated, too, whose instances end after the new ones began.

        Raises:
            Refused: ResourceLimitExceeded.
        """
        running = list(running)
        if serverless := variant.get("ServerlessConfig"):
            _fits(MEMORY, self.memory, 0, serverless["MemorySizeInMB"], "MBs")
            used = sum(each["ServerlessConfig"]["MaxConcurrency"] for each in running if each.get("ServerlessConfig"))
            _fits(CONCURRENCY, self.concurrency, used, serverless["MaxConcurrency"], "Units")
            return
        kind = variant["InstanceType"]
        used = sum(each["InitialInstanceCount"] for each in running if each.get("InstanceType") == kind)
        limit = self.instances.get(kind, self.others)
        _fits(f"{kind} for endpoint usage", limit, used, variant["InitialInstanceCount"], "Instances")


def _fits(quota: str, limit: int, used: int, more: int, unit: str) -> None:
    if used + more > limit:
        raise Refused(
            "ResourceLimitExceeded",
            f"The account-level service limit '{quota}' is {limit} {unit}, with current utilization of {used} {unit} "
            f"and a request delta of {more} {unit}. Please use AWS Service Quotas to request an increase for this "
            "quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota.",
        )


def error(status: int, code: str, message: str, more: dict | None = None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an error of sagemaker-runtime."""
    body = {"Message": message, "message": message, "ErrorCode": code} | (more or {})
    return status, {"Content-Type": "application/json", "x-amzn-ErrorType": code}, json.dumps(body).encode()


def cold(kind: str, name: str) -> tuple[int, dict[str, str], bytes]:
    """The answer of a cold endpoint, by a key of COLD."""
    status, code, text = COLD[kind]
    more = {"OriginalStatusCode": 0, "OriginalMessage": text} if code == "ModelError" else None
    return error(status, code, text.format(name=name), more)


def oversize(serverless: bool) -> tuple[int, dict[str, str], bytes]:
    """The answer to a body above the limit; that of a serverless endpoint has no words of a size in it."""
    if serverless:
        return error(400, "ValidationError", "Request 9a8b7c6d-0000-4000-8000-123456789abc has oversize body.")
    text = (
        "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length less than"
    )
    return error(400, "ValidationError", f"{text} or equal to 26214400")
