"""The endpoint that the public API is to ask."""

from __future__ import annotations

from botocore.exceptions import ClientError

from plantdoc.core.errors import UserError
from plantdoc.remote.aws_context import AwsContext

# What DescribeEndpoint says of one that answers nobody, and will not by itself.
_DEAD = ("Deleting", "Failed", "OutOfService")


def endpoint_status(aws: AwsContext, name: str) -> str:
    """Status of the SageMaker endpoint, like InService.

    Raises:
        UserError: it is not there, or is beyond answering.
    """
    try:
        status = aws.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"]
    except ClientError as error:
        if "Could not find endpoint" not in str(error):
            raise
        raise UserError(
            f"there is no endpoint {name} in {aws.region} for the API to ask: run `make deploy` first, "
            "or set serve.endpoint to one that `make endpoints` lists"
        ) from None
    if status in _DEAD:
        raise UserError(f"the endpoint {name} is {status}: run `make deploy` first, which makes it again")
    return status
