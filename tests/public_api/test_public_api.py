"""scripts/api.py on the command line, against a server that speaks AWS.

moto makes the function, its role and its log. It lacks API Gateway (API, routes, integration and stage):
fake_api_stack.py keeps what the template says of them, and fake_api_gateway.py does what they would do with a request,
with the code and the settings that the function got. Nothing checks rights, nor the template's rules.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import external_programs
import fake_api_gateway
import fake_api_stack
import fake_aws
import pytest
import script_runner
import small_repo
from botocore.credentials import Credentials
from moto.cloudformation.models import cloudformation_backends
from PIL import Image

from plantdoc.public_api import curl, lambda_zip, stack

SCRIPT = small_repo.ROOT / "scripts/api.py"
ENDPOINT = "plant-disease-detector"
BUCKET = "leaves"
REGION = fake_aws.REGION
REMOTE = f"""[core]
    analytics = false
    remote = storage
['remote "storage"']
    url = s3://{BUCKET}/dvc
    region = {REGION}
"""
RESPONSE = {"model": "detector@v1.2.0", "width": 48, "height": 32, "detections": []}


@pytest.fixture(scope="module")
def cloud():
    with fake_aws.running() as cloud:
        cloud.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        # By moto's own means: no container is wanted behind it here.
        backend = cloud.sagemaker.backend
        backend.create_model("detector", f"arn:aws:iam::{fake_api_gateway.ACCOUNT}:role/x", {"Image": "x"}, {}, [], [])
        serverless = {"MaxConcurrency": 1, "MemorySizeInMB": 1024}
        variant = {"VariantName": "detector", "ModelName": "detector", "ServerlessConfig": serverless}
        backend.create_endpoint_config(ENDPOINT, [variant], {}, {}, [], "")
        backend.create_endpoint(ENDPOINT, ENDPOINT, [])
        yield cloud


@pytest.fixture
def aws(cloud, monkeypatch):
    """An account with a bucket and an endpoint and no API."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    cloud.sagemaker.backend.endpoints[ENDPOINT].endpoint_status = "InService"
    yield cloud
    cloud.client("cloudformation").delete_stack(StackName=stack.NAME)
    for key in keys(cloud):
        cloud.client("s3").delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture
def clone(tmp_path) -> Path:
    """As much of a clone as the command looks at, and a test picture."""
    folder = tmp_path / "clone"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc/config").write_text(REMOTE)
    shutil.copy(small_repo.ROOT / "params.yaml", folder)
    (folder / "data/raw/test/images").mkdir(parents=True)
    Image.new("RGB", (48, 32), 90).save(folder / "data/raw/test/images/a leaf.jpg")
    return folder


