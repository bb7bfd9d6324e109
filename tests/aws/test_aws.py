"""scripts/aws.py on the command line, against a server that speaks AWS.

The server makes the bucket with its encryption and tags, and the roles. It skips versioning, the public access block,
the bucket's policy and the budget: those are held by the template (test_infra.py).
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import fake_s3
import flask
import pytest
import script_runner
import small_repo
from botocore.exceptions import ClientError
from moto.awslambda.models import lambda_backends
from moto.cloudformation.models import CloudFormationBackend, Event, cloudformation_backends
from moto.core.exceptions import ServiceException
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.sts.responses import TokenResponse

from plantdoc.aws import cloudformation
from plantdoc.core.errors import UserError

SCRIPT = small_repo.ROOT / "scripts/aws.py"
REGION = "eu-central-1"
BUCKET = "leaves"
STACK = f"plant-disease-{BUCKET}"
CREATE = ("create", "--bucket", BUCKET, "--region", REGION, "--email", "me@example.org")
FOLDER_REMOTE = """[core]
    analytics = false
    remote = storage
['remote "storage"']
    url = ../../plant-disease-storage
    verify = true
"""
S3_REMOTE = """[core]
    analytics = false
    remote = storage
['remote "storage"']
    url = s3://leaves/dvc
    region = eu-central-1
    verify = true
"""


@pytest.fixture
def s3(monkeypatch):
    """A client of S3 in REGION, with nothing of AWS in the environment but a key, a secret and the server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with fake_s3.running(monkeypatch):
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        yield boto3.client("s3", region_name=REGION)


@pytest.fixture
def clone(tmp_path) -> Path:
    """As much of a clone as the command looks at."""
    folder = tmp_path / "clone"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc/config").write_text(FOLDER_REMOTE)
    return folder


