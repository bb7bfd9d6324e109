"""Questions to AWS that change nothing, and their answers: what is there, what is missing, what may not be asked."""

from __future__ import annotations

import functools
from typing import Any

from plantdoc.core.errors import UserError


class Unknown(Exception):
    """What a check cannot know before it is tried, and why."""


def is_denied(error: Exception) -> bool:
    """Whether these credentials lack the right to ask."""
    from plantdoc.aws import clients

    return isinstance(error, clients.Denied)


@functools.cache
def session():
    """A session with the credentials of the DVC remote, where that is a bucket, else with those of the environment."""
    from plantdoc.aws import clients
    from plantdoc.remote import dvc_remote

    there = remote()
    with clients.explained():
        return dvc_remote.session(there if there.on_s3 else None)


@functools.cache
def remote():
    """DVC's default remote."""
    from plantdoc.remote import remote_config

    return remote_config.default()


@functools.cache
def runner():
    """The section `runner` of params.yaml."""
    from plantdoc.core import params
    from plantdoc.settings import runner_params

    return params.load(runner_params.Params).runner


@functools.cache
def serve():
    """The section `serve` of params.yaml."""
    from plantdoc.core import params
    from plantdoc.settings import serve_params

    return params.load(serve_params.Params).serve


def region() -> str:
    """The region of trainings and endpoints.

    Raises:
        UserError: there is none.
    """
    from plantdoc.aws import clients

    with clients.explained():
        return clients.region(runner().region or session().region_name)


def bucket() -> str:
    """The bucket of the DVC remote.

    Raises:
        UserError: the remote is a folder.
    """
    there = remote()
    if not there.on_s3:
        raise UserError(f"the DVC remote is the folder {there.url}: `make aws BUCKET=name REGION=region EMAIL=address`")
    return there.url.removeprefix("s3://").partition("/")[0]


def client(service: str):
    """A client that gives up soon."""
    from plantdoc.aws import clients

    return clients.make(service, region(), session=session(), timeouts=clients.PROBE)


def ask(service: str, operation: str, **given: Any) -> dict[str, Any]:
    """The answer of an operation that only reads, or that is a dry run.

    Raises:
        ClientError: AWS refuses what is asked for.
        Denied: these credentials may not ask.
        UserError: AWS cannot be reached or signed in to.
    """
    from botocore.exceptions import ClientError

    from plantdoc.aws import clients

    refused: ClientError | None = None
    with clients.explained():
        asked = client(service)
        method = next(name for name, api in asked.meta.method_to_api_mapping.items() if api == operation)
        try:
            return getattr(asked, method)(**given)
        except ClientError as error:
            if clients.is_of_credentials(error):
                raise
            refused = error
    raise refused


@functools.cache
def stack() -> dict[str, Any] | None:
    """The stack of `make aws` for the remote's bucket; None where there is none."""
    from botocore.exceptions import ClientError

    from plantdoc.aws import clients
    from plantdoc.aws.tags import stack_name

    try:
        return ask("cloudformation", "DescribeStacks", StackName=stack_name(bucket()))["Stacks"][0]
    except ClientError as error:
        if clients.code(error) == "ValidationError" and "does not exist" in str(error):
            return None
        raise


def outputs() -> dict[str, str]:
    """Outputs of the stack.

    Raises:
        Unknown: there is no stack yet.
    """
    found = stack() if remote().on_s3 else None
    if not found:
        raise Unknown("only after `make aws`, which makes what it is about")
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}


def parameter(name: str) -> str | None:
    """A parameter of the stack; None where its template is older and has none."""
    outputs()
    found = stack() or {}
    return next((each["ParameterValue"] for each in found.get("Parameters", ()) if each["ParameterKey"] == name), None)


def make_aws() -> str:
    """The command that makes the stack."""
    return f"`make aws BUCKET={bucket()} REGION={region()} EMAIL=address`"


def forget() -> None:
    """Forget all answers that are kept while the page is made."""
    for kept in (session, remote, runner, serve, stack):
        kept.cache_clear()
