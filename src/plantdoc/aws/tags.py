"""Tag and names of all that this project makes on AWS; rights in infra/*.yaml are limited to them."""

from __future__ import annotations

# src/plantdoc/ec2/reaper.py repeats it: that file alone is what AWS runs.
PROJECT = "plant-disease-detector"
TAG = {"project": PROJECT}
PREFIX = "plant-disease-"  # of names


def stack_name(bucket: str) -> str:
    """The stack that `make aws` makes for a bucket; a name of its own, so that an account can hold several."""
    return PREFIX + bucket