@pytest.mark.slow
def test_create_makes_the_stack_then_sets_the_remote_and_again_changes_nothing(s3, clone, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-nobody-may-read")
    first = aws(clone, *CREATE)
    assert (clone / ".dvc/config").read_text() == S3_REMOTE
    assert f"s3://{BUCKET}/dvc" in script_runner.run(clone, "dvc", "remote", "list").stdout
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == REGION
    assert "AES256" in json.dumps(s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"])
    tag = {"Key": "project", "Value": "plant-disease-detector"}
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == [tag]
    assert stack()["Tags"] == [tag]
    assert "CREATE_COMPLETE" in first.stdout
    events = event_count()

    second = aws(clone, *CREATE)
    assert "nothing to change" in second.stdout
    assert (clone / ".dvc/config").read_text() == S3_REMOTE
    assert event_count() == events
    assert change_sets() <= 1, "that which made the stack"
    for place in (first.stdout, second.stdout, S3_REMOTE):
        assert "a-secret-that-nobody-may-read" not in place


def test_a_dry_run_says_what_create_would_do_and_leaves_nothing_behind(s3, clone):
    said = aws(clone, *CREATE, "--dry-run").stdout
    assert "Add      AWS::S3::Bucket             Storage" in said
    assert f"would set the DVC remote to s3://{BUCKET}/dvc" in said
    assert stack() is None
    assert change_sets() == 0
    assert s3.list_buckets()["Buckets"] == []
    assert (clone / ".dvc/config").read_text() == FOLDER_REMOTE


def test_dry_run_on_an_existing_stack_changes_nothing(s3, clone):
    made(parameters={"Budget": "20"})
    before = change_sets()
    said = aws(clone, *CREATE, "--dry-run").stdout
    assert f"would change the stack {STACK}" in said
    assert (stack()["StackStatus"], change_sets()) == ("CREATE_COMPLETE", before)
    assert {"ParameterKey": "Budget", "ParameterValue": "20"} in stack()["Parameters"]


@pytest.mark.slow
def test_delete_refuses_while_there_is_data_and_deletes_all_of_it_when_forced(s3, clone):
    made()
    (clone / ".dvc/config").write_text(S3_REMOTE)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for content in (b"old", b"new"):
        s3.put_object(Bucket=BUCKET, Key="dvc/twice", Body=content)
    s3.put_object(Bucket=BUCKET, Key="dvc/gone", Body=b"x")
    s3.delete_object(Bucket=BUCKET, Key="dvc/gone")

    refused = aws(clone, "delete", check=False)
    assert refused.returncode == 1
    assert "objects: 1, old versions: 3, 7.00B" in refused.stdout and "--force" in refused.stdout
    said = aws(clone, "delete", "--force", "--dry-run").stdout
    assert f"would delete the stack {STACK} and the bucket {BUCKET} with all in it" in said
    assert len(s3.list_object_versions(Bucket=BUCKET)["Versions"]) == 3
    assert (clone / ".dvc/config").read_text() == S3_REMOTE

    for number in range(1000):  # more than S3 deletes at once
        s3_backends["123456789012"]["aws"].put_object(BUCKET, f"dvc/{number}", b"x")
    forced = aws(clone, "delete", "--force").stdout
    assert "empty: 100%" in forced and "DELETE_COMPLETE" in forced
    assert stack() is None
    assert s3.list_buckets()["Buckets"] == []
    assert (clone / ".dvc/config").read_text() == FOLDER_REMOTE


@pytest.mark.slow
def test_delete_refuses_while_somebody_has_a_policy_and_names_who(s3, clone):
    """AWS deletes no policy that is attached, and the data would be gone by then."""
    made({"Owner": "me", "Repository": "leaves"})
    (clone / ".dvc/config").write_text(S3_REMOTE)
    s3.put_object(Bucket=BUCKET, Key="dvc/data", Body=b"data")
    iam = boto3.client("iam", region_name=REGION)
    runner = next(
        each["Arn"] for each in iam.list_policies(Scope="Local")["Policies"] if "Runner" in each["PolicyName"]
    )
    iam.create_user(UserName="ada")
    iam.attach_user_policy(UserName="ada", PolicyArn=runner)
    iam.create_group(GroupName="growers")
    iam.attach_group_policy(GroupName="growers", PolicyArn=runner)
    for words in (("delete", "--force"), ("delete", "--force", "--dry-run")):
        said = aws(clone, *words, check=False)
        assert said.returncode == 1 and "somebody has the policy Runner of the stack" in said.stdout
        assert f"aws iam detach-user-policy --user-name ada --policy-arn {runner}" in said.stdout
        assert f"aws iam detach-group-policy --group-name growers --policy-arn {runner}" in said.stdout
        assert "detach-role-policy" not in said.stdout, "the stack's own roles go with it"
    assert s3.get_object(Bucket=BUCKET, Key="dvc/data")["Body"].read() == b"data"
    assert stack()["StackStatus"] == "CREATE_COMPLETE"
    iam.detach_user_policy(UserName="ada", PolicyArn=runner)
    iam.detach_group_policy(GroupName="growers", PolicyArn=runner)
    aws(clone, "delete", "--force")
    assert stack() is None and s3.list_buckets()["Buckets"] == []


def test_githubs_provider_stays_and_its_removal_is_said(s3, capsys):
    """The stand-in for CloudFormation makes none; that the template keeps it is in test_infra.py."""
    arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
    script = runpy.run_path(str(SCRIPT))
    client = boto3.client("cloudformation", region_name=REGION)
    script["report_rest"](s3, client, BUCKET, {"GitHub": ("AWS::IAM::OIDCProvider", arn)})
    said = capsys.readouterr().out
    assert f"{arn} stays, as other roles may use it" in said
    assert f"delete-open-id-connect-provider --open-id-connect-provider-arn {arn}" in said


@pytest.mark.slow
def test_a_stack_that_cannot_be_deleted_leaves_the_data(s3, clone, monkeypatch):
    made()
    (clone / ".dvc/config").write_text(S3_REMOTE)
    s3.put_object(Bucket=BUCKET, Key="dvc/data", Body=b"data")

    def fail(self, name_or_stack_id):
        backend_stack().status = "DELETE_FAILED"
        happened("DELETE_FAILED", "AWS::IAM::ManagedPolicy", "Runner", "Cannot delete a policy attached to entities.")

    monkeypatch.setattr(CloudFormationBackend, "delete_stack", fail)
    said = aws(clone, "delete", "--force", check=False)
    assert said.returncode == 1 and "Runner: Cannot delete a policy attached to entities." in said.stdout
    assert s3.get_object(Bucket=BUCKET, Key="dvc/data")["Body"].read() == b"data"
    assert (clone / ".dvc/config").read_text() == S3_REMOTE


def test_delete_tells_what_else_of_the_project_is_there(s3, clone):
    made()
    (clone / ".dvc/config").write_text(S3_REMOTE)
    bucket(s3, "other-leaves")
    s3.create_bucket(Bucket="strangers", CreateBucketConfiguration={"LocationConstraint": REGION})
    tag = [{"Key": "project", "Value": "plant-disease-detector"}]
    about = {"Resources": {"Log": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "api"}}}}
    client = boto3.client("cloudformation", region_name=REGION)
    client.create_stack(StackName="plant-disease-api", TemplateBody=json.dumps(about), Tags=tag)
    said = aws(clone, "delete", "--dry-run").stdout
    assert "another stack of this project stays: plant-disease-api" in said
    assert "another bucket of this project stays: other-leaves (`make aws-delete BUCKET=other-leaves`)" in said
    assert "strangers" not in said


