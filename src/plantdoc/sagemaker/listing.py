"""Endpoints of this project, and all else that it has on SageMaker."""

from __future__ import annotations

from datetime import UTC, datetime

from plantdoc.aws.tags import PREFIX, TAG
from plantdoc.sagemaker import configs, endpoint_lifecycle, resource_names, sagemaker_prices, scaling
from plantdoc.sagemaker.context import Context, tags_of


def endpoints(context: Context) -> list[dict]:
    """Our endpoints, oldest first: name, version, status, age in hours, kind, mAP@50, dollars a day, and where the
    price is known from."""
    rows = []
    for name in named(context):
        if not (state := endpoint_lifecycle.look(context, name)):
            continue
        now = next((each for each in configs.all_of(context, name) if each.name == state.config), None)
        kind, dollars, source = _cost(context, state)
        age = (datetime.now(UTC) - state.created).total_seconds() / 3600 if state.created else None
        rows.append(
            {
                "name": name,
                "version": now.version if now else None,
                "status": state.status,
                "hours": age,
                "kind": kind,
                "map50": now.score.map50 if now and now.score else None,
                "deployed": now.tags.get("plantdoc:deployed") if now else None,
                "dollars_a_day": dollars,
                "price": source,
            }
        )
    return sorted(rows, key=lambda row: -(row["hours"] or 0))


def named(context: Context) -> list[str]:
    """The names of our endpoints."""
    pages = context.sagemaker.get_paginator("list_endpoints").paginate(NameContains=PREFIX)
    listed = [each for page in pages for each in page["Endpoints"] if each["EndpointName"].startswith(PREFIX)]
    return sorted(
        each["EndpointName"] for each in listed if TAG.items() <= tags_of(context, each["EndpointArn"]).items()
    )


def left(context: Context, endpoint: str) -> list[str]:
    """All that is there for this endpoint, a line each."""
    found = [f"endpoint {endpoint}"] if endpoint in named(context) else []
    found += [f"endpoint config {each.name}" for each in configs.all_of(context, endpoint)]
    found += [f"model {name}" for name in configs.models_of(context, endpoint)]
    found += [f"scaling target {name}" for name in scaling.targets(context, endpoint)]
    found += [f"alarm {name}" for name in scaling.alarms(context, endpoint)]
    return found


def _cost(context: Context, state: endpoint_lifecycle.State) -> tuple[str, float | None, str]:
    """Instances of the endpoint, its dollars a day as it is now, and the source of the price."""
    if about := state.variant.get("CurrentServerlessConfig"):
        return f"serverless, {about.get('MemorySizeInMB')} MB", 0.0, "serverless costs nothing while nobody asks"
    kind = _instance_type(context, state.config)
    count = state.variant.get("CurrentInstanceCount", 1)
    price = sagemaker_prices.of(context, kind) if kind else None
    if not price:
        return f"{count} × {kind or '?'}", None, "no price is known"
    return f"{count} × {kind}", 24 * count * price.dollars, price.source


def _instance_type(context: Context, config: str) -> str | None:
    from botocore.exceptions import ClientError

    try:
        found = context.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    except ClientError:
        return None
    return next(
        (
            each.get("InstanceType")
            for each in found["ProductionVariants"]
            if each["VariantName"] == resource_names.VARIANT
        ),
        None,
    )
