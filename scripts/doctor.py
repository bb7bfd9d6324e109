"""Say what is ready for a job and what is not, before it costs anything.

    python scripts/doctor.py            to run the pipeline here
    python scripts/doctor.py push       to push and pull data and models
    python scripts/doctor.py ec2        to train on EC2
    python scripts/doctor.py deploy     to serve on SageMaker
    python scripts/doctor.py aws        to begin on an AWS account; asks it all that costs and changes nothing

One line per check, with the remedy where it is not ready, and what cannot be known before it is tried. Ends with 1 when
something that the job needs is missing. Changes nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry
from plantdoc.core.errors import UserError
from plantdoc.doctor import (
    aws_questions,
    checks,
    checks_account,
    checks_aws,
    checks_serving,
    checks_shell,
    checks_start,
)

ALL = ("repro", "push", "ec2", "deploy")
JOBS = (*ALL, "aws")  # the last has a page of its own, about the account alone
# Name, check, the jobs that need it.
CHECKS: list[tuple[str, Callable[[str], str], tuple[str, ...]]] = [
    ("Python", checks.python, ALL),
    ("environment", checks.environment, ALL),
    ("imports", checks_shell.imports, ALL),
    ("shell", checks_shell.shell, ALL),
    ("checkout", checks_shell.checkout, ALL),
    ("git", checks.git, ALL),
    ("DVC", checks.dvc, ALL),
    ("code", checks.code, ("repro", "ec2")),
    ("params", checks.params, ("repro", "ec2", "deploy", "aws")),
    ("disk", checks.disk, ("repro",)),
    ("GPU", checks.gpu, ("repro",)),
    ("W&B", checks.wandb, ("repro", "ec2")),
    ("remote", checks_aws.storage, ("push", "ec2", "deploy")),
    ("credentials", checks_aws.credentials, ("push", "ec2", "deploy")),
    ("machines", checks_aws.instance_types, ("ec2",)),
    ("quota", checks_aws.quota, ("ec2",)),
    ("SageMaker", checks_aws.sagemaker, ("deploy",)),
    ("account", checks_account.identity, ("aws",)),
    ("clock", checks_account.clock, ("aws",)),
    ("region", checks_account.region, ("aws",)),
    ("network", checks_account.network, ("aws",)),
    ("make aws", checks_account.making, ("aws",)),
    ("stack", checks_account.stack, ("aws",)),
    ("bucket", checks_account.bucket, ("aws",)),
    ("image", checks_start.image, ("aws",)),
    ("types", checks_start.types, ("aws",)),
    ("EC2 quota", checks_aws.quota, ("aws",)),
    ("EC2 start", checks_start.start, ("aws",)),
    ("spot role", checks_start.spot_role, ("aws",)),
    ("disk key", checks_start.disk_key, ("aws",)),
    ("capacity", checks_start.capacity, ("aws",)),
    ("endpoint", checks_serving.deploying, ("aws",)),
    ("memory", checks_serving.memory, ("aws",)),
    ("instances", checks_serving.instances, ("aws",)),
    ("scaling role", checks_serving.scaling_role, ("aws",)),
]
READY, NOT_READY, NOT_KNOWN, NOT_NEEDED = "ready", "not ready", "not known", "not needed"
COLOURS = {READY: "32", NOT_READY: "31", NOT_KNOWN: "33", NOT_NEEDED: "2"}
WIDTH = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", nargs="?", choices=JOBS, default="repro", help="what is to be done (repro)")
    job = parser.parse_args().job
    missing = []
    for name, check, needed_for in CHECKS:
        if job not in needed_for and (job == "aws" or needed_for == ("aws",)):
            continue
        state, text = look(check, job) if job in needed_for else (NOT_NEEDED, f"for {job}")
        print(line(state, name, text), flush=True)
        if state == NOT_READY:
            missing.append(name)
    print(f"\nnot ready for {job}: {', '.join(missing)}" if missing else f"\nready for {job}")
    return 1 if missing else 0


def look(check: Callable[[str], str], job: str) -> tuple[str, str]:
    """A check's state and what it found; one that breaks is not ready, and stops no other."""
    try:
        return READY, check(job)
    except aws_questions.Unknown as unknown:
        return NOT_KNOWN, str(unknown)
    except UserError as error:
        if job == "aws" and aws_questions.is_denied(error):
            return NOT_KNOWN, f"{error}; until then it cannot be known"
        return NOT_READY, str(error)
    except ImportError as error:
        return NOT_READY, f"{error}: `make setup`"
    except Exception as error:  # whatever else: the page is there to tell it
        return NOT_READY, f"the check itself broke: {type(error).__name__}: {error}"


def line(state: str, name: str, text: str) -> str:
    """A line of the page, broken where it would be too wide; in colour on a terminal only."""
    head = f"{state:<12}{name:<13}"
    whole = textwrap.fill(
        f"{head}{text}", WIDTH, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False
    )
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return whole
    return f"\x1b[{COLOURS[state]}m{whole[: len(state)]}\x1b[0m{whole[len(state) :]}"


if __name__ == "__main__":
    entry.start(__file__)
    try:
        with entry.whole_output():
            code = main()
        sys.exit(code)
    except KeyboardInterrupt:
        print("doctor: interrupted", file=sys.stderr)
        sys.exit(130)