@pytest.mark.slow
def test_types_of_instances_bound_the_policies(s3, clone):
    aws(clone, *CREATE, "--instance-types", "p4d.* g5.xlarge", "--endpoint-types", "ml.g5.*")
    given = {each["ParameterKey"]: re.findall(r"[\w.*]+", each["ParameterValue"]) for each in stack()["Parameters"]}
    assert given["InstanceTypes"] == ["p4d.*", "g5.xlarge"] and given["EndpointInstanceTypes"] == ["ml.g5.*"]
    wrong = aws(clone, *CREATE, "--instance-types", "*", check=False)
    assert wrong.returncode == 1 and "'*' is no type of instances" in wrong.stdout


@pytest.mark.full
def test_delete_goes_on_where_it_was_interrupted_and_says_when_nothing_is_left(s3, clone):
    (clone / ".dvc/config").write_text(S3_REMOTE)
    bucket(s3)  # the stack is gone already
    assert f"deleted the bucket {BUCKET}" in aws(clone, "delete").stdout
    assert s3.list_buckets()["Buckets"] == []
    assert (clone / ".dvc/config").read_text() == FOLDER_REMOTE
    again = aws(clone, "delete", "--bucket", BUCKET, AWS_DEFAULT_REGION=REGION)
    assert "nothing to delete" in again.stdout


def test_delete_of_another_bucket_leaves_the_remote_alone(s3, clone):
    (clone / ".dvc/config").write_text(S3_REMOTE)
    bucket(s3, "other-leaves")
    aws(clone, "delete", "--bucket", "other-leaves", AWS_DEFAULT_REGION=REGION)
    assert (clone / ".dvc/config").read_text() == S3_REMOTE


@pytest.mark.full
def test_create_makes_anew_what_an_earlier_try_left_half_made(s3, clone):
    made()
    (clone / ".dvc/config").write_text(S3_REMOTE)
    backend_stack().status = "ROLLBACK_COMPLETE"
    said = aws(clone, *CREATE).stdout
    assert f"an earlier try left the stack {STACK} in ROLLBACK_COMPLETE" in said
    assert stack()["StackStatus"] == "CREATE_COMPLETE"
    assert s3.head_bucket(Bucket=BUCKET)


