"""A run from here: take its result, attach to its machine, or start one, again and again until there is an end.

Everything lies in S3 and EC2, nothing here: the same command, from any clone, at any time, takes up where things stand.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from plantdoc.core.errors import UserError
from plantdoc.ec2 import download_outputs, instances, launch, launch_config, local_progress, reconcile, stop, uploads
from plantdoc.ec2.attempts import Attempt, Attempts, beat, facts
from plantdoc.ec2.console import Console
from plantdoc.ec2.interrupts import Interrupts
from plantdoc.ec2.outages import Unreachable
from plantdoc.ec2.watcher import AT_DEADLINE, LAG, Follower
from plantdoc.remote.aws_context import AwsContext
from plantdoc.settings.runner_params import Runner

log = logging.getLogger("plantdoc")
_CLOSE = 60  # seconds before its deadline at which a machine that has gone is taken to have reached it


class Left(Exception):
    """The person left the machine going on."""


class Run:
    """One run, and the attempt at it that this process answers for: the one it started or watches."""

    def __init__(self, place: AwsContext, runner: Runner, run: str, weights: Path | None, interrupts: Interrupts):
        self.place, self.runner, self.run, self.interrupts = place, runner, run, interrupts
        self.attempts, self.screen = Attempts(place.store, run), Console()
        self.goods = uploads.Uploads(place, weights)
        self.local: local_progress.LocalProgress  # there while `finish` runs
        self.base: launch_config.LaunchConfig | None = None
        self.ours: Attempt | None = None
        self.launches = 0
        self.waiting = False

    def finish(self) -> None:
        """Go on until the outputs are in place.

        Raises:
            UserError: the training failed, was stopped, or may not go on; no machine of it is left, but where the text
                says so.
            Left: the person left it going on.
            KeyboardInterrupt: the person ended it; its machine has ended.
        """
        try:
            with local_progress.written(self.run) as self.local:
                self._go_on()
        except KeyboardInterrupt:
            if self.ours and self.ours.instance and self.interrupts.leave_it():
                raise Left(reconcile.how_to_attach(self.ours)) from None
            self._end(stopped=stop.person())
            raise
        except Unreachable as error:
            raise UserError(f"{error}. {reconcile.how_to_attach(self.ours)}") from None
        except Exception:
            self._end()
            raise
        finally:
            self.screen.clear()

    def _go_on(self) -> None:
        while True:
            if result := self.place.store.read(f"{self.run}/result.json"):
                return self._take(result)
            attempt = next(reversed(self.attempts.all()), None)
            if attempt and not attempt.over:
                self._take_up(attempt)
            else:
                self._begin(attempt.n + 1 if attempt else 1)

    def _take_up(self, attempt: Attempt) -> None:
        """Do with an attempt that is not over what its state wants."""
        found = [each for each in instances.find(self.place.ec2, self.run) if each.attempt == attempt.n]
        machine = next((each for each in found if each.id == attempt.instance), found[-1] if found else None)
        attempt = reconcile.adopted(self.place, self.attempts, attempt, machine)
        if end := self.attempts.end(attempt):
            self._close(attempt, machine, end)
        elif machine and machine.alive:
            self._follow(attempt, machine)
        elif machine:
            self._lost(attempt, machine)
        elif not attempt.instance:
            self._wait(attempt)
        elif time.time() - attempt.claim["launched"] < LAG:
            time.sleep(beat())  # EC2 does not show it yet
        else:
            self._lost(attempt, None)

    def _wait(self, attempt: Attempt) -> None:
        """Somebody else is about to start a machine, or was."""
        if self.attempts.abandoned(attempt):
            log.info("ec2: whoever began attempt %d is gone and started no machine", attempt.n)
            self.attempts.settle(attempt)
            return
        if not self.waiting:
            log.info("ec2: attempt %d is being started elsewhere, waiting for its machine", attempt.n)
            self.waiting = True
        time.sleep(beat())

    def _begin(self, n: int) -> None:
        """Claim the next attempt and start its machine."""
        if self.launches == self.runner.max_attempts:
            raise UserError(
                f"runner.max_attempts = {self.launches}: as many machines were taken away, one after another; the same "
                "command goes on from the last epoch, with runner.spot=false nobody takes the machine away"
            )
        self.base = self.base or launch_config.find(self.place, self.runner)
        code, weights = self.goods.send()
        spent = sum(each.dollars() for each in self.attempts.all())
        if not (attempt := self.attempts.claim(n, code)):
            return
        self.ours = attempt
        order = launch.Order(self.run, code, weights, spent)
        launch.launch(
            self.place,
            self.runner,
            self.base,
            order,
            attempt,
            alive=lambda: self.attempts.renew(attempt),
            record=self._record,
            held=self.interrupts.held,
        )
        if self.ours and not self.ours.instance:
            self.ours = None  # another has taken over

    def _record(self, machine: instances.Machine, price: float) -> None:
        """Write down a machine that was just started; where another took over meanwhile, end it."""
        attempt, self.launches = self.ours, self.launches + 1
        assert attempt is not None  # `_begin` has claimed it
        # What S3 may refuse to take, this process knows.
        self.ours = Attempt(self.run, attempt.n, attempt.claim | facts(machine, self.place.region, price))
        if self.attempts.lost(attempt):
            instances.end(self.place.ec2, [machine.id])
            self.ours = None
        else:
            self.attempts.write(attempt, **facts(machine, self.place.region, price))

    def _follow(self, attempt: Attempt, machine: instances.Machine) -> None:
        """Watch the attempt until there is news, and act on what only a watcher is told."""
        about, self.ours = attempt.claim, attempt
        log.info(
            "ec2: machine %s: %s in %s, %s, $%.4f an hour; ends by itself by %s",
            *(machine.id, machine.type, machine.zone, "spot" if machine.spot else "on demand", about["price"]),
            time.strftime("%H:%M", time.localtime(about["deadline"])),
        )
        self.local.attempt(attempt, [each for each in self.attempts.all() if each.n < attempt.n])
        follower = Follower(self.place, self.attempts, attempt, self.screen, self.local.status)
        follower.until_news()
        now = reconcile.final_state(self.attempts, attempt, follower.machine)
        if now.claim.get("stopped"):
            self.ours = None
            raise UserError(
                f"the run was stopped by {now.claim['stopped']}; the same command goes on from the last epoch"
            )
        # Another watcher may have closed it already; this one is told all the same.
        if now.over and (end := self.attempts.end(attempt)):
            self._close(now, None, end)

    def _close(self, attempt: Attempt, machine: instances.Machine | None, end: dict) -> None:
        """The machine said how it ended: see to it that it does."""
        if machine and machine.costs:
            instances.end(self.place.ec2, [machine.id])
        self.local.ended(self.attempts.settle(attempt, machine))
        self.ours = None
        if end["state"] == "failed":
            raise UserError(
                f"the training failed on its machine: {end.get('reason') or 'no reason given'} (all it printed: "
                f"`python scripts/ec2.py logs {self.run}`)"
            )
        if end["state"] == "interrupted":
            self._refuse_at_deadline(attempt, end["time"])
            log.info("ec2: the machine was taken away: %s", end.get("reason") or "no reason given")

    def _lost(self, attempt: Attempt, machine: instances.Machine | None) -> None:
        """The machine has gone without a last word."""
        if machine and machine.costs:
            instances.end(self.place.ec2, [machine.id])
        attempt = self.attempts.settle(attempt, machine)
        self.local.ended(attempt)
        self.ours = None
        self._refuse_at_deadline(attempt, attempt.claim["ended"])
        why = f" ({machine.reason})" if machine and machine.reason else ""
        log.info("ec2: the machine of attempt %d has gone without a word%s", attempt.n, why)

    def _refuse_at_deadline(self, attempt: Attempt, ended: float) -> None:
        """Whether there is to be more than was allowed is for a person to say, unless there is a result."""
        deadline = attempt.claim.get("deadline")
        if deadline and ended > deadline - _CLOSE and not self.place.store.has(f"{self.run}/result.json"):
            raise UserError(AT_DEADLINE)

    def _take(self, result: dict) -> None:
        """Bring the outputs; then see to it that no machine is left and that the bill is complete."""
        size = download_outputs.outputs(self.place.store, self.run, result)
        attempts = reconcile.closed(self.place, self.attempts)
        for attempt in attempts:
            self.local.ended(attempt)
        entry = download_outputs.cost(result, attempts)
        log.info(
            "ec2: outputs in place, %.1f MB; %s; machines: %d, %.1f min, $%.2f",
            *(size / 1e6, entry["machine"], entry["attempts"], entry["minutes"], entry["dollars"]),
        )

    def _end(self, stopped: str | None = None) -> None:
        """End the machine that this process answers for; a claim without one is given up."""
        attempt, self.ours = self.ours, None
        if attempt:
            self.screen.clear()
            reconcile.give_up(self.place, self.attempts, attempt, self.interrupts, stopped)
