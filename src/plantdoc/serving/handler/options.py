"""The options of a request, `threshold` and `max`, wherever they stand. Standard library alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from plantdoc.serving.handler.refusal import Refused

MAX_DETECTIONS = 1000
NAMES = ("threshold", "max")
_CONTAINERS_OWN = "tfs-"  # attributes by which SageMaker's clients choose a model and a method of its container


@dataclass(frozen=True)
class Options:
    """The least score 0..1 and the largest number of detections that a client asked for; None: the model's own."""

    threshold: float | None = None
    most: int | None = None


NONE = Options()


def read(pairs: Iterable[tuple[str, object]]) -> Options:
    """Read `threshold` (0..1) and `max` (1..MAX_DETECTIONS), as text or as JSON's numbers.

    Raises:
        Refused: 400 for another name or value, and for a name with two values.
    """
    found = NONE
    for name, value in pairs:
        if name == "threshold":
            one = Options(threshold=_number(float, value, name, 0, 1))
        elif name == "max":
            one = Options(most=_number(int, value, name, 1, MAX_DETECTIONS))
        else:
            raise Refused(400, "unknown_option", "the options are threshold and max")
        found = merged(found, one)
    return found


def of_attributes(text: str | None) -> Options:
    """The options in the header X-Amzn-SageMaker-Custom-Attributes, like `threshold=0.5,max=3`.

    Raises:
        Refused: 400, as for `read`.
    """
    pairs = (pair.partition("=") for pair in (text or "").split(",") if pair.strip())
    named = ((name.strip(), value.strip()) for name, _, value in pairs)
    return read((name, value) for name, value in named if not name.startswith(_CONTAINERS_OWN))


def merged(one: Options, other: Options) -> Options:
    """The options of two places of one request.

    Raises:
        Refused: 400 where they contradict each other.
    """
    for name, first, second in zip(NAMES, values(one), values(other), strict=True):
        if first is not None and second is not None and first != second:
            raise twice(name)
    threshold = other.threshold if one.threshold is None else one.threshold
    return Options(threshold, other.most if one.most is None else one.most)


def twice(name: str) -> Refused:
    """Refusal of an option with two values."""
    return Refused(400, "wrong_option", f"{name} is given twice, with different values: send it once")


def values(given: Options) -> tuple[float | None, int | None]:
    """The values in the order of NAMES."""
    return given.threshold, given.most


def _number(kind: type, given: object, name: str, least: float, most: float):
    value = None
    if isinstance(given, str) or (isinstance(given, int | float) and not isinstance(given, bool)):
        with contextlib.suppress(ValueError):
            value = kind(str(given))
    if value is None or not least <= value <= most:
        raise Refused(400, "wrong_option", f"{name} must be a {'whole ' * (kind is int)}number from {least} to {most}")
    return value