@pytest.mark.full
def test_ctrl_c_leaves_the_stack_going_and_the_next_run_waits_for_it(s3, clone):
    made()
    backend_stack().status = "CREATE_IN_PROGRESS"
    with started(clone, *CREATE) as waiting:
        until(waiting, "waiting")
        waiting.send_signal(signal.SIGINT)
        rest = waiting.stdout.read()
    assert waiting.returncode == 130
    assert rest.strip() == "aws: interrupted; AWS continues; run it again to attach"
    assert (clone / ".dvc/config").read_text() == FOLDER_REMOTE

    with started(clone, *CREATE) as waiting:
        until(waiting, "waiting")
        happened("CREATE_COMPLETE", "AWS::IAM::Role", "MachineRole")
        backend_stack().status = "CREATE_COMPLETE"
        rest = waiting.stdout.read()
    assert waiting.returncode == 0
    assert "CREATE_COMPLETE             AWS::IAM::Role              MachineRole" in rest
    assert (clone / ".dvc/config").read_text() == S3_REMOTE


def test_a_stack_that_fails_says_why_and_leaves_the_remote_as_it_was(s3, clone, monkeypatch):
    carry_out = CloudFormationBackend.execute_change_set

    def fail(self, *arguments, **named):
        carry_out(self, *arguments, **named)
        happened("CREATE_FAILED", "AWS::Budgets::Budget", "Alarm", "The address is not right")
        happened("CREATE_FAILED", "AWS::IAM::Role", "MachineRole", "Resource creation cancelled")
        backend_stack().status = "ROLLBACK_COMPLETE"

    monkeypatch.setattr(CloudFormationBackend, "execute_change_set", fail)
    done = aws(clone, *CREATE, check=False)
    assert done.returncode == 1
    assert "the stack ended in ROLLBACK_COMPLETE: Alarm: The address is not right; mend that" in done.stdout
    assert (clone / ".dvc/config").read_text() == FOLDER_REMOTE


def test_stuck_stack_is_left_with_the_command_that_frees_it(s3, clone):
    made()
    backend_stack().status = "UPDATE_ROLLBACK_FAILED"
    done = aws(clone, *CREATE, check=False)
    assert done.returncode == 1
    assert f"continue-update-rollback --region {REGION} --stack-name {STACK}" in done.stdout


def test_a_stack_that_somebody_deleted_meanwhile_is_named(s3):
    with pytest.raises(UserError, match=f"{STACK} is gone: .* run this again"):
        cloudformation.changed(boto3.client("cloudformation", region_name=REGION), STACK)


def test_a_bucket_that_outlived_its_stack_is_taken_in_and_a_stranger_is_not(s3, clone, monkeypatch):
    asked = []
    plan = CloudFormationBackend.create_change_set
    monkeypatch.setattr(
        CloudFormationBackend,
        "create_change_set",
        lambda self, *arguments, **named: asked.append(request_body()) or plan(self, *arguments, **named),
    )
    bucket(s3)
    said = aws(clone, *CREATE, "--dry-run").stdout
    assert "is there without its stack: it is taken in" in said
    assert "ImportExistingResources=true" in asked[0]
    assert f"run this with --region {REGION}" in aws(clone, *CREATE, "--region", "us-east-1", check=False).stdout

    s3.delete_bucket_tagging(Bucket=BUCKET)
    for command in (CREATE, ("delete", "--force", "--bucket", BUCKET)):
        done = aws(clone, *command, check=False, AWS_DEFAULT_REGION=REGION)
        assert done.returncode == 1
        assert f"the bucket {BUCKET} was not made by this project" in done.stdout
    assert s3.head_bucket(Bucket=BUCKET)


@pytest.mark.full
def test_existing_github_provider_is_used(s3, clone):
    (clone / ".dvc/config").write_text(S3_REMOTE)
    iam = boto3.client("iam", region_name=REGION)
    provider = iam.create_open_id_connect_provider(Url="https://token.actions.githubusercontent.com")
    aws(clone, *CREATE, "--repository", "me/leaves")
    trusts = [role["AssumeRolePolicyDocument"]["Statement"][0] for role in iam.list_roles()["Roles"]]
    federated = [trust for trust in trusts if "Federated" in trust["Principal"]]
    assert {trust["Principal"]["Federated"] for trust in federated} == {provider["OpenIDConnectProviderArn"]}
    subjects = [trust["Condition"]["StringLike"]["token.actions.githubusercontent.com:sub"] for trust in federated]
    assert ["repo:me/leaves:environment:production", "repo:me@*/leaves@*:environment:production"] in subjects
    assert "nothing to change" in aws(clone, *CREATE, "--repository", "me/leaves").stdout


