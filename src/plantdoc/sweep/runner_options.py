"""Options that do not define a trial: `runner.*` on a sweep's command line, which say where trials train."""

from __future__ import annotations

from collections.abc import Sequence

from plantdoc.core.errors import UserError
from plantdoc.sweep import child_processes, grid

SECTION = "runner."
WITHOUT_RESULT = (SECTION, "serve.")  # sections that change no result
DATA = "data/tfrecords"  # what all machines read
GRACE = 90.0  # seconds that a command gets to end its machine, over a slow network too


def apart(arguments: Sequence[str], base: dict) -> tuple[list[str], grid.Trial]:
    """The arguments that are axes, and the settings of `runner`, of which each has one value (or is one list).

    Raises:
        UserError: one of `runner` has several values, or none; or an axis is of `serve`.
    """
    axes = [argument for argument in arguments if not argument.startswith(SECTION)]
    if vain := [argument for argument in axes if argument.startswith(WITHOUT_RESULT)]:
        raise UserError(f"{vain[0]}: serve.* changes no result, so there is nothing to try: set it in params.yaml")
    where: grid.Trial = {}
    for key, values in grid.parse([argument for argument in arguments if argument not in axes]).items():
        now = (base.get("runner") or {}).get(key.removeprefix(SECTION))
        if isinstance(now, list):
            where[key] = values
        elif isinstance(values, list) and len(values) == 1:
            where[key] = values[0]
        else:
            raise UserError(f"{key} says where all trials run, which is not in their results: give it one value")
    return axes, where


def on_ec2(where: grid.Trial, base: dict) -> bool:
    """Whether machines on EC2 train."""
    return where.get("runner.kind", (base.get("runner") or {}).get("kind")) == "ec2"


def refuse_unready(where: grid.Trial, base: dict) -> None:
    """Stop where no machine could start, before anything runs here."""
    from plantdoc.remote import aws_context

    aws_context.find(where.get("runner.region", base["runner"]["region"]))


def send_data(lock: int) -> None:
    """Send what all trials have in common, once: each then finds it there."""
    with child_processes.hold(lock) as launch:
        if launch(["dvc", "push", DATA]).wait():
            raise UserError(f"dvc push {DATA} failed, as it says above: no trial was started")


def without(settings: dict[str, object]) -> dict[str, object]:
    """Flat params without those that change no result."""
    return {key: value for key, value in settings.items() if not key.startswith(WITHOUT_RESULT)}


def differing(wanted: dict[str, object], found: dict[str, object]) -> list[str]:
    """The params that are not as `wanted`, but for those that change no result; sorted."""
    return sorted(key for key, value in without(wanted).items() if found.get(key) != value)
