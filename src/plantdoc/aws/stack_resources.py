"""What stands in the way of deleting a stack, and what of this project an account has beside it."""

from __future__ import annotations

from plantdoc.aws.tags import TAG

_MANY = 200  # buckets of an account whose tags are read, one request each


def resources(client, stack: str) -> dict[str, tuple[str, str]]:
    """Type and name of the stack's resources, by their names in the template."""
    pages = client.get_paginator("list_stack_resources").paginate(StackName=stack)
    found = (each for page in pages for each in page["StackResourceSummaries"])
    return {
        each["LogicalResourceId"]: (each["ResourceType"], each["PhysicalResourceId"])
        for each in found
        if each.get("PhysicalResourceId")
    }


def holders(iam, found: dict[str, tuple[str, str]]) -> dict[str, list[str]]:
    """Who has the policies among these resources and is none of them: commands that take each away, by policy."""
    own = {name for kind, name in found.values() if kind == "AWS::IAM::Role"}
    holding: dict[str, list[str]] = {}
    for logical, (kind, arn) in found.items():
        if kind != "AWS::IAM::ManagedPolicy":
            continue
        for page in iam.get_paginator("list_entities_for_policy").paginate(PolicyArn=arn):
            named = {
                "user": [each["UserName"] for each in page.get("PolicyUsers", ())],
                "group": [each["GroupName"] for each in page.get("PolicyGroups", ())],
                "role": [each["RoleName"] for each in page.get("PolicyRoles", ()) if each["RoleName"] not in own],
            }
            for whom, names in named.items():
                holding.setdefault(logical, []).extend(
                    f"aws iam detach-{whom}-policy --{whom}-name {name} --policy-arn {arn}" for name in names
                )
    return {logical: commands for logical, commands in holding.items() if commands}


def other_stacks(client, name: str) -> list[str]:
    """Names of the region's other stacks with the project's tag."""
    pages = client.get_paginator("describe_stacks").paginate()
    found = (stack for page in pages for stack in page["Stacks"])
    return sorted(
        stack["StackName"] for stack in found if stack["StackName"] != name and _is_ours(stack.get("Tags", ()))
    )


def other_buckets(s3, name: str) -> list[str]:
    """Names of the account's other buckets with the project's tag, as far as their tags may be read."""
    from botocore.exceptions import ClientError

    ours = []
    for bucket in s3.list_buckets()["Buckets"][:_MANY]:
        try:
            if bucket["Name"] != name and _is_ours(s3.get_bucket_tagging(Bucket=bucket["Name"])["TagSet"]):
                ours.append(bucket["Name"])
        except ClientError:  # no tags, another region that is closed, or not for these credentials to see
            continue
    return ours


def _is_ours(tags) -> bool:
    return TAG.items() <= {tag["Key"]: tag["Value"] for tag in tags}.items()
