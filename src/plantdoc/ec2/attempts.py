"""The attempts at a run: who claimed which, on which machine, how it ended, and what it has cost.

An attempt is claimed by writing its object first. The claim is then overwritten by its launcher with the machine, and
by whoever takes notice of the end with `ended`, an epoch second: such an attempt is over, whatever else it says. Where
a person ended it on purpose, `stopped` says who and when, so that others who wait for the run do not start it again.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from typing import Any

from plantdoc.aws.run_store import Store
from plantdoc.core import environment
from plantdoc.ec2.claim import Claim
from plantdoc.ec2.instances import Instance

_BILLED = 60.0  # seconds; AWS bills each second after the first of these


def patience() -> float:
    """Seconds after which a claim without a machine is taken for that of a launcher that is gone."""
    return environment.read().patience


def beat() -> float:
    """Seconds between two looks at a run."""
    return environment.read().beat


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run, numbered from 1, and its claim as it was read."""

    run: str
    n: int
    claim: Claim

    @property
    def key(self) -> str:
        return f"{self.run}/attempts/{self.n}.json"

    @property
    def folder(self) -> str:
        """Below which the machine writes."""
        return f"{self.run}/{self.n}"

    @property
    def instance(self) -> str | None:
        return self.claim.instance

    @property
    def launched(self) -> float:
        """When its machine was started, or at the earliest could have been."""
        return self.claim.launched or self.claim.time

    @property
    def over(self) -> bool:
        return bool(self.claim.ended)

    def seconds(self, now: float | None = None) -> float:
        """For how long its machine is or was paid for."""
        if not self.instance:
            return 0.0
        ran = (self.claim.ended or now or time.time()) - self.launched
        return max(ran, _BILLED)

    def dollars(self, now: float | None = None) -> float:
        return self.seconds(now) / 3600 * (self.claim.price or 0.0)

    def most_dollars(self) -> float:
        """The most that its machine may have cost: spot is charged at the price of each hour, up to on demand."""
        return self.seconds() / 3600 * (self.claim.most or self.claim.price or 0.0)

    def started(self, machine: Instance, region: str, price: float, most: float) -> Attempt:
        """The attempt after its machine was started, at `price` dollars an hour and `most` on demand."""
        return replace(self, claim=self.claim.with_machine(machine, region, price, most))


class Attempts:
    """The attempts at one run."""

    def __init__(self, store: Store, run: str):
        self.store, self.run = store, run

    def all(self) -> list[Attempt]:
        """Every attempt, oldest first."""
        prefix = f"{self.run}/attempts/"
        names = [key.removeprefix(prefix).removesuffix(".json") for key in self.store.keys(prefix)]
        numbers = sorted(int(name) for name in names if name.isdecimal())
        return [attempt for n in numbers if (attempt := self.find(n))]

    def find(self, n: int) -> Attempt | None:
        """Attempt `n` as it stands now; None where nobody has claimed it.

        Raises:
            UserError: its object in S3 is no claim.
        """
        key = f"{self.run}/attempts/{n}.json"
        stored = self.store.read(key)
        where = f"s3://{self.store.bucket}/{self.store.prefix}{key}"
        return None if stored is None else Attempt(self.run, n, Claim.of(stored, where))

    def read(self, attempt: Attempt) -> Attempt:
        """The attempt as it stands now."""
        return self.find(attempt.n) or attempt

    def claim(self, n: int, code: str) -> Attempt | None:
        """Attempt `n` as ours; None where another was first."""
        attempt = Attempt(self.run, n, Claim(token=uuid.uuid4().hex, time=time.time(), code=code))
        return attempt if self.store.put_new(attempt.key, attempt.claim.as_json()) else None

    def write(self, attempt: Attempt, **values: Any) -> Attempt:
        """The attempt with other `values` in its claim, also in S3."""
        changed = replace(attempt, claim=replace(attempt.claim, **values))
        self.store.put(changed.key, changed.claim.as_json())
        return changed

    def lost(self, attempt: Attempt) -> bool:
        """Whether a claim is ours no more: another has gone on without us, or wrote it in the very same moment.

        AWS lets one of several writers in; other servers that speak S3 are less strict.
        """
        now = self.read(attempt)
        return now.over or now.claim.token != attempt.claim.token

    def renew(self, attempt: Attempt) -> bool:
        """Show that the launcher lives; False where the claim is lost."""
        if self.lost(attempt):
            return False
        self.store.put(attempt.key, attempt.claim.as_json())
        return True

    def abandoned(self, attempt: Attempt) -> bool:
        """Whether a claim without a machine is so old that its launcher must be gone, by S3's clock alone."""
        age = self.store.age(attempt.key)
        return age is not None and age > patience()

    def settle(self, attempt: Attempt, machine: Instance | None = None, stopped: str | None = None) -> Attempt:
        """Take notice that the attempt is over; its end, as well as it is known, ends the bill."""
        attempt = self.read(attempt)
        if attempt.over and not stopped:
            return attempt
        values: dict[str, Any] = {"ended": attempt.claim.ended or self._ended(attempt, machine)}
        if stopped:
            values["stopped"] = stopped
        return self.write(attempt, **values)

    def end(self, attempt: Attempt) -> dict | None:
        """The instance's end.json, where it wrote one."""
        return self.store.read(f"{attempt.folder}/end.json")

    def status(self, attempt: Attempt) -> dict | None:
        """The machine's heartbeat."""
        return self.store.read(f"{attempt.folder}/status.json")

    def _ended(self, attempt: Attempt, machine: Instance | None) -> float:
        now = time.time()
        if not attempt.instance or (machine and machine.costs):
            return now
        if machine and machine.ended:
            return min(now, machine.ended)
        heard = self.end(attempt) or self.status(attempt)
        # Silent machines are billed to their deadline, so that a limit in dollars holds.
        return min(now, heard["time"] if heard else attempt.claim.deadline or now)
