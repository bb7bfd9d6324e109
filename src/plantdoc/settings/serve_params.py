"""The section `serve` of params.yaml, for scripts/deploy.py and scripts/api.py.

It changes no result: no stage reads or tracks it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from plantdoc.core.params import Count, Fraction, Root, Section, Threads
from plantdoc.deploy import deploy_params


class Serve(Section):
    """Serving of a bundle on AWS, by an endpoint on SageMaker and a public API in front of it."""

    min_map50: Fraction
    endpoint: Annotated[str, Field(pattern="^plant-disease-[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
    serverless: bool
    memory_mb: Annotated[int, Field(ge=1024, le=6144, multiple_of=1024)]
    concurrency: Annotated[int, Field(ge=1, le=200)]
    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")]
    min_instances: Count
    max_instances: Count
    invocations_per_instance: Count
    capture_percent: Annotated[int, Field(ge=0, le=100)]
    keep_versions: Count
    api_access: Literal["key", "iam", "open"]
    api_origins: list[Annotated[str, Field(pattern="^https?://[^/ ]+$")]]
    api_rate: Count
    api_burst: Count

    @field_validator("max_instances")
    @classmethod
    def _not_below_min(cls, value: int, info) -> int:
        if value < info.data.get("min_instances", value):
            raise ValueError("must be min_instances or more")
        return value


class Params(Root):
    """Params of serving: `deploy.check_pictures` and `train.threads` are for the test of a new endpoint."""

    MOVED: ClassVar[dict[str, str]] = deploy_params.MOVED

    deploy: deploy_params.Deploy
    train: Threads
    serve: Serve
