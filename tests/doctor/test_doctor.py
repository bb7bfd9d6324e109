"""The doctor's page, from the real command line: what is ready, what is not and how to mend it."""

from __future__ import annotations

import http.server
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import boto3
import fake_repo
import fake_s3
import folder_deps
import pytest
import script_runner
import small_repo
from import_graph import ROOT

from plantdoc.core.errors import UserError
from plantdoc.doctor import checks

SECRET = "d1stinctive-s3cret"
AWAY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The repository before its first run, with an origin."""
    repository = fake_repo.make(tmp_path_factory.mktemp("made") / "repository")
    small_repo.git(repository, "remote", "add", "origin", "https://example.org/plants.git")
    return repository


@pytest.fixture
def repository(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "repository", symlinks=True))


@pytest.fixture
def aws(monkeypatch):
    """A stand-in for AWS that the tools of this process and its children find."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with fake_s3.running(monkeypatch) as s3:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield s3


def page(
    repository: Path, *words: str, run=script_runner.run, **environment: str
) -> tuple[dict[str, tuple[str, str]], int, str]:
    """State and text of each line by its name, the exit code, and the page as it was printed."""
    done = run(repository, "python", "scripts/doctor.py", *words, check=False, **environment)
    lines, name = {}, ""
    for line in done.stdout.split("\n\n")[0].splitlines():
        state, new, text = line[:12].strip(), line[12:25].strip(), line[25:]
        name = new or name
        before = lines.get(name, (state, ""))
        lines[name] = (before[0], f"{before[1]} {text}".strip())
    return lines, done.returncode, done.stdout


def on_s3(repository: Path, bucket: str) -> None:
    (repository / ".dvc/config.local").write_text(f"['remote \"storage\"']\n    url = s3://{bucket}/dvc\n")


def test_a_clean_clone_is_ready_to_run_the_pipeline(repository):
    lines, code, text = page(
        repository, run=small_repo.run, WANDB_MODE="disabled", PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin"
    )
    assert code == 0 and text.endswith("\nready for repro\n")
    assert lines["Python"][1].startswith(".".join(map(str, sys.version_info[:3])))
    assert lines["environment"][1].startswith("as requirements.txt says")
    assert lines["git"][1] == f"commit {small_repo.git(repository, 'rev-parse', 'HEAD')[:7]}, on main"
    assert lines["DVC"][1] == "initialised; the pipeline has not run yet (no dvc.lock)"
    assert lines["params"][1] == "params.yaml is valid: compact on sample, lr 0.1"
    assert lines["W&B"] == ("ready", "off: WANDB_MODE is disabled")
    assert {lines[name][0] for name in ("remote", "credentials", "machines", "quota", "SageMaker")} == {"not needed"}


def test_the_page_fits_into_a_hundred_columns_and_has_no_colour_in_a_log(repository):
    _, _, text = page(repository, "ec2", AWS_ENDPOINT_URL=AWAY, AWS_DEFAULT_REGION="us-east-1")
    assert all(len(line) <= 100 or " " not in line.strip() for line in text.splitlines())  # a path is not broken
    assert "\x1b" not in text


def test_on_a_terminal_the_states_are_coloured(repository):
    ours, theirs = pty.openpty()
    environment = small_repo.environment() | {"NO_COLOR": ""}
    subprocess.run([sys.executable, "scripts/doctor.py"], cwd=repository, env=environment, stdout=theirs, check=True)
    os.close(theirs)
    assert b"\x1b[32mready\x1b[0m" in os.read(ours, 10_000)
    os.close(ours)


def test_what_differs_from_the_lock_is_named_and_markers_are_honoured(repository):
    lock = repository / "requirements.txt"
    text = lock.read_text().replace("\npackaging==", "\npackaging==1.")
    lock.write_text(text + "no-such-package==3.0\nonly-elsewhere==1.0 ; sys_platform == 'win32'\n")
    lines, code, _ = page(repository)
    state, said = lines["environment"]
    assert code == 1 and state == "not ready"
    assert (
        "packaging is" in said
        and "no-such-package is missing, not 3.0" in said
        and "`pip install -r requirements.txt`" in said
    )
    assert "only-elsewhere" not in said


