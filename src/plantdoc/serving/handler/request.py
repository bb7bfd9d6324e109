"""Requests of clients: a body with one picture, or JSON with several, and two options.

Travels inside the bundle: it needs the standard library and nothing else of ours but
plantdoc.serving.handler.uploaded_image.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from plantdoc.serving.handler.refusal import Refused

TYPES = ("image/jpeg", "image/png", "image/webp")
JSON = "application/json"
MAX_BYTES = 25_000_000  # of a body: what SageMaker takes
MAX_BATCH = 32  # pictures in a body
MAX_DETECTIONS = 1000
_MAX_OBJECTS = 10 * MAX_BATCH  # in JSON; millions of empty ones would become thirty times as many bytes


@dataclass(frozen=True)
class Options:
    """The least score 0..1 and the largest number of detections that a client asked for; None: the model's own."""

    threshold: float | None = None
    most: int | None = None


def pictures(content_type: str, body: bytes) -> tuple[list[bytes | Refused], bool]:
    """The encoded pictures in a body, and whether the answer is a list.

    JSON is TensorFlow Serving's row format: `{"instances": [{"b64": "…"}, …]}`, each of them also as
    `{"image_bytes": {"b64": "…"}}`. What is wrong with one of them takes its place; the others are answered.

    Raises:
        Refused: 413 for a body over MAX_BYTES or more than MAX_BATCH pictures, 415 for another type, 400 for no picture
            or for JSON of another form.
    """
    if len(body) > MAX_BYTES:
        raise too_long(MAX_BYTES)
    kind = content_type.partition(";")[0].strip().lower()
    if kind in TYPES:
        if not body:
            raise Refused(400, "empty", "the body is empty: send a picture")
        return [body], False
    if kind == JSON:
        return [_decoded(instance) for instance in _instances(body)], True
    raise Refused(415, "content_type", f"the content type must be one of {', '.join((*TYPES, JSON))}")


def options(values: Mapping[str, str]) -> Options:
    """Read `threshold` (0..1) and `max` (1..MAX_DETECTIONS).

    Raises:
        Refused: 400 for another name or value.
    """
    for name in values:
        if name not in ("threshold", "max"):
            raise Refused(400, "unknown_option", "the options are threshold and max")
    threshold, most = values.get("threshold"), values.get("max")
    return Options(
        None if threshold is None else _number(float, threshold, "threshold", 0, 1),
        None if most is None else _number(int, most, "max", 1, MAX_DETECTIONS),
    )


def too_long(limit: int) -> Refused:
    """Refusal of a body of more than `limit` bytes."""
    return Refused(413, "too_long", f"the body is larger than {limit / 1e6:g} MB: send fewer or smaller pictures")


def too_many() -> Refused:
    """Refusal of more pictures than are answered at once."""
    return Refused(413, "too_many_pictures", f"more than {MAX_BATCH} pictures: send them in several requests")


def _instances(body: bytes) -> list:
    form = '{"instances": [{"b64": "…"}]}'
    if body.count(b"{") + body.count(b"[") > _MAX_OBJECTS:  # base64 has neither
        raise too_many()
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "not_json", f"the body is not JSON: send {form}") from None
    found = content.get("instances") if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise Refused(400, "wrong_json", f"the JSON has another form: send {form}")
    if not found:
        raise Refused(400, "empty", "instances is empty: send at least one picture")
    if len(found) > MAX_BATCH:
        raise too_many()
    return found


def _decoded(instance: object) -> bytes | Refused:
    if isinstance(instance, dict) and set(instance) == {"image_bytes"}:
        instance = instance["image_bytes"]
    if not (isinstance(instance, dict) and set(instance) == {"b64"} and isinstance(instance["b64"], str)):
        return Refused(400, "wrong_json", 'an instance has another form: send {"b64": "…"}')
    try:
        return base64.b64decode(instance["b64"], validate=True)
    except (binascii.Error, ValueError):
        return Refused(400, "wrong_base64", "an instance is not base64")


def _number(kind: type, text: str, name: str, least: float, most: float):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise Refused(400, "wrong_option", f"{name} must be a {'whole ' * (kind is int)}number from {least} to {most}")
    return value
