"""The section `fetch` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plantdoc.core.params import Count, Fraction, Root, Section, Whole


class Fetch(Section):
    """Source of the pictures, and treatment of unclean ones."""

    source: Annotated[str, Field(min_length=1)]
    repository: str
    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    limit: Whole
    val_fraction: Annotated[float, Field(ge=0, le=0.5)]
    keep_negatives: bool
    min_box: Count
    max_pixels: Annotated[int, Field(ge=1, le=178_000_000)]  # TensorFlow decodes no larger ones
    max_dropped_fraction: Fraction
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)]
    aliases: dict[str, str]
    licence: str
    attribution: str


class Params(Root):
    """Params of the fetch stage."""

    seed: Whole
    fetch: Fetch
