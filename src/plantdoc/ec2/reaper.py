"""End machines of this project that are past their deadline.

`scripts/ec2.py reap` runs this by hand. infra/base.yaml has AWS run this very file every quarter of an hour, as a
Lambda function: so it stands alone, with nothing but boto3 and the standard library, and below 4,096 characters.
"""

import time

GRACE = 600  # seconds past the deadline that a machine has to end by itself
LONGEST = 121 * 3600  # seconds after its launch in which any machine has to end; runner.max_hours is 120 at most
OURS = {"Name": "tag:project", "Values": ["plant-disease-detector"]}
PAID = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}


def reap(ec2, now):
    """Terminate our machines whose deadline (seconds since 1970) is more than GRACE before `now`.

    Returns one dict for each: instance, type, zone, run, deadline, and error: why AWS kept it, or None.
    """
    found = []
    for page in ec2.get_paginator("describe_instances").paginate(Filters=[OURS, PAID]):
        for machine in (each for reservation in page["Reservations"] for each in reservation["Instances"]):
            tags = {tag["Key"]: tag["Value"] for tag in machine.get("Tags", ())}
            if now > (end := deadline(machine, tags)) + GRACE:
                found.append(
                    {
                        "instance": machine["InstanceId"],
                        "type": machine["InstanceType"],
                        "zone": machine["Placement"]["AvailabilityZone"],
                        "run": tags.get("run"),
                        "deadline": end,
                        "error": terminate(ec2, machine["InstanceId"]),
                    }
                )
    return found


def deadline(machine, tags):
    """Deadline of an instance: its tag's, but never later than LONGEST after the launch, whatever the tag says."""
    latest = machine["LaunchTime"].timestamp() + LONGEST
    try:
        return min(float(int(tags["deadline"])), latest)
    except (KeyError, ValueError, OverflowError):
        return latest


def terminate(ec2, instance):
    """End one machine; returns what AWS says against it, and the others get their turn."""
    from botocore.exceptions import ClientError

    try:
        ec2.terminate_instances(InstanceIds=[instance])
    except ClientError as error:
        return str(error)
    return None


def handler(event, context):
    """Lambda handler. Fails where a machine could not be ended, so that the function's errors show it."""
    import boto3

    ended = reap(boto3.client("ec2"), time.time())
    for machine in ended:
        print(machine)
    if kept := [machine for machine in ended if machine["error"]]:
        raise RuntimeError(f"not ended: {kept}")
    return len(ended)
