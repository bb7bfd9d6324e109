"""The section `runner` of params.yaml: how and where stages run. It changes no result, so that no stage tracks it.

Stages read single keys of it by models of their own: a new key here is no change of their code.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from plantdoc.augment import augment_params
from plantdoc.core.params import Count, Root, Section, Whole

InstanceType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]


class Runner(Section):
    """Location of train, and engine of augment."""

    kind: Literal["local", "ec2"]
    instance_types: Annotated[list[InstanceType], Field(min_length=1)]
    spot: bool
    on_demand_fallback: bool
    region: str
    zones: list[str]
    image: Annotated[str, Field(pattern="^(ami-[0-9a-f]+|/.+|[a-z][a-z0-9.-]+)$")]
    disk_gb: Annotated[int, Field(ge=30, le=2000)]
    max_hours: Annotated[float, Field(gt=0, le=120)]
    max_dollars: Annotated[float, Field(gt=0)]
    max_attempts: Count
    stall_minutes: Annotated[float, Field(gt=0)]
    tags: dict[str, str]
    augment_workers: Whole
    augment_engine: augment_params.Engine


class Params(Root):
    """Params of the code that starts instances."""

    MOVED: ClassVar[dict[str, str]] = augment_params.MOVED

    runner: Runner
