"""What S3 keeps about an attempt at a run: who claimed it, its machine, and how it ended."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from plantdoc.core.errors import UserError
from plantdoc.ec2.instances import Instance


class Claim(BaseModel):
    """The object `attempts/<n>.json`; what a newer version of this code adds to it stays there."""

    model_config = ConfigDict(frozen=True, extra="allow")

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
    price: float | None = None  # dollars an hour
    deadline: float | None = None
    # Not in the object before the end.
    ended: float | None = None
    stopped: str | None = None  # by whom and when, where a person ended it on purpose

    @classmethod
    def of(cls, stored: dict, where: str) -> Claim:
        """The claim in the object at `where`.

        Raises:
            UserError: it holds something else.
        """
        try:
            return cls.model_validate(stored)
        except ValidationError as error:
            fault = error.errors()[0]
            raise UserError(
                f"{where} is not the claim of an attempt ({'.'.join(map(str, fault['loc']))}: {fault['msg']}): bring "
                "this clone to the newest version of the code, or delete the object if it was damaged"
            ) from None

    def with_machine(self, machine: Instance, region: str, price: float) -> Claim:
        """The claim after its machine was started."""
        about = {name: getattr(machine, name) for name in ("launched", "type", "zone", "spot", "deadline")}
        return self.model_copy(update=about | {"instance": machine.id, "region": region, "price": price})

    def as_json(self) -> dict:
        """The object."""
        return {name: value for name, value in self if value is not None or name not in ("ended", "stopped")}