def test_a_package_that_is_missing_spoils_its_own_check_alone(repository):
    (repository / "src/pydantic.py").write_text("raise ImportError('No module named pydantic')")
    lines, code, _ = page(repository, run=small_repo.run)
    assert code == 1
    assert lines["params"] == ("not ready", "No module named pydantic: `make setup`")
    assert lines["git"][0] == lines["disk"][0] == "ready"


def test_what_is_unusual_about_git_is_told_and_stops_nothing(repository):
    small_repo.git(repository, "checkout", "-q", "--detach")
    small_repo.git(repository, "remote", "remove", "origin")
    (repository / "Makefile").write_text("")
    lines, code, _ = page(repository)
    assert code == 0
    assert "on no branch (`git switch BRANCH` before you commit), 1 changed file not committed" in lines["git"][1]
    assert "no origin (`git remote add origin URL`" in lines["git"][1]


def test_files_with_merge_conflicts_are_named(repository, monkeypatch):
    small_repo.git(repository, "branch", "other")
    for branch, rate in (("main", 0.3), ("other", 0.2)):
        small_repo.git(repository, "checkout", "-q", branch)
        small_repo.set_params(repository, lr=rate)
        small_repo.git(repository, "commit", "-q", "-a", "-m", branch)
    small_repo.git(repository, "checkout", "-q", "main")
    assert small_repo.run(repository, "git", "merge", "other", check=False).returncode == 1
    monkeypatch.chdir(repository)
    with pytest.raises(UserError, match=r"^merge conflicts in params\.yaml: .*CHANGELOG\.md"):
        checks.git("repro")


def test_files_in_folders_of_code_that_git_does_not_track_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(folder_deps.make(tmp_path))
    folder_deps.leave_ignored(tmp_path / "src/room")
    assert checks.code("repro") == "4 files that stages depend on, none of them unknown to git"
    for i in range(7):
        folder_deps.write(tmp_path / f"src/room/scratch{i}.py", "")
    with pytest.raises(UserError, match=r"^src/room/scratch0\.py, .* and 2 more: not tracked by git.*`git add`"):
        checks.code("repro")


def test_without_a_commit_or_a_repository_the_remedy_is_said(repository):
    shutil.rmtree(repository / ".git")
    assert "not the root of a git repository" in page(repository)[0]["git"][1]
    small_repo.git(repository, "init", "-q")
    lines, code, _ = page(repository)
    assert code == 1
    assert lines["git"][0] == "not ready" and "git add -A && git commit" in lines["git"][1]


def test_a_wrong_param_and_a_missing_pipeline_are_not_ready(repository):
    small_repo.set_params(repository, lr=-1)
    (repository / "dvc.yaml").unlink()
    lines, code, text = page(repository)
    assert code == 1 and text.endswith("not ready for repro: DVC, params\n")
    assert "lr = -1" in lines["params"][1]
    assert "git checkout dvc.yaml" in lines["DVC"][1]


def test_the_gpus_are_those_that_nvidia_smi_lists(repository, tmp_path):
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'GPU 0: Tesla T4 (UUID: GPU-1)'\n")
    program.chmod(0o755)
    path = f"{program.parent}:{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = small_repo.environment() | {"PATH": path}
    done = subprocess.run([sys.executable, "scripts/doctor.py"], cwd=repository, env=environment, capture_output=True)
    assert "GPU          GPU 0: Tesla T4\n" in done.stdout.decode()


def test_too_little_disk_is_not_ready(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 9 * 10**9, 10**9))
    with pytest.raises(UserError, match=r"1\.0 GB free, about 6 GB are needed: `make gc`"):
        checks.disk("repro")


def test_pushing_to_a_folder_needs_no_credentials(repository):
    lines, code, _ = page(repository, "push")
    assert code == 0
    assert lines["remote"][1] == f"{repository.parent}/plant-disease-storage can be read and written"
    assert lines["credentials"][1] == "none needed: the remote is a folder"
    assert not (repository.parent / "plant-disease-storage").exists()


def test_a_remote_that_cannot_be_written_is_not_ready(repository):
    (repository.parent / "plant-disease-storage").write_text("a file")
    lines, code, _ = page(repository, "push")
    assert code == 1 and lines["remote"][0] == "not ready"