@pytest.mark.full
def test_a_profile_gives_credentials_region_and_endpoint(s3, clone, tmp_path, monkeypatch):
    key, secret, token = someone_with("*")
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    (tmp_path / "config").write_text(f"[profile field]\nregion = us-west-2\nendpoint_url = {endpoint}\n")
    (tmp_path / "credentials").write_text(
        f"[field]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\naws_session_token = {token}\n"
    )
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with checked_from_now(endpoint):
        done = aws(
            clone,
            "create", "--bucket", BUCKET, "--email", "me@example.org",
            AWS_PROFILE="field",
            AWS_CONFIG_FILE=str(tmp_path / "config"),
            AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials"),
        )  # fmt: skip
    assert "region us-west-2" in done.stdout
    config = (clone / ".dvc/config").read_text()
    assert "region = us-west-2" in config
    for hidden in (key, secret, token):
        assert hidden not in done.stdout + config


def test_a_training_machine_reads_data_and_writes_below_its_run_and_nothing_else(s3):
    made()
    iam = boto3.client("iam", region_name=REGION)
    (role,) = [role for role in iam.list_roles()["Roles"] if "MachineRole" in role["RoleName"]]
    # The server's CloudFormation keeps a role's own policy in a form that it cannot read again.
    kept = json.dumps(iam_backends["123456789012"]["aws"].roles[role["RoleId"]].policies["run"])
    # It also takes a pattern for a regular expression with another sign for any number of characters.
    iam.put_role_policy(RoleName=role["RoleName"], PolicyName="run", PolicyDocument=kept.replace("?", "."))
    sts = boto3.client("sts", region_name=REGION)
    given = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="machine")["Credentials"]
    machine = boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], REGION)
    storage = machine.client("s3")
    s3.put_object(Bucket=BUCKET, Key="dvc/files/md5/ab/cd", Body=b"x")
    mine, code = "runs/0123456789abcdef/1/log/000000", f"runs/code/{'a' * 64}.tar.gz"
    with checked_from_now():
        storage.put_object(Bucket=BUCKET, Key=mine, Body=b"x")
        for key in ("dvc/files/md5/ab/cd", mine):
            assert storage.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"x"
        assert storage.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 2
        for refused in (
            lambda: storage.put_object(Bucket=BUCKET, Key="bundles/model.tar.gz", Body=b"x"),
            lambda: storage.put_object(Bucket=BUCKET, Key="dvc/files/md5/ab/cd", Body=b"x"),
            lambda: storage.put_object(Bucket=BUCKET, Key=code, Body=b"x"),
            lambda: storage.delete_object(Bucket=BUCKET, Key=mine),
            lambda: machine.client("ec2").terminate_instances(InstanceIds=["i-1"]),
            lambda: machine.client("ec2").describe_instances(),
        ):
            with pytest.raises(ClientError, match=r"AccessDenied|UnauthorizedOperation"):
                refused()


@pytest.mark.parametrize("option", ["--no-reaper", pytest.param("--reaper", marks=pytest.mark.full)])
def test_the_reaper_comes_with_the_stack_unless_it_is_not_wanted(s3, clone, option):
    aws(clone, *CREATE, *([] if option == "--reaper" else [option]))
    functions = boto3.client("lambda", region_name=REGION).list_functions()["Functions"]
    rules = boto3.client("events", region_name=REGION).list_rules()["Rules"]
    if option == "--no-reaper":
        assert functions == rules == []
        return
    assert [(each["Handler"], each["Runtime"]) for each in functions] == [("index.handler", "python3.13")]
    code = lambda_backends["123456789012"][REGION].get_function(functions[0]["FunctionName"]).code
    files = zipfile.ZipFile(io.BytesIO(base64.b64decode(code["ZipFile"])))
    assert files.read("index.py") == (small_repo.ROOT / "src/plantdoc/ec2/reaper.py").read_bytes()
    assert [(each["ScheduleExpression"], each["State"]) for each in rules] == [("rate(15 minutes)", "ENABLED")]


