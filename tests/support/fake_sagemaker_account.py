"""SageMaker as a person meets it: an account with the stack, a workspace with a bundle, and bundles to follow it.

All bundles hold the same SavedModel, which finds rectangles; they differ in what stands beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import fake_aws
import rectangle_bundles
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_api._internal.models import moto_api_backend
from PIL import Image, ImageDraw
from ruamel.yaml import YAML
from stopped_clock import StoppedClock

from plantdoc.coco import dataset
from plantdoc.core import params
from plantdoc.deploy import bundle
from plantdoc.sagemaker import context, deployment
from plantdoc.settings import serve_params

ROOT = Path(__file__).resolve().parents[2]
REGION, BUCKET, NAME = "eu-central-1", "leaves", "plant-disease-detector"
COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}
# What the stand-in of SageMaker is asked for: quick, and most tests are of these.
SERVERLESS = {"serverless": True, "memory_mb": 2048, "check_pictures": 3}
MACHINES = {"serverless": False, "check_pictures": 3}


@dataclass(frozen=True)
class Stock:
    """A bundle, test pictures, and what the bundle's model finds in them, made once for many tests."""

    folder: Path

    @property
    def good(self) -> Path:
        return self.folder / "good/model.tar.gz"

    def variant(self, name: str, code: dict[str, tuple[str, str]] | None = None, **about: object) -> Path:
        """The good bundle with other figures in its serving.json, or with text of its code replaced."""
        archive = self.folder / name / "model.tar.gz"
        if not archive.exists():
            content = self.folder / name / "content"
            shutil.copytree(self.folder / "good/content", content)
            serving = content / bundle.SERVING
            serving.write_text(json.dumps(json.loads(serving.read_text()) | about))
            for file, (old, new) in (code or {}).items():
                path = content / "code" / file
                assert old in path.read_text()
                path.write_text(path.read_text().replace(old, new))
            bundle.pack(content, archive)
        return archive

    def better(self) -> Path:
        return self.variant("better", map50=0.95, map50_low=0.9, map50_high=0.98)

    def wrong(self) -> Path:
        """Better by its own account, but its boxes are elsewhere than evaluate saw them."""
        moved = {"plantdoc/serving/handler/response.py": ("round(side, 3)", "round(side + 5, 3)")}
        return self.variant("wrong", moved, map50=0.97, map50_low=0.92, map50_high=0.99)

    def dead(self) -> Path:
        """Its code cannot be imported."""
        return self.variant("dead", {"inference.py": ("import json", "import no_such_module")}, map50=0.97)