def test_on_aws_it_says_whose_the_credentials_are_and_never_what_they_are(repository, aws):
    aws.create_bucket(Bucket="plants")
    on_s3(repository, "plants")
    lines, code, text = page(repository, "push")
    assert code == 0
    assert lines["remote"] == ("ready", "s3://plants/dvc can be read and written")
    assert lines["credentials"][1].startswith("account 123456789012, arn:aws:sts::123456789012:")
    assert aws.list_objects_v2(Bucket="plants")["KeyCount"] == 0
    assert SECRET not in text
    on_s3(repository, "nowhere")
    lines, code, _ = page(repository, "push")
    assert code == 1 and "there is no such bucket" in lines["remote"][1]


def test_serving_wants_a_bucket_and_sagemaker(repository, aws):
    lines, code, _ = page(repository, "deploy")
    assert code == 1
    assert lines["remote"][0] == "not ready" and "is a folder of this machine: `make aws" in lines["remote"][1]
    assert lines["SageMaker"] == ("ready", "answers in us-east-1")
    aws.create_bucket(Bucket="plants")
    on_s3(repository, "plants")
    lines, code, _ = page(repository, "deploy")
    assert code == 1 and lines["remote"][0] == "ready"
    assert lines["SageMaker"][0] == "not ready"
    assert "no stack plant-disease-plants" in lines["SageMaker"][1] and "run `make aws" in lines["SageMaker"][1]


def test_wrong_secrets_are_named_without_being_shown(repository, aws, monkeypatch):
    iam = boto3.client("iam")
    iam.create_user(UserName="grower")
    key = iam.create_access_key(UserName="grower")["AccessKey"]
    aws.create_bucket(Bucket="plants")
    on_s3(repository, "plants")
    check_signatures()
    try:
        lines, code, text = page(repository, "push", AWS_ACCESS_KEY_ID=key["AccessKeyId"])
    finally:
        check_signatures(after=float("inf"))
    assert code == 1
    assert lines["remote"][0] == lines["credentials"][0] == "not ready"
    assert "check AWS_SECRET_ACCESS_KEY" in lines["remote"][1]
    assert SECRET not in text


def check_signatures(after: float = 0) -> None:
    """Tell the stand-in for AWS to refuse from the next call on, or from one that never comes."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    urllib.request.urlopen(urllib.request.Request(url, str(after).encode(), {"Content-Type": "text/plain"})).close()


def test_without_credentials_the_remedy_is_said(repository, tmp_path):
    on_s3(repository, "plants")
    (tmp_path / "none").touch()
    files = {name: str(tmp_path / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    lines, code, _ = page(
        repository,
        "push",
        **files,
        AWS_EC2_METADATA_DISABLED="true",
        AWS_ENDPOINT_URL=AWAY,
        AWS_DEFAULT_REGION="us-east-1",
    )
    assert code == 1
    assert "no AWS credentials were found" in lines["credentials"][1]
    assert "no AWS credentials were found" in lines["remote"][1]


def test_a_dead_endpoint_does_not_hang_the_page(repository):
    on_s3(repository, "plants")
    lines, code, text = page(
        repository,
        "ec2",
        AWS_ENDPOINT_URL=AWAY,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY=SECRET,
        AWS_DEFAULT_REGION="us-east-1",
    )
    assert code == 1 and text.endswith("not ready for ec2: remote, credentials, machines, quota\n")
    assert all("AWS cannot be reached" in lines[name][1] for name in ("remote", "credentials", "machines", "quota"))
    assert lines["git"][0] == "ready" and SECRET not in text


class Quotas(http.server.BaseHTTPRequestHandler):
    """Service Quotas for one account; the stand-in for AWS knows no quota of EC2."""

    values: dict[str, float]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        value = self.values.get(asked["QuotaCode"]) if operation == "GetServiceQuota" else 0.0
        status, answer = 200, {"Quota": {"Value": value}}
        if value is None:
            status, answer = 400, {"__type": "NoSuchResourceException", "message": "not set"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def quotas(monkeypatch):
    """Values by quota code, to be filled by the test; others are AWS's default, 0."""
    values: dict[str, float] = {}
    handler = type("Handler", (Quotas,), {"values": values})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", f"http://127.0.0.1:{server.server_port}")
    yield values
    server.shutdown()
    server.server_close()