def api(folder: Path, *words: str, code: int = 0, **extra: str) -> str:
    done = script_runner.run(folder, "python", str(SCRIPT), *words, check=False, **extra)
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def keys(cloud) -> list[str]:
    return [item["Key"] for item in cloud.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def found(cloud) -> dict | None:
    stacks = cloud.client("cloudformation").describe_stacks()["Stacks"]
    return next((each for each in stacks if each["StackName"] == stack.NAME), None)


def backend():
    return cloudformation_backends[fake_api_gateway.ACCOUNT][REGION]


def change_sets() -> dict:
    return backend().change_sets


def made(cloud) -> dict:
    """The one function as AWS has it."""
    (function,) = cloud.client("lambda").list_functions()["Functions"]
    return function


def gateway() -> tuple[str, list[str] | None, tuple[float, float]]:
    """How the routes are guarded, the origins of CORS, and requests per second and at once."""
    (api,) = fake_api_stack.held["Api"].values()
    (address,) = fake_api_stack.held["Api"]
    routes, (stage,) = fake_api_stack.held["Route"].values(), fake_api_stack.held["Stage"].values()
    ((integration, about),) = fake_api_stack.held["Integration"].items()
    assert {(each["RouteKey"], each["Target"]) for each in routes} == {
        ("POST /predict", f"integrations/{integration}"),
        ("GET /health", f"integrations/{integration}"),
        ("HEAD /health", f"integrations/{integration}"),
    }
    assert {each["ApiId"] for each in (*routes, stage, about)} == {address}
    (guard,) = {each["AuthorizationType"] for each in routes}
    throttle = stage["DefaultRouteSettings"]
    rates = float(throttle["ThrottlingRateLimit"]), float(throttle["ThrottlingBurstLimit"])
    return guard, api.get("CorsConfiguration", {}).get("AllowOrigins"), rates


def key_in(said: str) -> str:
    (key,) = re.findall(r"shown this once \(keep it\): (\S+)$", said, re.MULTILINE)
    return key


def asked(cloud, folder: Path, said: str, **extra: str) -> tuple[dict, dict]:
    """What bash gets for the line of curl that was shown, and what the endpoint was asked.

    API Gateway, Lambda and the endpoint are stand-ins; code and settings of the function are what was uploaded.
    """
    external_programs.program("curl")
    (line,) = re.findall(r"^  (curl .*)$", said, re.MULTILINE)
    (url,) = re.findall(r"https://\S+\.amazonaws\.com(?=/predict)", line)
    variables = made(cloud)["Environment"]["Variables"]
    data = cloud.client("s3").get_object(Bucket=BUCKET, Key=stack.given(found(cloud))["Code"])["Body"].read()
    zipfile.ZipFile(io.BytesIO(data)).extractall(folder / "task")
    spec = importlib.util.spec_from_file_location("uploaded", folder / "task/lambda_function.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    signer = Credentials("key", "secret") if variables["ACCESS"] == "iam" else None
    with (
        fake_api_gateway.runtime(plant_disease_detector=lambda *_: json.dumps(RESPONSE).encode()) as runtime,
        pytest.MonkeyPatch.context() as patch,
        fake_api_gateway.gateway(module.handler, signer=signer) as local,
    ):
        for name, value in variables.items() | {("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", runtime.url)}:
            patch.setenv(name, value)
        done = subprocess.run(
            ["bash", "-c", line.replace(url, local)],
            cwd=folder,
            env=small_repo.environment(**extra),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), runtime.asked[0] if runtime.asked else {}


@pytest.mark.slow
def test_create_is_idempotent_and_its_curl_line_works(aws, clone):
    first = api(clone, "create")
    key = key_in(first)
    assert len(key) >= 43, "256 bits"
    assert f"the endpoint {ENDPOINT} is InService" in first
    assert "CREATE_COMPLETE" in first
    (code,) = keys(aws)
    assert f"s3://{BUCKET}/{code} (sent)" in first
    function = made(aws)
    assert (function["Runtime"], function["Handler"]) == ("python3.13", "lambda_function.handler")
    hashed = hashlib.sha256(key.encode()).hexdigest()
    assert function["Environment"]["Variables"] == {"ENDPOINT": ENDPOINT, "ACCESS": "key", "KEY_SHA256": hashed}
    assert found(aws)["Tags"] == [{"Key": "project", "Value": "plant-disease-detector"}]
    assert gateway() == ("NONE", None, (10, 20))
    answer, sent = asked(aws, clone, first, PLANTDOC_API_KEY=key)
    assert answer == RESPONSE
    picture = (clone / "data/raw/test/images/a leaf.jpg").read_bytes()
    assert (sent["type"], sent["body"], sent["endpoint"]) == ("image/jpeg", picture, ENDPOINT)

    again = api(clone, "create")
    assert "nothing to change" in again and "there already" in again
    shown = api(clone, "show")
    for said in (again, shown):
        assert "$PLANTDOC_API_KEY" in said and key not in said
        assert asked(aws, clone, said, PLANTDOC_API_KEY=key)[0] == RESPONSE
        assert asked(aws, clone, said, PLANTDOC_API_KEY="x")[0]["error"]["code"] == "key_wrong"
    assert keys(aws) == [code]
    assert not traces(aws, clone, key), "the key lies about"
    assert first.count(key) == 1, "the line has it from the environment: a shell's history keeps the line"


def traces(cloud, folder: Path, key: str) -> list[str]:
    """Where on AWS or in the clone the key is to be found."""
    formation = cloud.client("cloudformation")
    places = {
        "stack": json.dumps(found(cloud), default=str),
        "events": json.dumps(formation.describe_stack_events(StackName=stack.NAME), default=str),
        "template": json.dumps(formation.get_template(StackName=stack.NAME), default=str),
        "function": json.dumps(cloud.client("lambda").list_functions(), default=str),
        "calls": json.dumps([call.given for call in cloud.calls], default=str),
    }
    for name in keys(cloud):
        data = cloud.client("s3").get_object(Bucket=BUCKET, Key=name)["Body"].read()
        places[name] = data.decode("latin-1")
    for path in (path for path in folder.rglob("*") if path.is_file()):
        places[str(path)] = path.read_text(encoding="latin-1")
    looked_for = (key, base64.b64encode(key.encode()).decode().rstrip("="))
    return [place for place, text in places.items() if any(each in text for each in looked_for)]


@pytest.mark.full
def test_a_new_key_ends_the_one_before(aws, clone):
    first = api(clone, "create")
    second = api(clone, "create", "--new-key")
    assert "UPDATE_COMPLETE" in second
    old, new = key_in(first), key_in(second)
    assert asked(aws, clone, second, PLANTDOC_API_KEY=new)[0] == RESPONSE
    assert asked(aws, clone, second, PLANTDOC_API_KEY=old)[0]["error"]["code"] == "key_wrong"


@pytest.mark.full
def test_who_may_ask_is_a_param(aws, clone):
    api(clone, "create")
    small_repo.set_params(clone, serve__api_access="iam", serve__api_rate=3)
    said = api(clone, "create")
    variables = made(aws)["Environment"]["Variables"]
    assert variables == {"ENDPOINT": ENDPOINT, "ACCESS": "iam"}, "an old key is of no use any more"
    assert gateway() == ("AWS_IAM", None, (3, 20))
    credentials = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    assert asked(aws, clone, said, **credentials)[0] == RESPONSE
    assert "AWS_SESSION_TOKEN" not in said
    with_token = api(clone, "show", AWS_SESSION_TOKEN="token-of-a-session")
    assert asked(aws, clone, with_token, **credentials, AWS_SESSION_TOKEN="token-of-a-session")[0] == RESPONSE
    assert "token-of-a-session" not in with_token
    assert asked(aws, clone, said, **credentials | {"AWS_SECRET_ACCESS_KEY": "x"}) == ({"message": "Forbidden"}, {})
    assert "there is no key" in api(clone, "create", "--new-key", code=1)

    small_repo.set_params(clone, serve__api_access="open", serve__api_origins=["https://leaves.example"])
    said = api(clone, "create")
    assert "everyone: each request costs you" in said and "https://leaves.example" in said
    assert gateway() == ("NONE", ["https://leaves.example"], (3, 20))
    assert asked(aws, clone, said)[0] == RESPONSE


@pytest.mark.full
def test_a_dry_run_says_what_create_would_do_and_leaves_nothing_behind(aws, clone):
    before = len(change_sets())
    said = api(clone, "create", "--dry-run")
    assert "Add      AWS::Lambda::Function       Function" in said
    assert "key, shown" not in said
    assert (found(aws), keys(aws)) == (None, [])
    assert len(change_sets()) == before
    assert "nothing to delete" in api(clone, "delete", "--dry-run")

    api(clone, "create")
    assert "nothing to change" in api(clone, "create", "--dry-run")
    assert f"would delete the stack {stack.NAME}" in api(clone, "delete", "--dry-run")
    assert found(aws)["StackStatus"] == "CREATE_COMPLETE"


def test_delete_takes_it_away_and_says_what_is_left(aws, clone):
    api(clone, "create")
    said = api(clone, "delete")
    assert "DELETE_COMPLETE" in said and f"deleted the stack {stack.NAME}" in said
    assert f"1 × its code in s3://{BUCKET}/{lambda_zip.PREFIX}" in said
    assert found(aws) is None
    assert aws.client("lambda").list_functions()["Functions"] == []
    assert aws.client("logs").describe_log_groups()["logGroups"] == []
    assert aws.client("iam").list_roles()["Roles"] == []
    assert not any(fake_api_stack.held.values())
    assert ENDPOINT in aws.sagemaker.backend.endpoints
    assert "nothing to delete" in api(clone, "delete")
    assert "`make api` makes it" in api(clone, "show", code=1)


@pytest.mark.parametrize("ci", ["", "true"])
def test_whose_account_it_is_stands_in_no_log_of_ci(aws, clone, ci):
    said = api(clone, "delete", "--dry-run", CI=ci)
    assert (fake_api_gateway.ACCOUNT in said, "arn:" in said) == (not ci, not ci)
    assert f"region {REGION}" in said


@pytest.mark.full
def test_what_a_failed_creation_left_is_made_anew(aws, clone):
    api(clone, "create")
    (left,) = [each for each in backend().stacks.values() if each.name == stack.NAME]
    left.status = "ROLLBACK_COMPLETE"
    said = api(clone, "create")
    assert "DELETE_COMPLETE" in said
    assert asked(aws, clone, said, PLANTDOC_API_KEY=key_in(said))[0] == RESPONSE


@pytest.mark.full
def test_whoever_interrupts_it_has_the_key_all_the_same(aws, clone):
    arrived, release = threading.Event(), threading.Event()

    def hold(call) -> bool:
        arrived.set()
        release.wait(60)
        return False

    aws.fail("ExecuteChangeSet", "never", where=hold)
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "create"],
        cwd=clone,
        env=small_repo.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert arrived.wait(60)
        process.send_signal(signal.SIGINT)
        first, _ = process.communicate(timeout=60)
    finally:
        release.set()
        process.kill()
        process.wait()
        aws.faults.clear()
    assert process.returncode == 130, first
    assert "AWS continues; run it again to attach" in first
    (key,) = re.findall(r"if the change gets there, shown this once \(keep it\): (\S+)", first)
    said = api(clone, "create")
    assert "nothing to change" in said
    assert asked(aws, clone, said, PLANTDOC_API_KEY=key)[0] == RESPONSE


def test_it_refuses_where_there_is_nothing_to_stand_on(aws, clone):
    endpoints = aws.sagemaker.backend.endpoints
    endpoints[ENDPOINT].endpoint_status = "Failed"
    assert "is Failed: run `make deploy` first" in api(clone, "create", code=1)
    endpoints[ENDPOINT].endpoint_status = "InService"
    small_repo.set_params(clone, serve__endpoint="plant-disease-other")
    assert "there is no endpoint plant-disease-other" in api(clone, "create", code=1)
    (clone / ".dvc/config").write_text("[core]\n    remote = storage\n['remote \"storage\"']\n    url = ../../data\n")
    assert "the DVC remote is the folder" in api(clone, "create", code=1)
    assert (found(aws), keys(aws)) == (None, [])


@pytest.mark.parametrize(
    "origin", ["*", "https://*.example", "leaves.example", "https://leaves.example/", "https://a,b"]
)
def test_an_origin_is_one_or_is_refused(origin):
    serve = SimpleNamespace(api_origins=["http://localhost:8080", origin], api_access="key")
    with pytest.raises(stack.UserError, match="api_origins"):
        stack.parameters(None, serve, "", "")


def test_the_parcel_is_the_same_whenever_it_is_made(tmp_path, monkeypatch):
    first = lambda_zip.make()
    copy = tmp_path / "lambda_function.py"
    copy.write_bytes(lambda_zip.FUNCTION.read_bytes())
    copy.chmod(0o700)
    os.utime(copy, (1e9, 1e9))
    monkeypatch.setattr(lambda_zip, "FUNCTION", copy)
    assert lambda_zip.make() == first
    archive = zipfile.ZipFile(io.BytesIO(first))
    assert archive.namelist() == ["lambda_function.py", *lambda_zip.MODULES]
    assert archive.infolist()[0].external_attr >> 16 == 0o100644, "Lambda's user has to read it"
    copy.write_bytes(b"x")
    assert lambda_zip.key(lambda_zip.make()) != lambda_zip.key(first)


def test_the_line_names_a_test_picture_or_one_that_a_person_has(tmp_path):
    assert "--data-binary @leaf.jpg " in curl.line("https://x", "open", REGION, root=tmp_path)
    (tmp_path / "data/raw/test").mkdir(parents=True)
    (tmp_path / "data/raw/test/it's.webp").touch()
    (tmp_path / "data/raw/test/notes.txt").touch()
    line = curl.line("https://x", "open", REGION, root=tmp_path)
    assert "content-type: image/webp" in line
    assert line.split("--data-binary ")[1].startswith("'@data/raw/test/it'\"'\"'s.webp'")
