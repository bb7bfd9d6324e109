"""AWS context of an endpoint: the bucket and region of the DVC remote, the role that `make aws` made, and clients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from plantdoc.aws.clock import CLOCK, Clock
from plantdoc.aws.tags import TAG, stack_name
from plantdoc.core.errors import UserError
from plantdoc.remote import aws_context


@dataclass(frozen=True)
class Context:
    """AWS context of the endpoint, on top of the one that trainings on EC2 use, and the clock that it waits by."""

    aws: aws_context.AwsContext
    clock: Clock = CLOCK

    @property
    def region(self) -> str:
        return self.aws.region

    @property
    def bucket(self) -> str:
        return self.aws.bucket

    @cached_property
    def sagemaker(self):
        return self.aws.client("sagemaker")

    @cached_property
    def runtime(self):
        """For questions to an endpoint; a cold one takes its time."""
        from plantdoc.aws import clients

        return clients.make("sagemaker-runtime", self.region, session=self.aws.session, timeouts=clients.DEPLOYED)

    @cached_property
    def scaling(self):
        return self.aws.client("application-autoscaling")

    @cached_property
    def alarms(self):
        return self.aws.client("cloudwatch")

    @cached_property
    def role(self) -> str:
        """ARN of the role that SageMaker serves with.

        Raises:
            UserError: there is no stack of `make aws`, or it is older than this code.
        """
        from plantdoc.aws import cloudformation

        name = stack_name(self.bucket)
        remedy = f"run `make aws BUCKET={self.bucket} REGION={self.region} EMAIL=address`"
        stack = cloudformation.find(self.aws.client("cloudformation"), name)
        if not stack:
            raise UserError(
                f"there is no stack {name} in {self.region}, and with it no role for SageMaker to serve with: {remedy}"
            )
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}
        if "ServingRole" not in outputs:
            raise UserError(f"the stack {name} is older than this code, it has no ServingRole: {remedy}")
        return outputs["ServingRole"]


def find() -> Context:
    """The ground that the repository in the current directory stands on, in the region of its bucket.

    Raises:
        UserError: the DVC remote is no bucket, or there is no region.
    """
    return Context(aws_context.find())


def tags_of(context: Context, arn: str) -> dict[str, str]:
    """A SageMaker resource's tags; none where it is gone by now."""
    from botocore.exceptions import ClientError

    try:
        pages = context.sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
    except ClientError as error:
        if missing(error):
            return {}
        raise


def missing(error) -> bool:
    """Whether SageMaker says that there is no such thing: it has no error code for that."""
    about = error.response.get("Error", {})
    return about.get("Code") in ("ValidationException", "ValidationError", "ResourceNotFound") and (
        "could not find" in about.get("Message", "").lower() or "does not exist" in about.get("Message", "").lower()
    )


def as_tags(values: dict[str, str]) -> list[dict[str, str]]:
    """Tags as AWS takes them, the project's own among them."""
    return [{"Key": key, "Value": value} for key, value in (TAG | values).items()]
