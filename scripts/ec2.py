"""Trainings on EC2: what runs, what it prints and costs, and ending it.

    python scripts/ec2.py ls                  our machines, with epoch, score, minutes and dollars
    python scripts/ec2.py attach              watch the one that runs; Ctrl-C leaves it going on
    python scripts/ec2.py logs 3f2a           all that a run printed; a run is named by the first digits of its id
    python scripts/ec2.py stop 3f2a           end its machine; the next `dvc repro` continues from the last epoch
    python scripts/ec2.py cost                every run there was, with minutes and dollars
    python scripts/ec2.py bounds              what a machine costs at most where all but the reaper fails to end it

`dvc exp run -S runner.kind=ec2` starts a training, not this: its train stage calls `run`. Where things are is read from
the DVC remote and `runner` in params.yaml; whose account, as the AWS tools find it (AWS_PROFILE and so on).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import stage
from plantdoc.core.errors import UserError
from plantdoc.repo import text_table

log = logging.getLogger("plantdoc")


def main(words: Sequence[str] | None = None) -> None:
    arguments = parse(words)
    if arguments.run is bounds:
        return bounds()
    # Not for --help.
    from plantdoc.aws import clients
    from plantdoc.remote import aws_context

    with clients.explained():
        arguments.run(aws_context.find(region(checked=arguments.run is run)), arguments)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, by default this process's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function, help: str, example: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=f"example: python scripts/ec2.py {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=function)
        return command

    add("run", run, "train on a machine, and bring the outputs: what the train stage calls", "run")
    add("ls", ls, "list our machines", "ls --json").add_argument("--json", action="store_true", help="for programs")
    command = add("logs", logs, "print what a run has printed so far", "logs 3f2a --attempt 2")
    command.add_argument("name", nargs="?", metavar="RUN", help="first digits of its id; default: the one that runs")
    command.add_argument("--attempt", type=int, help="one of its attempts; default: the newest")
    command = add("attach", attach, "watch a run until its machine ends; Ctrl-C leaves it going on", "attach 3f2a")
    command.add_argument("name", nargs="?", metavar="RUN", help="first digits of its id; default: the one that runs")
    command = add("stop", stop, "end machines; whoever waits for their runs starts no others", "stop --all")
    command.add_argument("names", nargs="*", metavar="RUN", help="first digits of a run's id")
    command.add_argument("--all", action="store_true", help="every machine of this project in the region")
    add("reap", reap, "end our machines that are past their deadline", "reap")
    command = add("cost", cost, "list all runs with attempts, minutes and dollars", "cost --json")
    command.add_argument("--json", action="store_true", help="for programs")
    add("bounds", bounds, "show what runner's machines cost at most, by the table of prices", "bounds")
    return parser.parse_args(words)


def region(*, checked: bool) -> str:
    """runner.region; `checked`: after a check of the whole section. A wrong key must not keep anybody from `stop`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if not checked:
        with contextlib.suppress(OSError, YAMLError, TypeError, KeyError):
            return YAML(typ="safe").load(Path("params.yaml").read_text(encoding="utf-8"))["runner"]["region"]
    from plantdoc.core import params
    from plantdoc.settings import runner_params

    return params.load(runner_params.Params).runner.region  # or says what is wrong


def run(aws, arguments: argparse.Namespace) -> None:
    """See plantdoc.ec2.orchestrator. The run's id is the one that the machine will work out for itself."""
    from plantdoc.core import identity, params
    from plantdoc.ec2 import instance_types, orchestrator
    from plantdoc.ec2.interrupts import Interrupts
    from plantdoc.settings import runner_params
    from plantdoc.train import lineage, pretrained_weights, train_params

    settings, runner = params.load(train_params.Params), params.load(runner_params.Params).runner
    gpu = instance_types.have_gpu(runner.instance_types)
    interrupts = Interrupts()
    interrupts.install()
    with pretrained_weights.located(settings.model.weights) as (_, file):
        run_id = identity.run_id(lineage.made_from("train", settings, file, gpu))
        log.info("ec2: run %s", run_id)
        try:
            orchestrator.Run(aws, runner, run_id, file, interrupts).finish()
        except orchestrator.Left as left:
            print(f"ec2: {left}", file=sys.stderr)
            sys.exit(130)


def ls(aws, arguments: argparse.Namespace) -> None:
    from plantdoc.ec2 import run_status

    rows = run_status.machines_now(aws)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        text_table.show([machine_cells(row) for row in rows])
    else:
        print(f"no machine in {aws.region}")


