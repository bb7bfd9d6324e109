"""The name of a training, by what determines its result."""

from __future__ import annotations

from plantdoc.core import hashing


def run_id(made_from: dict) -> str:
    """16 hex digits of a record of plantdoc.train.lineage: equal inputs, one run, wherever it is trained."""
    return hashing.of_value(made_from)[:16]
