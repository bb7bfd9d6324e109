"""Serve a detector on SageMaker, go back to an earlier one, and take it all away again.

    python scripts/deploy.py deploy                     the workspace's bundle (models/bundle), as params.yaml says
    python scripts/deploy.py deploy detector@v1.2.0     a registered version; or a model.tar.gz
    python scripts/deploy.py rollback                   the version that was served before
    python scripts/deploy.py endpoints                  what we serve, since when, and what it costs a day
    python scripts/deploy.py undeploy                   take the endpoint away, and the public API

A bundle is code of whoever made it, model included: trust it like a program. It is asked on this machine as well.
Where: the bucket and region of the DVC remote, with the role of `make aws`. Each can be interrupted and run again: what
is there is left, what is missing is made. Ends with 3 where the gate refuses the model (serve.min_map50, the model
that is served now, behaviour tests), with 1 where something failed.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import entry, stage
from plantdoc.core.errors import UserError
from plantdoc.repo import names, text_table

log = logging.getLogger("plantdoc")
REFUSED = 3


def main() -> None:
    arguments = parse()
    if getattr(arguments, "bundle", None):
        names.checked_or_path(entry.given_or_name(arguments.bundle), "a bundle or a version")
    # Not for --help.
    from plantdoc.aws import clients
    from plantdoc.core import processes
    from plantdoc.sagemaker import context, quality_gate

    processes.end_on_terminate()
    for name in ("sagemaker", "sagemaker.core"):  # they tell each call, in colour
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with clients.explained():
            arguments.run(context.find(), arguments)
    except quality_gate.Refusal as refusal:
        print(f"deploy: {refusal}", file=sys.stderr)
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        print("deploy: interrupted; AWS continues; run it again to attach", file=sys.stderr)
        sys.exit(130)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function, help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        command.set_defaults(run=function)
        return command

    command = add("deploy", deploy, "serve a bundle, in the place of the one that is served")
    command.add_argument("bundle", nargs="?", help="detector@v1.2.0, or a model.tar.gz (models/bundle)")
    command.add_argument("--force", action="store_true", help="past the gate")
    replace = "take machines away where a serverless endpoint is to be: AWS cannot make the one into the other"
    command.add_argument("--replace", action="store_true", help=replace)
    command = add("rollback", rollback, "serve the version before again")
    command.add_argument("--replace", action="store_true", help=replace)
    add("undeploy", undeploy, "take the endpoint away, with all that was made for it, and the public API")
    command = add("endpoints", endpoints, "list our endpoints in the region")
    command.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args()


def deploy(there, arguments: argparse.Namespace) -> None:
    from plantdoc.core import params
    from plantdoc.sagemaker import deployment
    from plantdoc.settings import serve_params

    bundle = entry.given_or_name(arguments.bundle)
    made = deployment.deploy(
        there, params.load(serve_params.Params), bundle, force=arguments.force, replace=arguments.replace
    )
    smoke = made["smoke"]
    print(
        f"deploy: {made['name']} serves {made['version']} ({made['kind']}, {made['region']}); {smoke['pictures']} test "
        f"pictures answered as by {smoke['against']}, half of them within {smoke['median_seconds']:.2f} s\n"
        f"deploy: {made['url']} (for signed requests; `make api` puts a public address in front of it)"
    )


def rollback(there, arguments: argparse.Namespace) -> None:
    from plantdoc.core import params
    from plantdoc.sagemaker import deployment
    from plantdoc.settings import serve_params

    back = deployment.rollback(there, params.load(serve_params.Params), replace=arguments.replace)
    print(f"deploy: {back.version} serves again")


def undeploy(there, arguments: argparse.Namespace) -> None:
    from plantdoc.aws import cloudformation
    from plantdoc.core import params
    from plantdoc.public_api import stack as api
    from plantdoc.sagemaker import listing, teardown
    from plantdoc.settings import serve_params

    name = params.load(serve_params.Params).serve.endpoint
    left = teardown.remove(there, name)
    stacks = there.aws.client("cloudformation")
    if cloudformation.find(stacks, api.NAME):
        done = subprocess.run([sys.executable, str(Path(__file__).with_name("api.py")), "delete"])
        if done.returncode or cloudformation.find(stacks, api.NAME):
            left.append(f"stack {api.NAME}, the public API")
    if left:
        raise UserError("not all could be removed:\n  " + "\n  ".join(left) + "\nrun it again")
    others = [each for each in listing.named(there) if each != name]
    print(
        f"deploy: nothing is left of {name}, no endpoint, config, model, scaling, alarm or API. Bundles (bundles/) and "
        f"captured requests (capture/) stay in s3://{there.bucket}"
    )
    if others:
        print(f"deploy: other endpoints of this project are there: {', '.join(others)}; `make endpoints` lists them")


def endpoints(there, arguments: argparse.Namespace) -> None:
    from plantdoc.sagemaker import listing

    rows = listing.endpoints(there)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        text_table.show([cells(row) for row in rows])
        for source in sorted({row["price"] for row in rows if row["dollars_a_day"]}):
            print(f"dollars by {source}")
    else:
        print(f"no endpoint in {there.region}")


def cells(row: dict) -> dict[str, str]:
    hours = row["hours"]
    age = "-" if hours is None else f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} h"
    return {
        "endpoint": row["name"],
        "version": row["version"] or "-",
        "status": row["status"],
        "age": age,
        "on": row["kind"],
        "mAP@50": "-" if row["map50"] is None else f"{row['map50']:.4f}",
        "$/day": "?" if row["dollars_a_day"] is None else f"{row['dollars_a_day']:.2f}",
    }


if __name__ == "__main__":
    stage.run(main)
