"""Try the whole way to EC2 and back, on real AWS, with a tiny training.

    python scripts/ec2_smoke.py                                 a t3.large on demand: a quarter of an hour, some cents
    python scripts/ec2_smoke.py --type g4dn.xlarge --spot --image base-oss-nvidia-driver-gpu-ubuntu-24.04 --disk 100

Needs credentials and the bucket of `make aws`, nothing else. In a copy of this repository, uncommitted changes
included, 24 pictures are painted and a detector is trained on them for three epochs on a machine of its own. Then what
came back is held against what the machine says it sent, and the machine, the run's files and the copy's data are
removed again; what could not be is named. At most an hour and one dollar.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import stage
from plantdoc.core.errors import UserError

if TYPE_CHECKING:
    from plantdoc.remote import aws_context

# AWS's own Ubuntu without drivers: small, and the type needs no quota that a new account lacks.
TYPE, IMAGE = "t3.large", "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
SMALL = {
    "fetch.source": "sample",
    "fetch.limit": 24,
    "augment.size": 64,
    "augment.copies": 1,
    "model.family": "compact",
    "model.backbone": "compact",
    "model.size": "xs",
    "model.weights": "none",
    "train.epochs": 3,
    "train.plain_epochs": 1,
    "train.warmup_epochs": 0.5,
    "train.batch_size": 8,
    "runner.kind": "ec2",
    "runner.on_demand_fallback": False,
    "runner.zones": [],
    "runner.max_hours": 1.0,
    "runner.max_dollars": 1.0,
    "runner.max_attempts": 2,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", default=TYPE, help=f"the machine's type ({TYPE})")
    parser.add_argument("--spot", action="store_true", help="on the spot market instead of on demand")
    parser.add_argument(
        "--image", default=IMAGE, help="as runner.image in params.yaml (AWS's Ubuntu 24.04, no drivers)"
    )
    parser.add_argument("--disk", type=int, default=30, help="GB (30)")
    arguments = parser.parse_args()
    # Not for --help.
    from plantdoc.aws import clients

    with clients.explained():
        smoke(arguments)


def smoke(arguments: argparse.Namespace) -> None:
    """Train the tiny model on a machine, say what it cost, and leave nothing behind.

    Raises:
        UserError: it does not train, does not come back, or leaves something.
    """
    from plantdoc.core import params, processes
    from plantdoc.ec2 import run_cleanup
    from plantdoc.remote import aws_context
    from plantdoc.settings import runner_params
    from plantdoc.sweep import snapshot

    processes.end_on_terminate()
    there = aws_context.find(params.load(runner_params.Params).runner.region)
    prefix = f"{there.prefix}/smoke-{secrets.token_hex(4)}".lstrip("/")
    # Another seed each time: a run that is in the bucket already would only be fetched.
    wanted = SMALL | {
        "seed": secrets.randbelow(2**31),
        "runner.instance_types": [arguments.type],
        "runner.spot": arguments.spot,
        "runner.image": arguments.image,
        "runner.disk_gb": arguments.disk,
    }
    with tempfile.TemporaryDirectory() as scratch, snapshot.take(Path.cwd()).copy(Path(scratch, "copy")) as copy:
        set_up(copy, there, prefix, wanted)
        run: list[str] = []
        try:
            train(copy, run)
            print(f"ec2_smoke: {compared(copy, there, run[0])}", flush=True)
        finally:
            left = run_cleanup.remove(there, run[0] if run else None, prefix)
    if left:
        raise UserError("not all could be removed:\n" + "\n".join(left))
    print("ec2_smoke: no machine and no file of it is left")


def set_up(copy: Path, there: aws_context.AwsContext, prefix: str, wanted: dict[str, object]) -> None:
    """Give the copy its params, a cache of its own, and a place of its own in the bucket."""
    from ruamel.yaml import YAML

    from plantdoc.core import flatten, params
    from plantdoc.repo import commands
    from plantdoc.settings import all_params

    yaml = YAML()
    yaml.width = 200
    values = yaml.load(copy / "params.yaml")
    unknown = sorted(set(wanted) - set(flatten.flat(values)))
    if unknown:
        raise UserError(f"params.yaml has no {', '.join(unknown)}: scripts/ec2_smoke.py is of another version")
    for key, value in wanted.items():
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section[last] = value
    yaml.dump(values, copy / "params.yaml")
    params.load(all_params.Params, copy / "params.yaml")
    commands.dvc("config", "--local", "cache.dir", str(copy / ".dvc/cache"), root=copy)
    url = f"s3://{there.bucket}/{prefix}"
    commands.dvc("remote", "modify", "--local", there.where.name, "url", url, root=copy)


def train(copy: Path, run: list[str]) -> None:
    """`dvc repro train` in the copy, told line by line; the run's id goes into `run` as soon as it is known.

    Raises:
        UserError: it failed.
    """
    from plantdoc.sweep import child_processes
    from plantdoc.sweep.runner_options import GRACE

    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "WANDB_MODE": "disabled", "DVC_NO_ANALYTICS": "1"}
    # As a child that dies with this process: Ctrl-C ends the machine without asking, and is waited for.
    with open(os.devnull) as nothing, child_processes.hold(nothing.fileno(), GRACE) as launch:
        command = [sys.executable, "-m", "dvc", "repro", "train"]
        process = launch(
            command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None  # a pipe, as asked for
        for line in process.stdout:
            print(line, end="", flush=True)
            if found := re.match(r"ec2: run ([0-9a-f]{16})$", line):
                run.append(found[1])
        if process.wait():
            raise UserError("the training did not end well, as it says above")
    if not run:
        raise UserError("the train stage has started no run: is runner.kind = ec2 still what it goes by?")


def compared(copy: Path, there: aws_context.AwsContext, run: str) -> str:
    """Summarise the returned files and the cost in a line.

    Raises:
        UserError: a file is not what the machine says it sent.
    """
    from plantdoc.core import hashing

    result = there.store.read(f"{run}/result.json") or {"outputs": {}}
    files = {name: copy / name for name in result["outputs"]}
    wrong = [
        name
        for name, path in files.items()
        if not path.is_file() or hashing.of_file(path) != result["outputs"][name]["sha256"]
    ]
    if wrong or "results/train/metrics.json" not in files:
        raise UserError(f"these did not come back as they were sent: {', '.join(wrong) or 'no output at all'}")
    cost = json.loads((copy / "results/cost.json").read_text())["train"]
    return f"{len(files)} files are back; {cost['machine']}: {cost['minutes']:.1f} min, ${cost['dollars']:.4f}"


if __name__ == "__main__":
    stage.run(main)