@pytest.fixture
def repository_on_aws(repository, aws, quotas) -> Path:
    """A repository with a bucket, its stack, and an image for machines; no quota yet."""
    ec2 = boto3.client("ec2")
    (network,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    values = {"Bucket": "plants", "Email": "me@example.org", "Vpc": network["VpcId"]}
    boto3.client("cloudformation").create_stack(
        StackName="plant-disease-plants",
        TemplateBody=(ROOT / "infra/base.yaml").read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
    )
    on_s3(repository, "plants")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    small_repo.set_params(repository, runner__image=image)
    return repository


@pytest.mark.slow
def test_ec2_wants_a_quota_for_one_of_the_instance_types_on_one_of_the_markets(repository_on_aws, quotas):
    lines, code, text = page(repository_on_aws, "ec2")
    assert code == 1 and lines["quota"][0] == "not ready" and text.endswith("not ready for ec2: quota\n")
    assert "g5.xlarge takes 4 vCPUs of 0 spot, 0 on demand; g4dn.xlarge takes 4" in lines["quota"][1]
    assert "Service Quotas, Amazon EC2, L-3819A6DF or L-DB2E81BA" in lines["quota"][1]
    quotas["L-3819A6DF"] = 4.0
    lines, code, text = page(repository_on_aws, "ec2")
    assert code == 0, text
    assert "of 4 spot, 0 on demand" in lines["quota"][1]
    small_repo.set_params(repository_on_aws, runner__spot=False)
    lines, code, _ = page(repository_on_aws, "ec2")
    assert code == 1 and "vCPUs of 0 on demand; " in lines["quota"][1]


def test_the_wanted_instance_types_and_region_come_from_the_params(repository, aws, quotas):
    small_repo.set_params(repository, runner__instance_types=["p4d.24xlarge"], runner__region="eu-west-1")
    quotas["L-417A185B"] = 96.0
    lines, _, _ = page(repository, "ec2")
    assert lines["quota"] == ("ready", "eu-west-1: p4d.24xlarge takes 96 vCPUs of 0 spot, 96 on demand")


@pytest.mark.slow
def test_ec2_wants_what_make_aws_has_made_and_an_image(repository_on_aws, aws):
    lines, _, _ = page(repository_on_aws, "ec2")
    state, said = lines["machines"]
    assert state == "ready" and "with plant-disease-plants-MachineProfile" in said and "us-east-1a" in said
    assert re.search(r"^ami-\S+ .* sg-\S+ in", said)
    small_repo.set_params(repository_on_aws, runner__image="/aws/service/no/such/image")
    lines, code, _ = page(repository_on_aws, "ec2")
    assert (
        code == 1 and "runner.image = /aws/service/no/such/image: us-east-1 has no such image" in lines["machines"][1]
    )
    aws.create_bucket(Bucket="others")
    on_s3(repository_on_aws, "others")
    lines, _, _ = page(repository_on_aws, "ec2")
    assert lines["remote"][0] == "ready" and lines["machines"][0] == "not ready"
    assert "no stack plant-disease-others" in lines["machines"][1] and "`make aws BUCKET=others" in lines["machines"][1]


def test_ec2_wants_a_bucket(repository, aws):
    lines, code, _ = page(repository, "ec2")
    assert code == 1
    assert "is a folder of this machine: `make aws" in lines["remote"][1]
    assert "`make aws BUCKET=" in lines["machines"][1]


def test_an_unknown_job_lists_the_known_ones(repository):
    done = script_runner.run(repository, "python", "scripts/doctor.py", "fly", check=False)
    assert done.returncode == 2 and "repro" in done.stdout and "sagemaker" not in done.stdout


def test_nothing_heavy_is_loaded_to_look_before_a_run():
    code = "import sys; sys.path[:0] = ['scripts', 'src']; import doctor; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"tensorflow", "pandas", "dvc", "boto3", "pydantic", "psutil", "packaging"} & set(loaded.split())
