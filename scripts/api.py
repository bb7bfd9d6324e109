"""Put a public HTTP API in front of the SageMaker endpoint, or take it away.

    python scripts/api.py create              make it as `serve` in params.yaml says; the same again changes nothing
    python scripts/api.py create --dry-run    only say what would be done
    python scripts/api.py create --new-key    give it another key; the one before is refused from then on
    python scripts/api.py show                its address, who may ask it, and a line of curl that does
    python scripts/api.py delete              take it away; the endpoint stays

One CloudFormation stack (infra/api.yaml): an HTTP API, a function, its role and its log. The function may ask the one
endpoint and nothing else. Expect one to two minutes, and nothing to pay while nobody asks: a million requests cost
about a dollar for the API and, each waiting a second, nine for the function.
The key is shown once, when it is made; what is kept is its hash. Who asks without a key is refused, and still uses up
requests of serve.api_rate: docs/serving.md says what to put in front where that matters.
Who makes the stack makes a role, and so needs rights like those of `make aws`. Whose account: as the AWS tools find it
(AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.core import stage
from plantdoc.core.errors import UserError


def main() -> None:
    arguments = parse()
    # Not for --help.
    from plantdoc.aws import clients

    try:
        with clients.explained():
            arguments.run(arguments)
    except KeyboardInterrupt:
        print("api: interrupted; AWS continues; run it again to attach", file=sys.stderr)
        sys.exit(130)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    making = commands.add_parser("create", help="make or change the API")
    making.set_defaults(run=create)
    making.add_argument("--new-key", action="store_true", help="make another key; the one before ends")
    making.add_argument("--dry-run", action="store_true", help="only say what would be done")
    showing = commands.add_parser("show", help="say where it is and how to ask it")
    showing.set_defaults(run=show)
    undoing = commands.add_parser("delete", help="take the API away")
    undoing.set_defaults(run=delete)
    undoing.add_argument("--dry-run", action="store_true", help="only say what would be done")
    return parser.parse_args()


def create(arguments: argparse.Namespace) -> None:
    """Bring the stack to what params.yaml says."""
    from plantdoc.aws import cloudformation
    from plantdoc.core import params
    from plantdoc.public_api import endpoint_status, lambda_zip, stack
    from plantdoc.settings import serve_params

    serve = params.load(serve_params.Params).serve
    by_key = serve.api_access == "key"
    if arguments.new_key and not by_key:
        raise UserError(f"--new-key: serve.api_access is {serve.api_access}, so that there is no key")
    aws = signed_in()
    print(f"the endpoint {serve.endpoint} is {endpoint_status.endpoint_status(aws, serve.endpoint)}")
    client = aws.client("cloudformation")
    there = stack.settled(client)
    if there and there["StackStatus"] in cloudformation.LEFTOVER:
        print(f"an earlier try left the stack {stack.NAME} in {there['StackStatus']}: it is deleted and created again")
        if arguments.dry_run:
            return
        cloudformation.delete(client, there)
        there = None

    kept = "" if arguments.new_key else stack.given(there).get("KeyHash", "")
    key = stack.new_key() if by_key and not kept and not arguments.dry_run else None
    code = lambda_zip.make()
    wanted = stack.parameters(aws, serve, lambda_zip.key(code), stack.hash_of(key) if key else kept or stack.NO_HASH)
    if not arguments.dry_run:
        sent = lambda_zip.send(aws, code)
        print(f"code: s3://{aws.bucket}/{lambda_zip.key(code)} ({'sent' if sent else 'there already'})")
    planned = stack.plan(client, wanted)
    if arguments.dry_run:
        if planned.needed:
            cloudformation.discard(client, planned)
        print("\n".join([f"would change the stack {stack.NAME}:", *planned.lines] if planned.needed else [unchanged()]))
        return
    if not planned.needed:
        print(unchanged())
    else:
        try:
            cloudformation.execute(client, planned)
        except BaseException:
            # AWS may get there without us, and nobody could ask for the key again.
            show_key(key, ", if the change gets there")
            raise
    describe(aws, cloudformation.changed(client, stack.NAME), key)


def show(arguments: argparse.Namespace) -> None:
    """Say what there is."""
    from plantdoc.aws import cloudformation
    from plantdoc.public_api import stack

    aws = signed_in()
    there = cloudformation.find(aws.client("cloudformation"), stack.NAME)
    if not there or there["StackStatus"] in cloudformation.LEFTOVER:
        raise UserError(f"there is no public API in {aws.region}: `make api` makes it")
    if not there.get("Outputs"):
        raise UserError(f"the stack {stack.NAME} is in {there['StackStatus']}: `make api` waits for it")
    describe(aws, there)


def delete(arguments: argparse.Namespace) -> None:
    """Delete the stack and say what is left."""
    from plantdoc.aws import cloudformation
    from plantdoc.public_api import lambda_zip, stack

    aws = signed_in()
    if arguments.dry_run:
        there = cloudformation.find(aws.client("cloudformation"), stack.NAME)
        print(f"would delete the stack {stack.NAME}" if there else f"there is no stack {stack.NAME}: nothing to delete")
        return
    gone = stack.remove(aws)
    print(f"deleted the stack {stack.NAME}" if gone else f"there is no stack {stack.NAME}: nothing to delete")
    if left := lambda_zip.sent(aws):
        print(
            f"left of the API: {len(left)} × its code in s3://{aws.bucket}/{lambda_zip.PREFIX}, some kB, "
            "which goes with the bucket (`make aws-delete`); the endpoint stays until `make undeploy`"
        )


def signed_in():
    """The place, after a line that says whose account is worked on; not in a log of CI, which others may read."""
    from plantdoc.remote import aws_context

    aws = aws_context.find()
    who = aws.client("sts").get_caller_identity()
    whose = "" if os.environ.get("CI") else f"account {who['Account']}, as {who['Arn']}, "
    print(f"{whose}region {aws.region}")
    return aws


def describe(aws, there: dict, key: str | None = None) -> None:
    """Print the address, who may ask, and how."""
    from plantdoc.public_api import curl, stack

    given = stack.given(there)
    url = stack.url(there)
    access = given["Access"]
    who = {
        "key": "whoever sends the key",
        "iam": "whom this account's IAM allows execute-api:Invoke",
        "open": "everyone: each request costs you",
    }
    print(f"address: {url} (POST /predict, GET /health)")
    print(f"it asks: {given['Endpoint']}; who may ask it: {who[access]}")
    print(f"web pages that may ask it: {given.get('Origins') or 'none'}; at most {given['Rate']} requests per second")
    show_key(key)
    token = bool(access == "iam" and getattr(aws.session.get_credentials(), "token", None))
    print(f"try it:\n  {curl.line(url, access, aws.region, token)}")
    if access == "iam":
        print('the credentials are to be in the environment: eval "$(aws configure export-credentials --format env)"')
    if access == "key":
        print(
            f"{curl.KEY} is to hold the key: `read -rs {curl.KEY}; export {curl.KEY}` takes it without a trace in the "
            "shell's history; if it is lost, `python scripts/api.py create --new-key` makes another"
        )


def show_key(key: str | None, condition: str = "") -> None:
    """Print a new key, which appears nowhere else."""
    if key:
        print(f"its key{condition}, shown this once (keep it): {key}", flush=True)


def unchanged() -> str:
    from plantdoc.public_api import stack

    return f"the stack {stack.NAME} is as it should be: nothing to change"


if __name__ == "__main__":
    stage.run(main)
