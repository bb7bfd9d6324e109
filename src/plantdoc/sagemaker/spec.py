"""Specification of a model and an endpoint config for a bundle, in AWS's own words."""

from __future__ import annotations

from dataclasses import dataclass

from plantdoc.sagemaker import resource_names
from plantdoc.sagemaker.bundle_source import Shipped
from plantdoc.sagemaker.context import Context
from plantdoc.sagemaker.quality_gate import Score
from plantdoc.settings.serve_params import Serve

# AWS has none of the TensorFlow that models are saved by; that this one loads them is shown by
# tests/serving/test_container.py.
TENSORFLOW = "2.20"
_ANY_CPU = "ml.c5.large"  # a serverless endpoint has no type, and the look-up wants one: it tells CPU from GPU images
# Of AWS's container: seconds until an answer is given up, and processes that answer.
_CONTAINER = {"SAGEMAKER_GUNICORN_TIMEOUT_SECONDS": "60", "SAGEMAKER_GUNICORN_WORKERS": "2"}


@dataclass(frozen=True)
class Plan:
    """A model and a config as they are to be: AWS's own words, names included."""

    model: dict
    config: dict
    tags: dict[str, str]

    @property
    def name(self) -> str:
        return self.config["EndpointConfigName"]

    @property
    def serverless(self) -> bool:
        return "ServerlessConfig" in self.config["ProductionVariants"][0]

    @property
    def instance_type(self) -> str | None:
        """None for a serverless endpoint."""
        return self.config["ProductionVariants"][0].get("InstanceType")


def image(region: str, serve: Serve) -> str:
    """Address of AWS's TensorFlow container in the region, without one for GPUs where the type has none."""
    from sagemaker.core import image_uris

    kind = _ANY_CPU if serve.serverless else serve.instance_type
    return image_uris.retrieve("tensorflow", region, version=TENSORFLOW, image_scope="inference", instance_type=kind)


def of(context: Context, serve: Serve, shipped: Shipped, uri: str) -> Plan:
    """Specification for the bundle at `uri`."""
    version, endpoint, score = shipped.version, serve.endpoint, Score.of(shipped.serving)
    model = {
        "PrimaryContainer": {
            "Image": image(context.region, serve),
            "ModelDataUrl": uri,
            "Environment": _CONTAINER | {"MODEL_VERSION": version},
        },
        "ExecutionRoleArn": context.role,
    }
    model_name = resource_names.of(endpoint, version, model)
    variant: dict = {"VariantName": resource_names.VARIANT, "ModelName": model_name}
    if serve.serverless:
        variant["ServerlessConfig"] = {"MemorySizeInMB": serve.memory_mb, "MaxConcurrency": serve.concurrency}
    else:
        variant |= {
            "InstanceType": serve.instance_type,
            "InitialInstanceCount": serve.min_instances,
            "InitialVariantWeight": 1.0,
        }
    config: dict = {"ProductionVariants": [variant]}
    if serve.capture_percent and not serve.serverless:
        config["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": serve.capture_percent,
            "DestinationS3Uri": f"s3://{context.bucket}/capture/{endpoint}",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            # Pictures, which are no text, are kept as base64.
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        }
    tags = {
        "plantdoc:endpoint": endpoint,
        "plantdoc:version": version,
        "plantdoc:bundle": shipped.sha256,
        "plantdoc:map50": f"{score.map50:g}",
        "plantdoc:low": f"{score.low:g}",
        "plantdoc:high": f"{score.high:g}",
        "plantdoc:pictures": str(score.pictures),
    }
    return Plan(
        {"ModelName": model_name} | model,
        {"EndpointConfigName": resource_names.of(endpoint, version, config)} | config,
        tags,
    )
