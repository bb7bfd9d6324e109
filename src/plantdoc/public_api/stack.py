"""The CloudFormation stack of the public API: what it is to be, what it is, and its end."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from plantdoc.aws import cloudformation
from plantdoc.aws.tags import PREFIX, TAG
from plantdoc.core.errors import UserError
from plantdoc.remote.aws_context import AwsContext
from plantdoc.repo import names
from plantdoc.settings.serve_params import Serve

NAME = f"{PREFIX}api"
TEMPLATE = Path(__file__).resolve().parents[3] / "infra/api.yaml"
NO_HASH = "0" * 64  # of no key: for a plan that is not carried out


def new_key() -> str:
    """A key of 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """SHA-256 of the API key."""
    return hashlib.sha256(key.encode()).hexdigest()


def parameters(aws: AwsContext, serve: Serve, code: str, key_hash: str) -> dict[str, str]:
    """The parameters of the template.

    Args:
        place: where it is made.
        serve: the section of params.yaml.
        code: key of the function's zip in the bucket.
        key_hash: of the key that lets in; not used where another access is chosen.

    Raises:
        UserError: an origin is none.
    """
    for origin in serve.api_origins:
        if not names.ORIGIN.fullmatch(origin):
            raise UserError(
                f"serve.api_origins: {origin!r} is no origin of a web page: write it like https://example.org, "
                "without a path and without *"
            )
    return {
        "Endpoint": serve.endpoint,
        "Bucket": aws.bucket,
        "Code": code,
        "Access": serve.api_access,
        "KeyHash": key_hash if serve.api_access == "key" else "",
        "Origins": ",".join(serve.api_origins),
        "Rate": str(serve.api_rate),
        "Burst": str(serve.api_burst),
    }


def plan(client, wanted: dict[str, str]) -> cloudformation.Plan:
    """Change set that makes the stack as `wanted` says."""
    return cloudformation.plan(client, NAME, TEMPLATE.read_text(encoding="utf-8"), wanted, TAG)


def settled(client) -> dict | None:
    """The stack when nothing is under way in it any more; None where there is none.

    Raises:
        UserError: it is stuck.
    """
    stack = cloudformation.find(client, NAME)
    if cloudformation.busy(stack):
        print(f"the stack {NAME} is in {stack['StackStatus']} from an earlier try: waiting", flush=True)
        cloudformation.watch(client, stack["StackId"], cloudformation.events(client, stack["StackId"]))
        stack = cloudformation.find(client, NAME)
    if stack and stack["StackStatus"] == "UPDATE_ROLLBACK_FAILED":
        raise UserError(
            f"the stack {NAME} is stuck after an update that failed: run "
            f"`aws cloudformation continue-update-rollback --stack-name {NAME}`, then this again"
        )
    return stack


def given(stack: dict | None) -> dict[str, str]:
    """The parameters that the stack was made with."""
    return {each["ParameterKey"]: each["ParameterValue"] for each in (stack or {}).get("Parameters", ())}


def url(stack: dict) -> str:
    """The address of the API."""
    return next(each["OutputValue"] for each in stack["Outputs"] if each["OutputKey"] == "Url")


def remove(aws: AwsContext) -> bool:
    """Delete the stack; returns whether there was one. Nothing of the API runs or costs after that."""
    client = aws.client("cloudformation")
    stack = cloudformation.find(client, NAME)
    if not stack:
        return False
    if cloudformation.busy(stack):
        stack = settled(client) or stack
    cloudformation.delete(client, stack)
    return True
