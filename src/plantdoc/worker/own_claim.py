"""The claim of this instance's own attempt: whether it is still to work."""

from __future__ import annotations

from plantdoc.aws.run_store import Store
from plantdoc.ec2.claim import Claim
from plantdoc.worker import instance_metadata
from plantdoc.worker.job import Interrupted, Job


def read(store: Store, job: Job) -> Claim | None:
    """The claim as it stands now; None where nobody has written one.

    A launcher that could not end this instance has written the attempt off: the instance then ends itself.

    Raises:
        Interrupted: the attempt is over, was stopped by a person, or another instance works on it.
        UserError: the object is no claim.
    """
    key = job.attempt_key(job.attempt)
    stored = store.read(key)
    if stored is None:
        return None
    claim = Claim.of(stored, f"s3://{store.bucket}/{store.prefix}{key}")
    if claim.stopped:
        raise Interrupted(f"the run was stopped by {claim.stopped}")
    if claim.ended:
        raise Interrupted(f"attempt {job.attempt} was written off by its launcher")
    if claim.instance and (ours := instance_metadata.instance_id()) and claim.instance != ours:
        raise Interrupted(f"attempt {job.attempt} belongs to the instance {claim.instance}, and this is {ours}")
    return claim
