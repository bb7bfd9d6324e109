"""The section `deploy` of params.yaml."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from plantdoc.core.params import Count, Fraction, Root, Section, Threads, Whole

# Until 7b9b9a6 these stood in `deploy`.
_SERVE = (
    "min_map50 endpoint serverless memory_mb concurrency instance_type min_instances max_instances "
    "invocations_per_instance capture_percent keep_versions api_access api_origins api_rate api_burst"
)
MOVED = {f"deploy.{key}": f"serve.{key}" for key in _SERVE.split()}


class Deploy(Section):
    """Contents and checks of the bundle."""

    check_pictures: Count
    max_pixels: Annotated[int, Field(ge=1, le=178_000_000)]  # TensorFlow decodes no larger ones
    examples: Whole
    behaviour_pictures: Whole
    keeps_mirrored: Fraction
    keeps_light: Fraction
    keeps_shifted: Fraction
    keeps_compressed: Fraction
    keeps_halved: Fraction
    no_leaf: Fraction
    two_leaves: Fraction
    target: Literal["none", "sagemaker"]


class Params(Root):
    """Params of the deploy stage."""

    MOVED: ClassVar[dict[str, str]] = MOVED

    seed: Whole
    deploy: Deploy
    train: Threads
