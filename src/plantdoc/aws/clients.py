"""Clients of AWS, as the AWS environment says (profile, region, endpoint), and what AWS refuses in plain words."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

import boto3
import botocore.exceptions as refused
from botocore.config import Config
from botocore.parsers import ResponseParserError

from plantdoc.core.errors import UserError

logging.getLogger("botocore").setLevel(logging.WARNING)  # it tells where it found what, in several lines
_SETTINGS = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN_KEY = {"AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"}
_WRONG_SECRET = {"SignatureDoesNotMatch", "InvalidSignatureException"}
_SKEWED = "RequestTimeTooSkewed"
_DENIED = {"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


class Denied(UserError):
    """These credentials may not do, or may not ask for, something."""


def client(service: str, region: str):
    """A boto3 client that gives up on a silent endpoint after three tries."""
    return boto3.client(service, region_name=region, config=_SETTINGS)


def region(wanted: str | None = None) -> str:
    """`wanted`, or the region of the AWS environment.

    Raises:
        UserError: there is none, or it does not look like one.
    """
    found = wanted or boto3.Session().region_name
    if not found:
        raise UserError("no region: give one (REGION=eu-central-1), or set AWS_DEFAULT_REGION or the profile's region")
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", found):
        raise UserError(f"{found} is not a region of AWS: write it like eu-central-1")
    return found


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