def logs(aws, arguments: argparse.Namespace) -> None:
    from plantdoc.ec2 import run_status
    from plantdoc.ec2.attempts import Attempts
    from plantdoc.ec2.console import Log
    from plantdoc.ec2.watcher import Tail

    attempts = Attempts(aws.store, run_status.resolve(aws, arguments.name))
    every = attempts.all()
    wanted = [each for each in every if arguments.attempt in (None, each.n)]
    if not wanted:
        raise UserError(f"the run {attempts.run} has no such attempt; it has {', '.join(str(e.n) for e in every)}")
    status = attempts.status(wanted[-1]) or {}
    for text in Log().feed(Tail(attempts, wanted[-1]).read(status.get("log", 0))):
        print(text)
    if end := attempts.end(wanted[-1]):
        print(f"ec2: {end['state']}" + (f": {end['reason']}" if end.get("reason") else ""), file=sys.stderr)


def attach(aws, arguments: argparse.Namespace) -> None:
    from plantdoc.ec2 import run_status
    from plantdoc.ec2.attempts import Attempts
    from plantdoc.ec2.console import Console
    from plantdoc.ec2.watcher import Follower

    attempts = Attempts(aws.store, run_status.resolve(aws, arguments.name))
    every = attempts.all()
    if not every or every[-1].over or not every[-1].instance:
        raise UserError(f"the run {attempts.run} has no machine now: `dvc repro` brings its result or continues it")
    console = Console()
    try:
        Follower(aws, attempts, every[-1], console).until_news()
    except KeyboardInterrupt:
        console.clear()
        print(f"ec2: the run continues; `python scripts/ec2.py stop {attempts.run}` ends it", file=sys.stderr)
        sys.exit(130)
    end = attempts.end(every[-1]) or {"state": "stopped without reporting a reason"}
    print(f"ec2: {end['state']}; `dvc repro` brings the result or continues", file=sys.stderr)


def stop(aws, arguments: argparse.Namespace) -> None:
    from plantdoc.ec2 import run_status, stop

    if not arguments.names and not arguments.all:
        raise UserError("say which run, or --all; `python scripts/ec2.py ls` lists them")
    wanted = None if arguments.all else {run_status.resolve(aws, name) for name in arguments.names}
    for machine in stop.stop(aws, wanted):
        print(f"ended {machine}")


def reap(aws, arguments: argparse.Namespace) -> None:
    from plantdoc.ec2 import reaper

    ended = reaper.reap(aws.ec2, time.time())
    for machine in ended:
        about = f"{machine['instance']} ({machine['type']} in {machine['zone']}, run {machine['run']})"
        print(f"NOT ended {about}: {machine['error']}" if machine["error"] else f"ended {about}")
    if any(machine["error"] for machine in ended):
        raise UserError("not all of them could be ended: end them in AWS's console, they cost money")
    if not ended:
        print(f"no machine in {aws.region} is past its deadline")


def cost(aws, arguments: argparse.Namespace) -> None:
    from plantdoc.ec2 import run_status

    rows = run_status.runs(aws)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        total = sum(row["dollars"] for row in rows)
        text_table.show([run_cells(row) for row in rows])
        print(f"{len(rows)} runs, ${total:.2f}; disks and traffic are not in it")
    else:
        print(f"no training on EC2 yet in s3://{aws.bucket}")


def bounds() -> None:
    """The table of docs/cost_bounds.md, for runner's types and disk."""
    from plantdoc.core import params
    from plantdoc.ec2 import cost_bounds
    from plantdoc.settings import runner_params

    runner = params.load(runner_params.Params).runner
    print(cost_bounds.table(runner.instance_types, runner.disk_gb))


def machine_cells(row: dict) -> dict[str, str]:
    return {
        "run": row["run"],
        "machine": row["machine"],
        "type": row["type"],
        "zone": row["zone"],
        "market": "spot" if row["spot"] else "on demand",
        "state": (row["phase"] if row["state"] == "running" else None) or row["state"],
        "epoch": f"{row['epoch']}/{row['epochs']}" if row["epochs"] else "-",
        "mAP@50": "-" if row["val_map50"] is None else f"{row['val_map50']:.4f}",
        "minutes": f"{row['minutes']:.1f}",
        "dollars": "-" if row["dollars"] is None else f"{row['dollars']:.2f}",
        "ends by": time.strftime("%a %H:%M", time.localtime(row["deadline"])) if row["deadline"] else "-",
    }


def run_cells(row: dict) -> dict[str, str]:
    return {
        "run": row["run"],
        "began": time.strftime("%Y-%m-%d %H:%M", time.localtime(row["began"])) if row["began"] else "-",
        "state": row["state"],
        "machines": str(row["attempts"]),
        "last on": f"{row['type']} in {row['zone']}, {'spot' if row['spot'] else 'on demand'}" if row["type"] else "-",
        "minutes": f"{row['minutes']:.1f}",
        "dollars": f"{row['dollars']:.2f}",
    }


if __name__ == "__main__":
    stage.run(main)
