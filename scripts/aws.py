"""Make what the project needs on AWS and point the DVC remote at it, or undo that.

    python scripts/aws.py create --bucket my-leaves --region eu-central-1 --email me@example.org
    python scripts/aws.py create --bucket my-leaves --region eu-central-1 --email me@example.org --repository me/leaves
    python scripts/aws.py delete             refuses while the bucket holds data
    python scripts/aws.py delete --force     deletes the data for good as well

One CloudFormation stack (infra/base.yaml) per bucket: the bucket, an alarm on the account's bill, roles, what machines
that train start with, and a reaper that ends those past their deadline. The arguments say what there is to be: the same
again changes nothing, others change the stack. With --dry-run either command says what it would do. .dvc/config is
written at the end, when all is there. Expect one to three minutes.
Whose account: as the AWS tools find it (AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN, AWS_ENDPOINT_URL).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from plantdoc.aws.tags import TAG, stack_name
from plantdoc.core import stage
from plantdoc.core.errors import UserError
from plantdoc.remote import remote_config

if TYPE_CHECKING:
    from plantdoc.aws import cloudformation

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE, REAPER = ROOT / "infra/base.yaml", ROOT / "src/plantdoc/ec2/reaper.py"
GITHUB = "token.actions.githubusercontent.com"


def main() -> None:
    arguments = parse()
    if not remote_config.CONFIG.is_file():
        raise UserError(f"{remote_config.CONFIG} is not there: run this from the repository's root")
    from plantdoc.aws import clients  # not for --help

    try:
        with clients.explained():
            arguments.run(arguments)
    except KeyboardInterrupt:
        print("aws: interrupted; AWS continues; run it again to attach", file=sys.stderr)
        sys.exit(130)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("create", help="make or change the stack, then set the DVC remote")
    making.set_defaults(run=create)
    making.add_argument("--bucket", required=True, help="its name, not taken by anyone on S3")
    making.add_argument("--region", help="where; default: the region of the AWS environment")
    making.add_argument("--email", required=True, help="address that the alarms on the bill go to")
    making.add_argument("--budget", type=float, default=50, help="dollars per month for the whole account")
    making.add_argument("--repository", default="", help="owner/name on GitHub whose workflows get roles")
    making.add_argument(
        "--instance-types", default="", help="EC2 types that a training may start, with wildcards (g4dn.* g5.* …)"
    )
    making.add_argument(
        "--endpoint-types", default="", help="types that an endpoint may have, with wildcards (ml.c* ml.m* …)"
    )
    making.add_argument(
        "--reaper",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether AWS looks every quarter of an hour for machines past their deadline and ends them (it does)",
    )
    making.add_argument("--dry-run", action="store_true", help="only say what would be done")
    undoing = commands.add_parser("delete", help="delete the stack and the bucket, set the DVC remote to a folder")
    undoing.set_defaults(run=delete)
    undoing.add_argument("--bucket", help="default: that of the DVC remote")
    undoing.add_argument("--force", action="store_true", help="delete the data in the bucket first, for good")
    undoing.add_argument("--dry-run", action="store_true", help="only say what would be done")
    return parser.parse_args()


def create(arguments: argparse.Namespace) -> None:
    """Bring the stack to what the arguments say, then the DVC remote."""
    from plantdoc.aws import bucket, clients, cloudformation

    parameters = stack_parameters(arguments)
    region = clients.region(arguments.region)
    client = signed_in(region)
    name = stack_name(arguments.bucket)
    stack = waited_for(client, name)
    if stack and stack["StackStatus"] == "UPDATE_ROLLBACK_FAILED":
        command = f"aws cloudformation continue-update-rollback --region {region} --stack-name {name}"
        raise UserError(f"the stack {name} is stuck after an update that failed: run `{command}`, then this again")
    if stack and stack["StackStatus"] in cloudformation.LEFTOVER:
        print(f"an earlier try left the stack {name} in {stack['StackStatus']}: it is deleted and created again")
        if arguments.dry_run:
            return
        cloudformation.delete(client, stack)
        stack = None
    orphan = None if stack else bucket.find(clients.client("s3", region), arguments.bucket)
    if orphan and orphan != region:
        raise UserError(f"the bucket {arguments.bucket} is in {orphan}: run this with --region {orphan}")
    if orphan:
        print(f"the bucket {arguments.bucket} is there without its stack: it is taken in as it is")
    parameters["GitHubProvider"] = github_provider(stack, region) if arguments.repository else ""
    parameters["Vpc"] = default_network(region)

    template = TEMPLATE.read_text(encoding="utf-8")
    planned = cloudformation.plan(client, name, template, parameters, TAG, take_in=bool(orphan))
    remote = {"url": f"s3://{arguments.bucket}/dvc", "region": region, "verify": "true"}
    if arguments.dry_run:
        if planned.needed:
            cloudformation.discard(client, planned)
        report_plan(name, planned, remote)
        return
    if planned.needed:
        cloudformation.execute(client, planned)
    else:
        print(unchanged(name))
    for output in cloudformation.changed(client, name).get("Outputs", ()):
        print(f"{output['OutputKey']}: {output['OutputValue']} ({output['Description']})")
    point_remote(remote)


def delete(arguments: argparse.Namespace) -> None:
    """Delete stack and bucket, whichever of them there is, and set the DVC remote back to the folder."""
    from plantdoc.aws import bucket, clients, cloudformation, stack_resources

    remote = remote_config.committed()
    if not arguments.bucket and not remote_bucket(remote):
        raise UserError(f"the DVC remote is no bucket ({remote.get('url', 'not set')}): say which one with --bucket")
    name = bucket.check_name(arguments.bucket or remote_bucket(remote))
    at_remote = name == remote_bucket(remote)
    region = clients.region(remote.get("region") if at_remote else None)
    signed_in(region)
    s3 = clients.client("s3", region)
    there = bucket.find(s3, name)
    client = clients.client("cloudformation", there or region)
    stack = waited_for(client, stack_name(name))
    held = bucket.contents(s3, name) if there else None
    if held and not arguments.force:
        raise UserError(
            f"the bucket {name} holds data ({held}), so nothing was deleted: fetch what you want to keep (dvc pull), "
            "then add --force (FORCE=1), which deletes all of it for good"
        )
    inside = stack_resources.resources(client, stack["StackId"]) if stack else {}
    if holding := stack_resources.holders(clients.client("iam", region), inside):
        commands = "\n  ".join(command for each in holding.values() for command in each)
        raise UserError(
            f"somebody has the policy {' and '.join(sorted(holding))} of the stack, which AWS then does not delete, so "
            f"nothing was deleted: take it away first\n  {commands}"
        )
    found = [
        *([f"the stack {stack_name(name)}"] if stack else []),
        *([f"the bucket {name}" + (f" with all in it ({held})" if held else "")] if there else []),
    ]
    if arguments.dry_run:
        print(f"would delete {' and '.join(found)}" if found else "there is nothing to delete")
        report_rest(s3, client, name, inside)
        return
    # The stack leaves the bucket; its roles go first, so that nobody writes into a bucket that is being deleted. Where
    # AWS cannot delete the stack, the data stays.
    if stack:
        cloudformation.delete(client, stack)
    if held:
        bucket.empty(s3, name, held)
    if there:
        bucket.delete(s3, name)
    print(f"deleted {' and '.join(found)}" if found else "there is nothing to delete")
    report_rest(s3, client, name, inside)
    if at_remote:
        point_remote({"url": remote_config.FOLDER, "verify": "true"})


def stack_parameters(arguments: argparse.Namespace) -> dict[str, str]:
    """The parameters of the template.

    Raises:
        UserError: an argument is not what it should be.
    """
    from plantdoc.aws import bucket

    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", arguments.email):
        raise UserError(f"{arguments.email!r} is not an e-mail address: the alarms on the bill go there")
    if not 1 <= arguments.budget < 1e9:
        raise UserError(f"--budget {arguments.budget:g}: give dollars per month, 1 or more")
    if arguments.repository and not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", arguments.repository):
        raise UserError(f"{arguments.repository!r} is not a repository on GitHub: write owner/name")
    owner, _, repository = arguments.repository.partition("/")
    return types(arguments) | {
        "Bucket": bucket.check_name(arguments.bucket),
        "Email": arguments.email,
        "Budget": f"{arguments.budget:.10g}",
        "Owner": owner,
        "Repository": repository,
        "ReaperCode": REAPER.read_text(encoding="utf-8") if arguments.reaper else "",
    }


def types(arguments: argparse.Namespace) -> dict[str, str]:
    """Bounds of the types of instances; without one, the template's own.

    Raises:
        UserError: one of them is no type.
    """
    given = {"InstanceTypes": arguments.instance_types, "EndpointInstanceTypes": arguments.endpoint_types}
    found = {name: text.replace(",", " ").split() for name, text in given.items() if text.strip()}
    for name, prefix in (("InstanceTypes", ""), ("EndpointInstanceTypes", r"ml\.")):
        for each in found.get(name, ()):
            if not re.fullmatch(rf"{prefix}[a-z][a-z0-9-]*(\*|\.(\*|[a-z0-9-]+))", each):
                raise UserError(
                    f"{each!r} is no type of instances: write it like {'ml.c5.*' if prefix else 'g5.*'}, or in full"
                )
    return {name: ",".join(values) for name, values in found.items()}


def signed_in(region: str):
    """A client of CloudFormation, after a line that says whose account it works on."""
    from plantdoc.aws import clients

    who = clients.client("sts", region).get_caller_identity()
    print(f"account {who['Account']}, region {region}, as {who['Arn']}")
    return clients.client("cloudformation", region)


def waited_for(client, name: str) -> dict | None:
    """The stack when nothing is under way in it any more; None where there is none."""
    from plantdoc.aws import cloudformation

    stack = cloudformation.find(client, name)
    if cloudformation.busy(stack):
        before = cloudformation.events(client, stack["StackId"])
        print(f"the stack {name} is in {stack['StackStatus']} from an earlier try: waiting", flush=True)
        cloudformation.watch(client, stack["StackId"], before)
        stack = cloudformation.find(client, name)
    return stack


def github_provider(stack: dict | None, region: str) -> str:
    """ARN of the provider that the account holds for GitHub; empty where the stack is to make it or has made it."""
    from plantdoc.aws import clients

    before = {entry["ParameterKey"]: entry["ParameterValue"] for entry in (stack or {}).get("Parameters", ())}
    if before.get("Owner") and not before.get("GitHubProvider"):
        return ""
    held = clients.client("iam", region).list_open_id_connect_providers()["OpenIDConnectProviderList"]
    return next((entry["Arn"] for entry in held if entry["Arn"].endswith(f"/{GITHUB}")), "")


def default_network(region: str) -> str:
    """Id of the network that an account has in each region; empty, and that is told, where somebody deleted it."""
    from plantdoc.aws import clients

    wanted = [{"Name": "is-default", "Values": ["true"]}]
    if found := clients.client("ec2", region).describe_vpcs(Filters=wanted)["Vpcs"]:
        return found[0]["VpcId"]
    print(
        f"{region} has no default network (VPC), so no training can run on EC2: for that, make one with "
        f"`aws ec2 create-default-vpc --region {region}` and run this again"
    )
    return ""


def report_plan(name: str, planned: cloudformation.Plan, remote: dict[str, str]) -> None:
    """Print what `create` would do."""
    print("\n".join([f"would change the stack {name}:", *planned.lines]) if planned.needed else unchanged(name))
    now = remote_config.committed()
    if remote != now:
        print(
            f"would set the DVC remote to {remote['url']} in {remote_config.CONFIG}; now: {now.get('url', 'not set')}"
        )


def report_rest(s3, client, name: str, inside: dict[str, tuple[str, str]]) -> None:
    """Print what stays in the account: other stacks and buckets of this project, and GitHub's identity provider."""
    from plantdoc.aws import stack_resources

    for other in stack_resources.other_stacks(client, stack_name(name)):
        print(f"another stack of this project stays: {other}")
    for other in stack_resources.other_buckets(s3, name):
        print(f"another bucket of this project stays: {other} (`make aws-delete BUCKET={other}`)")
    for kind, provider in inside.values():
        if kind == "AWS::IAM::OIDCProvider":
            print(
                f"{provider} stays, as other roles may use it; where none does: "
                f"`aws iam delete-open-id-connect-provider --open-id-connect-provider-arn {provider}`"
            )


def unchanged(name: str) -> str:
    return f"the stack {name} is as it should be: nothing to change"


def remote_bucket(remote: dict[str, str]) -> str:
    """The bucket of the DVC remote; empty where it is a folder."""
    url = remote.get("url", "")
    return url.removeprefix("s3://").partition("/")[0] if url.startswith("s3://") else ""


def point_remote(settings: dict[str, str]) -> None:
    """Set the DVC remote and say so."""
    if settings == remote_config.committed():
        print(f"the DVC remote is {settings['url']} already")
        return
    remote_config.write(settings)
    print(f"the DVC remote is now {settings['url']}: commit {remote_config.CONFIG}, then `dvc push`")


if __name__ == "__main__":
    stage.run(main)
