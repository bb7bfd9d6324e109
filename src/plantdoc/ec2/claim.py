"""What S3 keeps about an attempt at a run: who claimed it, its machine, and how it ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

from plantdoc.core.errors import UserError
from plantdoc.ec2.instances import Instance

_KINDS: dict[str, type] = {
    **dict.fromkeys(("token", "code", "instance", "type", "zone", "region", "stopped"), str),
    **dict.fromkeys(("time", "launched", "price", "most", "deadline", "ended"), float),
    "spot": bool,
}
_REQUIRED = ("token", "time", "code")
_LATER = ("most", "ended", "stopped")  # not in the object before they are known


@dataclass(frozen=True)
class Claim:
    """The object `attempts/<n>.json`. No pydantic: `ec2.py ls` answers in less time than importing that takes."""

    token: str  # the launcher's own, random: whose claim it is
    time: float  # when it was claimed, by the launcher's clock; epoch seconds, as all times here
    code: str  # SHA-256 of the archive
    # Of its machine, once it was started.
    instance: str | None = None
    launched: float | None = None
    type: str | None = None
    zone: str | None = None
    region: str | None = None
    spot: bool | None = None
    price: float | None = None  # dollars an hour when it was started
    most: float | None = None  # dollars an hour on demand, which spot never exceeds
    deadline: float | None = None
    ended: float | None = None
    stopped: str | None = None  # by whom and when, where a person ended it on purpose
    unknown: dict[str, Any] = field(default_factory=dict)  # what a newer version of this code wrote: it is kept

    @classmethod
    def of(cls, stored: Any, where: str) -> Claim:
        """The claim in the object at `where`.

        Raises:
            UserError: it holds something else.
        """
        lacking = [name for name in _REQUIRED if not isinstance(stored, dict) or stored.get(name) is None]
        if lacking:
            raise UserError(
                f"{where} is not the claim of an attempt (it has no {lacking[0]}): bring this clone to the newest "
                "version of the code, or delete the object if it was damaged"
            )
        names = {each.name for each in fields(cls)} - {"unknown"}
        known = {name: value for name, value in stored.items() if name in names}
        if wrong := [name for name, value in known.items() if not _fits(name, value)]:
            raise UserError(
                f"{where} is not the claim of an attempt ({wrong[0]} = {known[wrong[0]]!r}): bring this clone to the "
                "newest version of the code, or delete the object if it was damaged"
            )
        return cls(**known, unknown={name: value for name, value in stored.items() if name not in names})

    def with_machine(self, machine: Instance, region: str, price: float, most: float) -> Claim:
        """The claim after its machine was started."""
        about = {name: getattr(machine, name) for name in ("launched", "type", "zone", "spot", "deadline")}
        return replace(self, instance=machine.id, region=region, price=price, most=most, **about)

    def as_json(self) -> dict[str, Any]:
        """The object."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "unknown"}
        return self.unknown | {name: value for name, value in values.items() if value is not None or name not in _LATER}


def _fits(name: str, value: Any) -> bool:
    """Whether a value in the object is of its field's type; times and prices are finite numbers."""
    kind = _KINDS[name]
    if value is None:
        return name not in _REQUIRED
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind)
