"""A run from here: take its result, attach to its machine, or start one, again and again until there is an end.

Everything lies in S3 and EC2, nothing here: the same command, from any clone, at any time, takes up where things stand.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from plantdoc.core.errors import UserError
from plantdoc.ec2 import (
    download_outputs,
    instances,
    launch,
    launch_config,
    launch_failures,
    local_progress,
    reconcile,
    result_origin,
    stop,
    uploads,
)
from plantdoc.ec2.attempts import Attempt, Attempts, beat
from plantdoc.ec2.console import Console
from plantdoc.ec2.interrupts import Interrupts
from plantdoc.ec2.outages import Unreachable
from plantdoc.ec2.terminate import Unconfirmed, terminate
from plantdoc.ec2.watcher import AT_DEADLINE, LAG, Follower
from plantdoc.remote.aws_context import AwsContext
from plantdoc.settings.runner_params import Runner

log = logging.getLogger("plantdoc")
_CLOSE = 60  # seconds before its deadline at which a machine that has gone is taken to have reached it


class Left(Exception):
    """The person left the machine going on."""


class Run:
    """One run, and the attempt at it that this process answers for: the one it started or watches."""

    def __init__(self, aws: AwsContext, runner: Runner, run: str, weights: Path | None, interrupts: Interrupts):
        self.aws, self.runner, self.run, self.interrupts = aws, runner, run, interrupts
        self.attempts, self.console = Attempts(aws.store, run), Console()
        self.uploads = uploads.Uploads(aws, weights)
        self.local: local_progress.LocalProgress  # there while `finish` runs
        self.base: launch_config.LaunchConfig | None = None
        self.ours: Attempt | None = None
        self.launches = 0
        self.waiting = False

    def finish(self) -> None:
        """Go on until the outputs are in place.

        Raises:
            UserError: the training failed, was stopped, or may not go on; no machine of it is left, but where the text
                says so, as that of Unconfirmed does.
            Left: the person left it going on.
            KeyboardInterrupt: the person ended it; its machine has ended, or a warning says that EC2 does not show it.
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
        except Unconfirmed:
            raise  # everything was tried, and the claim says that the attempt is over
        except Exception:
            self._end()
            raise
        finally:
            self.console.clear()

    def _go_on(self) -> None:
        while True:
            if result := self.aws.store.read(f"{self.run}/result.json"):
                return self._take(result)
            attempt = next(reversed(self.attempts.all()), None)
            if attempt and not attempt.over:
                self._take_up(attempt)
            else:
                self._begin(attempt.n + 1 if attempt else 1)

    def _take_up(self, attempt: Attempt) -> None:
        """Do with an attempt that is not over what its state wants."""
        found = [each for each in instances.find(self.aws.ec2, self.run) if each.attempt == attempt.n]
        machine = next((each for each in found if each.id == attempt.instance), found[-1] if found else None)
        attempt = reconcile.adopted(self.aws, self.attempts, attempt, machine)
        if end := self.attempts.end(attempt):
            self._close(attempt, machine, end)
        elif machine and machine.alive:
            self._follow(attempt, machine)
        elif machine:
            self._lost(attempt, machine)
        elif not attempt.instance:
            self._wait(attempt)
        elif time.time() - attempt.launched < LAG:
            time.sleep(beat())  # EC2 does not show it yet
        else:
            self._lost(attempt, None)

    def _wait(self, attempt: Attempt) -> None:
        """Somebody else is about to start a machine, or was."""
        if self.attempts.abandoned(attempt):
            log.info("ec2: the launcher of attempt %d ended without starting a machine", attempt.n)
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
                "command continues from the last epoch, with runner.spot=false nobody takes the machine away"
            )
        self.base = self.base or launch_config.find(self.aws, self.runner)
        code, weights = self.uploads.send()
        spent = sum(each.most_dollars() for each in self.attempts.all())
        if not (attempt := self.attempts.claim(n, code)):
            return
        self.ours = attempt
        search = launch.Launch(self.aws, self.runner, self.base, launch.Order(attempt, code, weights, spent))
        for offer in search.offers():
            if not self.attempts.renew(attempt):
                self.ours = None  # another has taken over
                return
            with self.interrupts.held():  # until the machine is written down
                if machine := search.request(offer):
                    self.launches += 1
                    # Known here before S3 is told, which may refuse: then this process ends it.
                    self.ours = attempt.started(machine, self.aws.region, offer.price.dollars, offer.most)
                    self._record(self.ours, machine)
                    return

    def _record(self, attempt: Attempt, machine: instances.Instance) -> None:
        """Write down an attempt whose machine was just started; where another took over meanwhile, end the machine."""
        if self.attempts.lost(attempt):
            self.ours = None
            terminate(self.aws.ec2, {machine.id: machine.launched})
        else:
            self.attempts.write(attempt)

    def _follow(self, attempt: Attempt, machine: instances.Instance) -> None:
        """Watch the attempt until there is news, and act on what only a watcher is told."""
        about, self.ours = attempt.claim, attempt
        log.info(
            "ec2: machine %s: %s in %s, %s, $%.4f an hour; ends by itself by %s",
            *(machine.id, machine.type, machine.zone, "spot" if machine.spot else "on demand", about.price),
            time.strftime("%H:%M", time.localtime(about.deadline)),
        )
        self.local.attempt(attempt, [each for each in self.attempts.all() if each.n < attempt.n])
        follower = Follower(self.aws, self.attempts, attempt, self.console, self.local.status)
        follower.until_news()
        now = reconcile.final_state(self.attempts, attempt, follower.machine)
        if now.claim.stopped:
            self.ours = None
            raise UserError(
                f"the run was stopped by {now.claim.stopped}; the same command continues from the last epoch"
            )
        # Another watcher may have closed it already; this one is told all the same.
        if now.over and (end := self.attempts.end(attempt)):
            self._close(now, None, end)

    def _close(self, attempt: Attempt, machine: instances.Instance | None, end: dict) -> None:
        """The machine said how it ended: see to it that it does."""
        self.local.ended(self.attempts.settle(attempt, machine))
        if machine and machine.costs:
            terminate(self.aws.ec2, {machine.id: machine.launched})
        self.ours = None
        if end["state"] == "failed":
            raise UserError(
                f"the training failed on its machine: {end.get('reason') or 'no reason given'} (all it printed: "
                f"`python scripts/ec2.py logs {self.run}`)"
            )
        if end["state"] == "interrupted":
            self._refuse_at_deadline(attempt, end["time"])
            log.info("ec2: the machine was taken away: %s", end.get("reason") or "no reason given")

    def _lost(self, attempt: Attempt, machine: instances.Instance | None) -> None:
        """The machine has gone without a last word."""
        attempt = self.attempts.settle(attempt, machine)
        self.local.ended(attempt)
        if machine and machine.costs:
            terminate(self.aws.ec2, {machine.id: machine.launched})
        elif not machine and attempt.instance:  # EC2 does not show it, which is no proof of its end
            terminate(self.aws.ec2, {attempt.instance: attempt.launched})
        self.ours = None
        self._refuse_at_deadline(attempt, attempt.claim.ended or time.time())
        why = f" ({machine.reason})" if machine and machine.reason else ""
        if machine and (remedy := launch_failures.remedy(machine)):
            raise UserError(f"EC2 ended the machine while it started{why}: {remedy}")
        log.info("ec2: the machine of attempt %d stopped without reporting a reason%s", attempt.n, why)

    def _refuse_at_deadline(self, attempt: Attempt, ended: float) -> None:
        """Whether there is to be more than was allowed is for a person to say, unless there is a result."""
        deadline = attempt.claim.deadline
        if deadline and ended > deadline - _CLOSE and not self.aws.store.has(f"{self.run}/result.json"):
            raise UserError(AT_DEADLINE)

    def _take(self, result: dict) -> None:
        """Bring the outputs; then see to it that no machine is left and that the bill is complete."""
        result_origin.check(self.aws, self.attempts, result)
        size = download_outputs.outputs(self.aws.store, self.run, result)
        attempts, unconfirmed = reconcile.closed(self.aws, self.attempts)
        for attempt in attempts:
            self.local.ended(attempt)
        entry = download_outputs.cost(result, attempts)
        log.info(
            "ec2: outputs in place, %.1f MB; %s; machines: %d, %.1f min, $%.2f",
            size / 1e6, entry["machine"], entry["attempts"], entry["minutes"], entry["dollars"],
        )  # fmt: skip
        if unconfirmed:
            raise unconfirmed

    def _end(self, stopped: str | None = None) -> None:
        """End the machine that this process answers for; a claim without one is given up."""
        attempt, self.ours = self.ours, None
        if attempt:
            self.console.clear()
            reconcile.give_up(self.aws, self.attempts, attempt, self.interrupts, stopped)
