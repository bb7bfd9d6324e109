"""Models and endpoint configs on SageMaker: made by a plan, kept for a way back, deleted when they are too many.

What is known of a version stands in the tags of its config, so that every clone sees the same. `plantdoc:order` counts
the versions that have passed their smoke test, `plantdoc:withdrawn` marks those that were rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass

from plantdoc.aws.tags import PROJECT
from plantdoc.sagemaker.context import Context, as_tags, missing, tags_of
from plantdoc.sagemaker.quality_gate import Score
from plantdoc.sagemaker.spec import Plan


@dataclass(frozen=True)
class EndpointConfig:
    """A config of ours as it is on AWS.

    `order` is None for one that has not passed its smoke test, `instance_type` for a serverless one.
    """

    name: str
    arn: str
    model: str
    serverless: bool
    instance_type: str | None
    tags: dict[str, str]

    @property
    def version(self) -> str:
        return self.tags.get("plantdoc:version", "?")

    @property
    def order(self) -> int | None:
        return int(self.tags["plantdoc:order"]) if "plantdoc:order" in self.tags else None

    @property
    def withdrawn(self) -> bool:
        return self.tags.get("plantdoc:withdrawn") == "yes"

    @property
    def score(self) -> Score | None:
        try:
            low, map50, high = (float(self.tags[f"plantdoc:{key}"]) for key in ("low", "map50", "high"))
            return Score(map50, low, high, int(self.tags.get("plantdoc:pictures", 0)))
        except (KeyError, ValueError):
            return None


def ensure(context: Context, wanted: Plan) -> None:
    """Make the model and the config, unless they are there: names tell their content."""
    if not _there(context.sagemaker.describe_model, ModelName=wanted.model["ModelName"]):
        _create_model(context, wanted)
    if not _there(context.sagemaker.describe_endpoint_config, EndpointConfigName=wanted.name):
        # Not by the SDK: sagemaker.core 3.27 writes a serverless config's fields in a way that the API refuses.
        _unless_there(
            context.sagemaker.create_endpoint_config, "already existing", **wanted.config, Tags=as_tags(wanted.tags)
        )


def all_of(context: Context, endpoint: str) -> list[EndpointConfig]:
    """Our configs for this endpoint, those with the highest order first, untried ones last."""
    found = []
    for page in context.sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=endpoint):
        for each in page["EndpointConfigs"]:
            if not each["EndpointConfigName"].startswith(endpoint):
                continue
            standing = _endpoint_config(context, each["EndpointConfigName"], each["EndpointConfigArn"], endpoint)
            if standing:
                found.append(standing)
    return sorted(found, key=lambda each: (each.order or 0, each.name), reverse=True)


def models_of(context: Context, endpoint: str) -> list[str]:
    """The names of our models for this endpoint."""
    pages = context.sagemaker.get_paginator("list_models").paginate(NameContains=endpoint)
    listed = [each for page in pages for each in page["Models"] if each["ModelName"].startswith(endpoint)]
    return [each["ModelName"] for each in listed if _is_ours(tags_of(context, each["ModelArn"]), endpoint)]


def mark(context: Context, standing: EndpointConfig, **tags: str) -> None:
    """Write `plantdoc:` tags onto a config."""
    values = {f"plantdoc:{key}": value for key, value in tags.items()}
    context.sagemaker.add_tags(ResourceArn=standing.arn, Tags=[{"Key": k, "Value": v} for k, v in values.items()])


def keep_only(context: Context, endpoint: str, kept: set[str]) -> list[str]:
    """Delete our configs of this endpoint but those named, and the models that none of these uses; names what went."""
    gone, used = [], set()
    for standing in all_of(context, endpoint):
        if standing.name in kept:
            used.add(standing.model)
            continue
        _unless_gone(context.sagemaker.delete_endpoint_config, EndpointConfigName=standing.name)
        gone.append(standing.name)
    for model in models_of(context, endpoint):
        if model not in used:
            _unless_gone(context.sagemaker.delete_model, ModelName=model)
            gone.append(model)
    return gone


def _create_model(context: Context, wanted: Plan) -> None:
    from sagemaker.core.resources import Model
    from sagemaker.core.shapes import ContainerDefinition, Tag

    container = wanted.model["PrimaryContainer"]
    _unless_there(
        Model.create,
        "already existing",
        model_name=wanted.model["ModelName"],
        primary_container=ContainerDefinition(
            image=container["Image"], model_data_url=container["ModelDataUrl"], environment=container["Environment"]
        ),
        execution_role_arn=wanted.model["ExecutionRoleArn"],
        tags=[Tag(key=each["Key"], value=each["Value"]) for each in as_tags(wanted.tags)],
        session=context.aws.session,
        region=context.region,
    )


def _endpoint_config(context: Context, name: str, arn: str, endpoint: str) -> EndpointConfig | None:
    from botocore.exceptions import ClientError

    tags = tags_of(context, arn)
    if not _is_ours(tags, endpoint):
        return None
    try:
        (variant,) = context.sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
    except ClientError as error:
        if missing(error):
            return None
        raise
    serverless, instance_type = "ServerlessConfig" in variant, variant.get("InstanceType")
    return EndpointConfig(name, arn, variant["ModelName"], serverless, instance_type, tags)


def _is_ours(tags: dict[str, str], endpoint: str) -> bool:
    return tags.get("project") == PROJECT and tags.get("plantdoc:endpoint") == endpoint


def _there(describe, **which: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        describe(**which)
    except ClientError as error:
        if missing(error):
            return False
        raise
    return True


def _unless_there(create, said: str, **what) -> None:
    """Create it; that another command was faster is no fault."""
    from botocore.exceptions import ClientError

    try:
        create(**what)
    except ClientError as error:
        if said not in error.response.get("Error", {}).get("Message", ""):
            raise


def _unless_gone(delete, **which: str) -> None:
    from botocore.exceptions import ClientError

    try:
        delete(**which)
    except ClientError as error:
        if not missing(error):
            raise
