"""The environment variables of this project, PLANTDOC_…, as one typed object; docs/environment.md has them as a table.

They say how and where something runs, never what it computes: that is in params.yaml. Shell scripts below infra/worker
and infra/worker/objects.py, which runs before anything is installed, read some of them by themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from plantdoc.core.errors import UserError

PREFIX = "PLANTDOC_"
_KINDS: dict[object, Callable] = {"str": str, "int": int, "float": float, "Path": Path}
_WANTED: dict[object, str] = {"int": "a whole number", "float": "a number"}


@dataclass(frozen=True)
class Environment:
    """Each field is the variable of that name in capitals, after PLANTDOC_; '' and the default mean: not set."""

    # For a person.
    api_key: str = ""  # key of the public API, for `make serve API=`
    beam: str = ""  # options of Apache Beam's runner
    # How often the commands and instances of an EC2 run look and report; tests shorten them.
    beat: float = 5.0
    patience: float = 180.0  # seconds without news after which a launcher is taken to be gone
    # Set by make, for `make doctor`.
    left_out: str = ""
    # Set on an instance by infra/worker/user-data.sh and bootstrap.sh.
    bucket: str = ""
    run_id: str = ""
    attempt: int = 0
    dvc_prefix: str = ""
    weights_sha256: str = ""
    progress: Path = Path()
    # Set for the training on an instance by plantdoc.worker.agent.
    runner: str = ""
    weights: str = ""

    @property
    def trains_for_another(self) -> bool:
        """Whether this process trains on an instance for another computer, which hands over and tells W&B."""
        return self.runner == "local"

    def required(self, *names: str) -> None:
        """Stop where one of these fields is not set.

        Raises:
            UserError: it names the variable.
        """
        for name in names:
            if not self.is_set(name):
                raise UserError(
                    f"{variable(name)} is not set: this runs on an instance, where infra/worker/user-data.sh sets it"
                )

    @staticmethod
    def is_set(name: str) -> bool:
        return variable(name) in os.environ


def variable(name: str) -> str:
    """The variable of a field."""
    return PREFIX + name.upper()


def read() -> Environment:
    """The variables as they are now.

    Raises:
        UserError: one has a value of a wrong kind.
    """
    found = {}
    for each in fields(Environment):
        if text := os.environ.get(variable(each.name)):
            try:
                found[each.name] = _KINDS[each.type](text)
            except ValueError:
                raise UserError(
                    f"{variable(each.name)} = {text!r} is not {_WANTED[each.type]}: set one, or unset it"
                ) from None
    return Environment(**found)