def test_machines_get_a_group_that_lets_nobody_in(s3, clone):
    ec2 = boto3.client("ec2", region_name=REGION)
    (network,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    made(parameters={"Vpc": network["VpcId"]})
    outputs = {entry["OutputKey"]: entry["OutputValue"] for entry in stack()["Outputs"]}
    (group,) = ec2.describe_security_groups(GroupIds=[outputs["MachineGroup"]])["SecurityGroups"]
    assert (group["IpPermissions"], group["VpcId"]) == ([], network["VpcId"])
    assert outputs["Runner"].startswith("arn:aws:iam::123456789012:policy/")
    # `create` finds the network by itself
    said = aws(clone, *CREATE).stdout
    assert "default network" not in said
    assert {"ParameterKey": "Vpc", "ParameterValue": network["VpcId"]} in stack()["Parameters"]


@pytest.mark.full
def test_without_a_default_network_the_rest_is_made_and_the_remedy_said(s3, clone):
    ec2_backends["123456789012"][REGION].vpcs.clear()
    said = aws(clone, *CREATE).stdout
    assert f"aws ec2 create-default-vpc --region {REGION}" in said
    assert stack()["StackStatus"] == "CREATE_COMPLETE"
    groups = boto3.client("ec2", region_name=REGION).describe_security_groups()["SecurityGroups"]
    assert not [group for group in groups if group["Description"].startswith("Training machines")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bucket", "Leaves"), "'Leaves' is not a name for a bucket: 3 to 63 small letters"),
        (("--bucket", "my.leaves"), "dots do not go with TLS"),
        (("--bucket", "xn--leaves"), "S3 keeps this beginning"),
        (("--email", "me"), "'me' is not an e-mail address"),
        (("--budget", "0"), "--budget 0: give dollars per month"),
        (("--budget", "nan"), "--budget nan: give dollars per month"),
        (("--repository", "leaves"), "'leaves' is not a repository on GitHub: write owner/name"),
        (("--region", "Frankfurt"), "Frankfurt is not a region of AWS"),
        (("--region", ""), "no region: give one"),
    ],
)
def test_a_wrong_argument_is_named_before_aws_is_asked(clone, monkeypatch, arguments, message):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    refuses(clone, message, *CREATE, *arguments)


def test_delete_wants_a_bucket_where_the_remote_is_none(clone):
    refuses(clone, "the DVC remote is no bucket", "delete")


def test_a_folder_that_is_no_clone_is_refused(tmp_path):
    done = aws(tmp_path, *CREATE, check=False)
    assert (done.returncode, ".dvc/config is not there: run this from the repository's root" in done.stdout) == (
        1,
        True,
    )


def test_missing_credentials_and_profiles_say_how_to_get_some(s3, clone, monkeypatch):
    refuses(clone, "(nowhere) could not be found: set AWS_PROFILE", *CREATE, AWS_PROFILE="nowhere")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refuses(clone, "no AWS credentials were found: run `aws configure`", *CREATE)


def test_an_endpoint_that_does_not_answer_is_named(s3, clone):
    refuses(clone, "AWS cannot be reached: Could not connect", *CREATE, AWS_ENDPOINT_URL="http://127.0.0.1:1")


