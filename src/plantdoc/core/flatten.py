"""Nested values by dotted keys, as DVC names params: `train.epochs`."""

from __future__ import annotations

from typing import Any


def flat(values: dict, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, in their order; an empty mapping leaves nothing."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
