"""Clients of AWS with their time-outs, as the AWS environment says (profile, region, endpoint), and what AWS refuses in
plain words.

Every client of boto3 in this project is made here. What runs alone does without: ec2/reaper.py and
public_api/lambda_function.py as Lambda functions, core/s3_download.py and augment/beam/files.py, since what a stage
depends on does not change with this file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import boto3
import botocore.exceptions as refused
import botocore.session
from botocore.config import Config
from botocore.parsers import ResponseParserError

from plantdoc.core.errors import UserError

logging.getLogger("botocore").setLevel(logging.WARNING)  # it tells where it found what, in several lines
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN_KEY = {"AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"}
_WRONG_SECRET = {"SignatureDoesNotMatch", "InvalidSignatureException"}
_SKEWED = "RequestTimeTooSkewed"
_DENIED = {"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


class Denied(UserError):
    """These credentials may not do, or may not ask for, something."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds until a connection stands and until an answer comes, and requests in all, with back-off between them."""

    connect: float
    read: float
    tries: int
    patient: bool = False  # whether AWS_MAX_ATTEMPTS takes the place of `tries`


CONTROL = Timeouts(connect=5, read=30, tries=3)  # gives up on a silent endpoint
LONG_RUN = Timeouts(connect=5, read=30, tries=5, patient=True)  # of a command that follows something for hours
STORAGE = Timeouts(connect=10, read=60, tries=10, patient=True)  # S3 may be out for about a minute
PROBE = Timeouts(connect=3, read=20, tries=2)  # whether there is an answer at all
# SageMaker gives a model 60 seconds for an answer, and one that slept needs many of them.
INFERENCE = Timeouts(connect=5, read=65, tries=3)
DEPLOYED = Timeouts(connect=60, read=70, tries=5)  # the first question to an endpoint that was just made


def make(
    service: str,
    region: str | None = None,
    *,
    session: boto3.Session | None = None,
    timeouts: Timeouts = CONTROL,
    tries: int | None = None,
    **options,
):
    """A client of boto3.

    Args:
        service: as boto3 names it, like "ec2".
        region: None for that of the session.
        session: of dvc_remote.session; None for the AWS environment's.
        tries: requests in all, in the place of those of `timeouts`.
        options: of boto3's Session.client, like endpoint_url.
    """
    if tries is None:
        tries = int(os.environ.get("AWS_MAX_ATTEMPTS", timeouts.tries)) if timeouts.patient else timeouts.tries
    config = Config(
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
        retries={"mode": "standard", "total_max_attempts": tries},
    )
    return (session or new_session()).client(service, region_name=region, config=config, **options)


def new_session(**options) -> boto3.Session:
    """A session of boto3: whose credentials, and which region by default."""
    return boto3.Session(**options)


def client(service: str, region: str):
    """A client that gives up on a silent endpoint after three tries."""
    return make(service, region)


def region(wanted: str | None = None) -> str:
    """`wanted`, or the region of the AWS environment.

    Raises:
        UserError: there is none, or it does not look like one.
    """
    found = wanted or new_session().region_name
    if not found:
        raise UserError("no region: give one (REGION=eu-central-1), or set AWS_DEFAULT_REGION or the profile's region")
    if not re.fullmatch(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}", found):
        raise UserError(f"{found} is not a region of AWS: write it like eu-central-1")
    return found


def partition(region: str) -> str:
    """The part of AWS that a region belongs to: aws, or aws-cn, aws-us-gov, aws-eusc, … with accounts of their own."""
    try:
        return botocore.session.get_session().get_partition_for_region(region)
    except refused.UnknownRegionError:
        return "aws"


def code(error: refused.ClientError) -> str:
    """AWS's name for what went wrong, like NoSuchBucket; an HTTP status where there is no name."""
    return error.response.get("Error", {}).get("Code", "")


def is_of_credentials(error: refused.ClientError) -> bool:
    """Whether AWS refuses who asks, or when it is asked by this machine's clock, and not what is asked for."""
    return code(error) in (_EXPIRED | _UNKNOWN_KEY | _WRONG_SECRET | _DENIED | {_SKEWED})


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn what AWS refuses, and an AWS that cannot be reached or signed in to, into a UserError with the remedy."""
    try:
        yield
    except refused.ClientError as error:
        kind = Denied if code(error) in _DENIED else UserError
        raise kind(_explain(error)) from None
    except refused.NoCredentialsError:
        raise UserError(
            "no AWS credentials were found: run `aws configure` or `aws sso login`, or set AWS_PROFILE"
        ) from None
    except (refused.SSOError, refused.TokenRetrievalError) as error:
        raise UserError(f"the session of AWS IAM Identity Center has ended ({error}): run `aws sso login`") from None
    except refused.ProfileNotFound as error:
        raise UserError(f"{error}: set AWS_PROFILE to one that `aws configure list-profiles` shows") from None
    except (refused.EndpointConnectionError, refused.HTTPClientError) as error:
        raise UserError(
            f"AWS cannot be reached: {error}; check the network, the region, the proxy and AWS_ENDPOINT_URL"
        ) from None
    except ResponseParserError:
        raise UserError("the endpoint does not answer as AWS does: check AWS_ENDPOINT_URL and the proxy") from None
    except refused.BotoCoreError as error:
        raise UserError(f"{error}: check the credentials and the settings in ~/.aws") from None


def _explain(error: refused.ClientError) -> str:
    name, message = code(error), error.response.get("Error", {}).get("Message", "")
    if name == _SKEWED or (name in _WRONG_SECRET and re.search("not yet current|Signature expired", message)):
        return "this machine's clock is wrong by more than AWS accepts: set it"
    if name in _EXPIRED:
        return "the AWS credentials have expired: run `aws sso login`, or get a new session token"
    if name in _UNKNOWN_KEY:
        return "AWS does not know this access key: check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN or the profile"
    if name in _WRONG_SECRET:
        return "the secret does not belong to the access key: check AWS_SECRET_ACCESS_KEY or the profile"
    if name in _DENIED:
        action = re.search(r"perform: (\S+)", message)
        return (
            f"AWS denies {action[1] if action else error.operation_name}: "
            "ask who looks after the account for this permission, or set AWS_PROFILE to another user"
        )
    return f"AWS refused {error.operation_name}: {message or name}"
