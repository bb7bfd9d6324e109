"""The trials of a sweep: every combination of the values that params may take, or random draws from them."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from plantdoc.core import params
from plantdoc.core.errors import UserError
from plantdoc.settings import all_params

Trial = dict[str, Any]  # what a trial sets: dotted param → value
_LONGEST = 60  # characters of a readable name


@dataclass(frozen=True)
class Range:
    """All values from `low` to `high`, both among them."""

    low: float
    high: float


Choices = dict[str, list | Range]


def parse(arguments: Sequence[str]) -> Choices:
    """`lr=0.05,0.1` as a list of values, `lr=0.01..0.5` as a Range; a value is a YAML 1.2 scalar, so 1e-5 is a number.

    Raises:
        UserError: an argument has no param or no value, a param comes twice, or a range does not rise.
    """
    choices: Choices = {}
    for argument in arguments:
        key, _, text = argument.partition("=")
        values = [part.strip() for part in text.split(",")]
        if not key or not all(values):
            raise UserError(f"{argument}: write param=value,value, like lr=0.05,0.1, or param=low..high with --draws")
        if key in choices:
            raise UserError(f"{key} is given twice: put all its values into one {key}=…")
        low, dots, high = text.partition("..")
        least, most = _scalar(low), _scalar(high)
        if dots and is_number(least) and is_number(most):
            if least >= most:
                raise UserError(f"{argument}: a range goes from the smaller to the larger number")
            choices[key] = Range(least, most)
        else:
            choices[key] = list(dict.fromkeys(map(_scalar, values)))
    return choices


def combinations(choices: Choices, most: int) -> list[Trial]:
    """The full grid, the last param varying fastest.

    Raises:
        UserError: a Range is among the choices, or there are more than `most` trials.
    """
    axes: list[list] = []
    for key, values in choices.items():
        if isinstance(values, Range):
            raise UserError(f"{key}={values.low}..{values.high} is a range: say with --draws how many trials to draw")
        axes.append(values)
    count = math.prod(map(len, axes))
    if count > most:
        raise UserError(
            f"these are {count} trials, more than {most}: give fewer values, or allow it with --most {count}"
        )
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*axes)]


def draws(choices: Choices, count: int, seed: int, most: int) -> list[Trial]:
    """`count` random trials, less where some come out equal; the same for the same seed, and the first ones of more.

    Fractions are drawn log-uniformly (from a range that starts at 0 or below: uniformly) and have three digits, whole
    numbers and lists uniformly.
    """
    if not 1 <= count <= most:
        raise UserError(f"--draws {count}: choose from 1 to {most}, or allow more with --most")
    trials = [
        {key: _draw(key, values, random.Random(f"{seed} {number} {key}")) for key, values in choices.items()}
        for number in range(count)
    ]
    return [trial for i, trial in enumerate(trials) if trial not in trials[:i]]


def check(trial: Trial, base: dict) -> None:
    """Hold params.yaml's nested values `base`, as the trial changes them, against what is allowed.

    Raises:
        UserError: a param of the trial is unknown, or its value is of a wrong type or out of range.
    """
    values = json.loads(json.dumps(base))
    for key, value in trial.items():
        *sections, last = key.split(".")
        node = values
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise UserError(f"{key} is not a known key: {section} is a value, not a section")
        node[last] = value
    params.check(all_params.Params, values, " ".join(f"{key}={text(value)}" for key, value in trial.items()))


def name(trial: Trial, state: str = "") -> str:
    """`lr-0.05_train.epochs-10`: what the trial sets, as a git ref may be named; `state` is appended.

    A hash takes the place of what is too long or does not fit.
    """
    readable = "_".join(f"{key}-{text(value)}" for key, value in trial.items())
    fits = re.sub(r"[^A-Za-z0-9_+.-]|\.(?=\.)|\.$|\.(?=lock$)", "-", readable)
    if fits != readable or len(fits) > _LONGEST:
        fits = f"{fits[:_LONGEST]}-{hashlib.sha256(readable.encode()).hexdigest()[:8]}"
    return f"{fits}-{state}" if state else fits


def text(value: object) -> str:
    """A value as it is typed: `true`, `1e-05`, `yolov8`."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value has a place on an axis; `true` has none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scalar(text: str) -> object:
    try:
        value = YAML(typ="safe").load(text)
    except YAMLError:
        return text
    return value if isinstance(value, str | int | float) else text


def _draw(key: str, values: list | Range, generator: random.Random) -> object:
    if not isinstance(values, Range):
        return generator.choice(values)
    if _is_whole(key):
        return generator.randint(int(values.low), int(values.high))
    if values.low > 0:
        value = math.exp(generator.uniform(math.log(values.low), math.log(values.high)))
    else:
        value = generator.uniform(values.low, values.high)
    return min(max(float(f"{value:.3g}"), values.low), values.high)


def _is_whole(key: str) -> bool:
    kind: Any = all_params.Params
    for part in key.split("."):
        kind = kind.model_fields[part].annotation
    return kind is int