def test_an_endpoint_that_is_no_aws_is_named(clone, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # knows no method
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        refuses(clone, "does not answer as AWS does", *CREATE, AWS_ENDPOINT_URL=endpoint)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_expired_token_says_how_to_get_a_new_one(s3, clone, monkeypatch):
    def expired(self):
        raise Expired("The security token included in the request is expired")

    monkeypatch.setattr(TokenResponse, "get_caller_identity", expired)
    refuses(clone, "the AWS credentials have expired: run `aws sso login`", *CREATE)


def test_a_wrong_secret_and_a_wrong_key_are_told_apart(s3, clone):
    key, _, token = someone_with("*")
    with checked_from_now():
        mine = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "wrong", "AWS_SESSION_TOKEN": token}
        refuses(clone, "the secret does not belong to the access key", *CREATE, **mine)
        refuses(clone, "AWS does not know this access key", *CREATE, **mine | {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"})


@pytest.mark.full
def test_what_aws_denies_is_named_and_a_name_taken_by_others_too(s3, clone):
    for allowed, message in (
        (["sts:*"], "AWS denies cloudformation:DescribeStacks: ask who looks after the account"),
        (["sts:*", "cloudformation:*"], f"the bucket {BUCKET} belongs to another account, or your credentials"),
    ):
        key, secret, token = someone_with(allowed)
        mine = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}
        with checked_from_now():
            refuses(clone, message, *CREATE, **mine)


class Expired(ServiceException):
    code = "ExpiredToken"


def aws(folder: Path, *arguments: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess:
    return script_runner.run(folder, "python", str(SCRIPT), *arguments, check=check, **extra)


def refuses(folder: Path, message: str, *arguments: str, **extra: str) -> None:
    """One message, no traceback, and the settings as they were."""
    done = aws(folder, *arguments, check=False, **extra)
    last = done.stdout.splitlines()[-1]
    assert (done.returncode, last.startswith("aws: ")) == (1, True), done.stdout
    assert message in last
    assert "Traceback" not in done.stdout
    assert (folder / ".dvc/config").read_text() == FOLDER_REMOTE


@contextlib.contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=folder,
        env=small_repo.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
            process.wait(timeout=60)
        finally:
            process.kill()


def until(process: subprocess.Popen, word: str) -> None:
    """Read what it prints up to the line with `word`."""
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"it ended and never said {word}")


def made(parameters: dict[str, str] | None = None) -> None:
    """The stack, as `create` makes it."""
    values = {"Bucket": BUCKET, "Email": "me@example.org", "Budget": "50", "Owner": "", "Repository": ""}
    values |= {"GitHubProvider": ""} | (parameters or {})
    boto3.client("cloudformation", region_name=REGION).create_stack(
        StackName=STACK,
        TemplateBody=(small_repo.ROOT / "infra/base.yaml").read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
    )


def bucket(s3, name: str = BUCKET) -> None:
    """A bucket of ours without its stack."""
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    tags = {"TagSet": [{"Key": "project", "Value": "plant-disease-detector"}]}
    s3.put_bucket_tagging(Bucket=name, Tagging=tags)


def stack() -> dict | None:
    stacks = boto3.client("cloudformation", region_name=REGION).describe_stacks()["Stacks"]
    return next((entry for entry in stacks if entry["StackName"] == STACK), None)


def backend_stack():
    """The server's own record of the stack, to set what it cannot be brought to."""
    (found,) = [entry for entry in backend().stacks.values() if entry.name == STACK]
    return found


def backend():
    return cloudformation_backends["123456789012"][REGION]


def happened(status: str, kind: str, name: str, reason: str | None = None) -> None:
    """Add an event to the stack."""
    into = backend_stack()
    into.events.append(Event(into.stack_id, STACK, name, name, kind, status, reason, None))


def event_count() -> int:
    return len(backend_stack().events)


def change_sets() -> int:
    return len(backend().change_sets)


def request_body() -> str:
    """What was sent to the server, in the midst of its answer."""
    return "&".join(f"{key}={value}" for key, value in flask.request.form.items())


def someone_with(actions: str | list[str]) -> tuple[str, str, str]:
    """Key, secret and session token of a role that may do these actions and no others."""
    iam = boto3.client("iam", region_name=REGION)
    name = f"role-{len(iam.list_roles()['Roles'])}"
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(policy))
    given = boto3.client("sts", region_name=REGION).assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    return given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]


@contextlib.contextmanager
def checked_from_now(url: str | None = None) -> Iterator[None]:
    """Have the server check signatures and policies, which it does not do by itself."""
    place = f"{url or os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"

    def after(calls: bytes) -> None:
        urllib.request.urlopen(urllib.request.Request(place, calls, {"Content-Type": "text/plain"})).close()

    after(b"0")
    try:
        yield
    finally:
        after(b"inf")
