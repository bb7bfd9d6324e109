"""The rights of a person or workflow that deploys: enough for what they do, and nothing beyond."""

from __future__ import annotations

import http.server
import json
import threading
from types import SimpleNamespace

import fake_sagemaker
import fake_sagemaker_account
import iam_requests
import iam_story
import pytest
from fake_sagemaker_account import BUCKET, MACHINES, NAME, REGION, SERVERLESS
from iam_evaluator import ACCOUNT, Request
from import_graph import ROOT
from PIL import Image
from stack_policies import Stack

from plantdoc.coco import dataset
from plantdoc.deploy import bundle
from plantdoc.doctor import checks_aws
from plantdoc.sagemaker import deployment, listing, teardown

TEMPLATE = ROOT / "infra/base.yaml"
SERVING = {"threshold": 0.5, "max_pixels": 1e6, "map50": 0.9, "map50_low": 0.85, "map50_high": 0.95, "pictures": 1}


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> fake_sagemaker_account.Stock:
    """A bundle whose model is no TensorFlow's, and a picture in which it finds nothing."""
    folder = tmp_path_factory.mktemp("stock")
    content = folder / "good/content"
    (content / bundle.MODEL).mkdir(parents=True)
    (content / bundle.MODEL / "saved_model.pb").write_bytes(b"asked by nobody")
    for name, about in {"labels.json": ["leaf"], "config.json": {"classes": ["leaf"]}, bundle.SERVING: SERVING}.items():
        (content / name).write_text(json.dumps(about))
    bundle.pack(content, folder / "good/model.tar.gz")
    (folder / "test").mkdir()
    Image.new("RGB", (60, 40)).save(folder / "test/1.png")
    dataset.save(dataset.Split(("leaf",), (dataset.Picture(1, "1.png", 60, 40),)), folder / "test")
    (folder / "predictions.json").write_text("[]")
    return fake_sagemaker_account.Stock(folder)


class FindsNothing(http.server.BaseHTTPRequestHandler):
    """A container that has no detections in any picture."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"model": self.server.version, "detections": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """No line per request."""


@pytest.fixture
def world(stock, tmp_path, monkeypatch):
    servers = []

    def start(archive: bytes, environment: dict[str, str], python: str = ""):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FindsNothing)
        server.version = environment["MODEL_VERSION"]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return SimpleNamespace(port=server.server_port, stop=lambda: None)

    monkeypatch.setattr(fake_sagemaker, "start", start)
    with (
        fake_sagemaker_account.account() as aws,
        fake_sagemaker_account.entered(aws, stock, tmp_path / "workspace", monkeypatch) as world,
    ):
        yield world
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def stack(world) -> Stack:
    """The account's stack, with the names that it has there."""
    name = f"plant-disease-{BUCKET}"
    found = world.aws.client("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    physical = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found if "LogicalResourceId" in each}
    return Stack(TEMPLATE, name, REGION, ACCOUNT, {"Bucket": BUCKET, "Email": "me@example.org"}, physical)


def serve(world) -> None:
    """Versions on machines, the one before again, another kind of endpoint, all that looks at them, and the end."""
    world.deploy(**MACHINES)
    world.deploy(world.stock.better(), **MACHINES)
    deployment.rollback(world.context(), world.settings(**MACHINES))
    listing.endpoints(world.context())
    world.deploy(world.stock.variant("third", map50=0.99), replace=True, **SERVERLESS)
    checks_aws._default.cache_clear()
    for check in (checks_aws.credentials, checks_aws.sagemaker):
        check("deploy")
    teardown.remove(world.context(), NAME)


@pytest.mark.slow(8)
def test_who_deploys_may_do_all_that_is_done_and_nothing_else(world, stack):
    serve(world)
    calls = [call for call in (*world.aws.calls, *world.aws.s3_calls) if call.by != "test"]
    requests = iam_requests.of(calls, world.aws)
    assert len(requests) > 40
    # Pulling a registered version is DVC's, and an upload in parts that breaks off is S3's own client's.
    objects = f"arn:aws:s3:::{BUCKET}"
    requests += [
        Request.of("s3:GetObject", f"{objects}/dvc/files/md5/ab/cd"),
        Request.of("s3:AbortMultipartUpload", f"{objects}/bundles/0/model.tar.gz"),
    ]
    assert "s3:AbortMultipartUpload" in iam_story.documented(TEMPLATE, "Deployer")
    bucket = stack.resource("StoragePolicy")["PolicyDocument"]
    story = iam_story.Story(stack.policy("Deployer"), requests, bucket)
    iam_story.check(story)
    place = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
    others = [
        Request.of("s3:PutObject", f"{objects}/bundles/api/{'a' * 64}.zip"),
        Request.of("s3:PutObject", f"{objects}/dvc/files/md5/ab/cd"),
        Request.of("s3:GetObject", f"{objects}/runs/0123456789abcdef/result.json"),
        Request.of("s3:DeleteObject", f"{objects}/bundles/0/model.tar.gz"),
        Request.of("sagemaker:DeleteEndpoint", f"{place}:endpoint/another"),
        Request.of("sagemaker:InvokeEndpoint", f"{place}:endpoint/another"),
        Request.of("sagemaker:CreateTrainingJob", f"{place}:training-job/plant-disease-x"),
        Request.of("iam:PassRole", stack.arn("MachineRole"), **{"iam:PassedToService": "sagemaker.amazonaws.com"}),
        Request.of("iam:PassRole", stack.arn("ServingRole"), **{"iam:PassedToService": "ec2.amazonaws.com"}),
        *(
            Request.of(
                "sagemaker:CreateEndpointConfig",
                f"{place}:endpoint-config/plant-disease-x",
                **{"sagemaker:InstanceTypes": names},
            )
            for names in (("ml.p4d.24xlarge",), ("ml.c6i.large", "ml.p4d.24xlarge"))
        ),
        Request.of(
            "application-autoscaling:RegisterScalableTarget",
            f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/1",
            **{"application-autoscaling:service-namespace": "ecs"},
        ),
        Request.of("cloudwatch:DeleteAlarms", f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:billing"),
    ]
    assert story.denied(others) == others