@dataclass
class World:
    """The account and the workspace that is the current directory."""

    aws: fake_aws.AWS
    stock: Stock
    folder: Path
    clock: StoppedClock = field(default_factory=StoppedClock)

    @property
    def sagemaker(self):
        return self.aws.client("sagemaker")

    def context(self) -> context.Context:
        return replace(context.find(), clock=self.clock.clock)

    def settings(self, **changes: object) -> serve_params.Params:
        """params.yaml with other values in its sections serve and deploy; also written, for commands."""
        yaml = YAML()
        values = yaml.load(ROOT / "params.yaml")
        for key, value in changes.items():
            values["serve" if key in values["serve"] else "deploy"][key] = value
        yaml.dump(values, self.folder / "params.yaml")
        return params.load(serve_params.Params, self.folder / "params.yaml")

    def holds(self, archive: Path) -> None:
        """Make this the workspace's bundle."""
        (self.folder / "models/bundle").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive, self.folder / "models/bundle/model.tar.gz")

    def deploy(
        self, archive: Path | None = None, force: bool = False, *, replace: bool = False, **changes: object
    ) -> dict:
        """Serve what `archive` makes the workspace's bundle, in this process."""
        if archive:
            self.holds(archive)
        return deployment.deploy(
            self.context(), self.settings(**(SERVERLESS | changes)), None, force=force, replace=replace
        )

    def start(self, *words: str, script: str = "deploy.py") -> subprocess.Popen:
        """scripts/deploy.py as a person starts it."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / script), *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        """The same, to its end; returns what it printed."""
        return self.run_script("deploy.py", *words, code=code)

    def run_script(self, script: str, *words: str, code: int = 0) -> str:
        """Another script, to its end; returns what it printed."""
        process = self.start(*words, script=script)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == code, said
        return said

    def answered_by(self, name: str = NAME) -> str:
        """Which version answers about a picture, and that it finds the rectangles."""
        picture = next(self.folder.glob("data/raw/test/*.png"))
        answer = self.aws.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=name, ContentType="image/png", Body=picture.read_bytes()
        )
        said = json.loads(answer["Body"].read())
        assert {each["class_name"] for each in said["detections"]} == set(COLOURS)
        return said["model"]

    def alarm(self, state: str) -> None:
        """Set the endpoint's alarm on errors to "ALARM" or "OK"."""
        backend = cloudwatch_backends[DEFAULT_ACCOUNT_ID][REGION]  # not by a call: the server may be at one
        backend.set_alarm_state(f"{NAME}-errors", "as the test says", "{}", state)

    def asked(self, action: str) -> list[dict]:
        """What AWS was asked by this action, in order."""
        return [call.given for call in self.aws.calls if call.action == action]

    def present(self) -> dict[str, list[str]]:
        """All that is in the account, ours or not, by kind; kinds of which there is nothing are left out."""
        client = self.sagemaker
        found = {
            "endpoints": [each["EndpointName"] for each in client.list_endpoints()["Endpoints"]],
            "configs": [each["EndpointConfigName"] for each in client.list_endpoint_configs()["EndpointConfigs"]],
            "models": [each["ModelName"] for each in client.list_models()["Models"]],
            "targets": [
                each["ResourceId"]
                for each in self.aws.client("application-autoscaling").describe_scalable_targets(
                    ServiceNamespace="sagemaker"
                )["ScalableTargets"]
            ],
            "policies": [
                each["PolicyName"]
                for each in self.aws.client("application-autoscaling").describe_scaling_policies(
                    ServiceNamespace="sagemaker"
                )["ScalingPolicies"]
            ],
            "alarms": [each["AlarmName"] for each in self.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        }
        return {kind: sorted(names) for kind, names in found.items() if names}


def make_stock(folder: Path) -> Stock:
    """The bundle and its test pictures: TensorFlow saves it and is asked about them, in processes of their own."""
    rectangle_bundles.rectangles(folder / "good")
    test = folder / "test"
    test.mkdir()
    pictures = []
    for number in range(1, 5):
        picture = Image.new("RGB", (120 + 10 * number, 100), (60, 60, 60))
        for place, colour in enumerate(COLOURS.values()):
            left = 8 + 36 * place + number
            ImageDraw.Draw(picture).rectangle((left, 10 + 9 * place, left + 25, 50 + 7 * place), fill=colour)
        name = f"{number}.{'png' if number % 2 else 'jpg'}"
        picture.save(test / name, **({} if number % 2 else {"quality": 95, "subsampling": 0}))
        pictures.append(dataset.Picture(number, name, *picture.size))
    dataset.save(dataset.Split(tuple(COLOURS), tuple(pictures)), test)
    rows = bundle.ask(folder / "good/content/1", test, [1, 2, 3, 4], 2)
    assert len(rows) == 12
    (folder / "predictions.json").write_text(json.dumps(rows))
    return Stock(folder)


@contextlib.contextmanager
def account() -> Iterator[fake_aws.AWS]:
    """The server, for many tests; containers that it has started serve them all."""
    with fake_aws.running(region=REGION) as aws:
        yield aws


@contextlib.contextmanager
def entered(aws: fake_aws.AWS, stock: Stock, folder: Path, monkeypatch) -> Iterator[World]:
    """An account with nothing but the stack, and a fresh workspace as the current directory."""
    moto_api_backend.reset()
    aws.sagemaker.renew()
    aws.faults.clear()
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    aws.make_stack(BUCKET)
    aws.calls.clear()
    (folder / ".dvc").mkdir(parents=True)
    text = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://{BUCKET}/dvc\n    region = {REGION}\n"
    (folder / ".dvc/config").write_text(text)
    shutil.copytree(stock.folder / "test", folder / "data/raw/test")
    (folder / "results/evaluate").mkdir(parents=True)
    shutil.copyfile(stock.folder / "predictions.json", folder / "results/evaluate/predictions.json")
    monkeypatch.chdir(folder)
    world = World(aws, stock, folder)
    world.settings(**SERVERLESS)
    world.holds(stock.good)
    yield world


def register(world: World, version: str) -> None:
    """Make the workspace a repository in which this version is registered, data and all."""
    from plantdoc.core import git
    from plantdoc.repo.commands import dvc

    (world.folder / ".dvc/config").rename(world.folder / "config")
    shutil.rmtree(world.folder / ".dvc")
    git.text("init", "-q", root=world.folder)
    git.text("config", "user.email", "me@example.org", root=world.folder)
    git.text("config", "user.name", "me", root=world.folder)
    dvc("init", "-q", root=world.folder)
    (world.folder / "config").replace(world.folder / ".dvc/config")
    stages = {
        "fetch": {"cmd": "true", "outs": [{"data/raw": {"persist": True}}]},
        "evaluate": {"cmd": "true", "outs": [{"results/evaluate/predictions.json": {"persist": True}}]},
        "deploy": {"cmd": "true", "outs": [{"models/bundle": {"persist": True}}]},
    }
    (world.folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    dvc("commit", "--force", root=world.folder)
    git.text("add", "-A", root=world.folder)
    git.text("commit", "-q", "-m", version, root=world.folder)
    git.text("tag", version, root=world.folder)


def interrupt(process: subprocess.Popen) -> None:
    """Ctrl-C: to all of the group."""
    os.killpg(process.pid, signal.SIGINT)


def kill(process: subprocess.Popen) -> None:
    """The computer is gone: all of the group at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
