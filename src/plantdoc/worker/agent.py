"""One attempt at a run, from its inputs to an end that S3 knows of."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plantdoc.aws import clients
from plantdoc.aws.run_store import Store
from plantdoc.core import workspace
from plantdoc.core.errors import UserError
from plantdoc.worker import inputs, outputs, own_claim, spot_notice
from plantdoc.worker.checkpoint_sync import Epochs
from plantdoc.worker.heartbeat import Heartbeat
from plantdoc.worker.job import Interrupted, Job
from plantdoc.worker.pty_process import Terminal
from plantdoc.worker.retry import Gone, Repeated, insist

DONE, FAILED, TRY_AGAIN = 0, 1, 75  # exit codes; user-data.sh tells them apart
_SECRET = re.compile(r"^AWS_|SECRET|TOKEN|PASSWORD|CREDENTIAL|_KEY$")


@dataclass(frozen=True)
class End:
    """End of an attempt, as end.json has it; `exit` is the training's exit code where it ended by itself."""

    state: str
    reason: str
    exit: int | None = None


def main(training: Sequence[str]) -> int:
    """Run the command line `training`, with all that goes before and after it.

    Returns the exit code: 0 done, 1 failed, 75 to be tried again on another machine.
    """
    job = Job.from_environment()
    try:
        heart = Heartbeat(insist(job, _store, job), job)
    except Gone as error:
        print(f"machine: {error}", file=sys.stderr)
        return TRY_AGAIN
    beats = Repeated(job, heart.send)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        end = _attempt(job, heart, beats, training)
    except Interrupted as error:
        end = End("interrupted", str(error))
    except KeyboardInterrupt:
        end = End("interrupted", "the machine was told to end")
    except UserError as error:
        end = End("failed", str(error))
    except Gone as error:
        print(f"machine: {error}", file=sys.stderr)
        return TRY_AGAIN
    except Exception as error:
        traceback.print_exc()
        end = End("failed", f"the machine's own code broke: {type(error).__name__}: {error}")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left is short, and must be said
    return _tell(job, heart, beats, end)


def _store(job: Job) -> Store:
    """The run's objects, with the credentials of the instance's role; a client that is made before these never has any.

    Raises:
        NoCredentialsError: the metadata service has none, as right after the start.
    """
    session = clients.new_session()
    if session.get_credentials() is None:
        raise clients.refused.NoCredentialsError
    return Store(job.bucket, session)


def _attempt(job: Job, heart: Heartbeat, beats: Repeated, training: Sequence[str]) -> End:
    store = heart.store
    if insist(job, store.has, f"{job.run_id}/result.json"):
        return End("done", "the result was there already")
    if insist(job, store.has, job.attempt_key(job.attempt + 1)):
        raise Interrupted(f"attempt {job.attempt + 1} has taken over")
    claim = insist(job, own_claim.read, store, job)

    heart.enter("inputs")
    weights = inputs.bring(store, job)
    made_from = inputs.check(job, weights)
    epochs = Epochs(store, job, workspace.main_root() / ".dvc/tmp/plantdoc" / job.run_id)
    try:
        epochs.restore()
    except UserError as error:
        heart.say(f"machine: starting from the beginning: {error}")

    heart.enter("training")
    deadline = (claim.deadline if claim else None) or float("inf")
    code = _train(job, Terminal(training, _environment(weights), heart.hear), heart, epochs, [beats], deadline)
    if code in (-signal.SIGTERM, -signal.SIGINT, 130):
        raise Interrupted("the training was told to end")
    if code < 0:
        how = signal.Signals(-code).name + (" (out of memory?)" if code == -signal.SIGKILL else "")
        return End("failed", f"the training was ended by {how}", code)
    if code:
        return End("failed", heart.last_line.text or "the training said nothing", code)

    heart.enter("outputs")
    ours = outputs.send(store, job, made_from)
    return End("done", "" if ours else "another attempt was first", code)


def _environment(weights: Path | None) -> dict[str, str]:
    """Environment of the training, without secrets, since others read its output."""
    told = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
    told |= {"PLANTDOC_RUNNER": "local", "WANDB_MODE": "disabled"}  # the computer that asked tells W&B
    told["TQDM_DISABLE"] = "1"  # the bar is for terminals; here progress.json tells, and the log has lines alone
    return told | ({"PLANTDOC_WEIGHTS": str(weights)} if weights else {})


def _train(
    job: Job, program: Terminal, heart: Heartbeat, epochs: Epochs, watches: list[Repeated], deadline: float
) -> int:
    """Watch the training to its end and return its exit code; its checkpoints are then in S3.

    Raises:
        Interrupted, Gone, …: what one of `watches` has met; the training was ended for it.
        UserError: the deadline is over.
    """
    looking, sending = Repeated(job, spot_notice.look), Repeated(job, epochs.send)
    watches = [*watches, looking, sending]
    try:
        while (code := program.wait(min(job.beat, 1))) is None:
            heart.look()
            for fault in filter(None, (watch.fault for watch in watches)):
                raise fault
            if time.time() > deadline:
                limits = "runner.max_hours, runner.max_dollars"
                raise UserError(f"time limit reached ({limits}): the next run continues from here")
    finally:
        program.end()
        heart.last_line.close()
        for watch in (looking, sending):
            watch.stop()
        if not sending.fault and not any(isinstance(watch.fault, Gone) for watch in watches):
            insist(job, epochs.send)
    return code


def _tell(job: Job, heart: Heartbeat, beats: Repeated, end: End) -> int:
    """Send the last words and after them end.json."""
    try:
        beats.stop()
        insist(job, heart.send_rest)
        insist(job, heart.store.put_new, job.key("end.json"), {"time": time.time(), **vars(end)})
    except Gone as error:
        print(f"machine: {error}", file=sys.stderr)
        return TRY_AGAIN
    return {"done": DONE, "failed": FAILED, "interrupted": TRY_AGAIN}[end.state]


def _terminated(*_) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt  # which libraries let through, unlike an Exception
