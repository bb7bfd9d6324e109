"""AWS's container has an older TensorFlow than the one that saves: bundles must load there and answer alike."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import environments
import fake_sagemaker
import pytest
import rectangle_bundles

from plantdoc.deploy import bundle
from plantdoc.sagemaker import spec

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ALL = {"Content-Type": "image/jpeg", "X-Amzn-SageMaker-Custom-Attributes": "threshold=0,max=1000"}


@pytest.fixture(scope="module")
def older() -> Path:
    """The Python of an environment with the container's TensorFlow."""
    return environments.python(".venv-serving", "requirements-serving.txt")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The bundle of rectangles."""
    return rectangle_bundles.rectangles(tmp_path_factory.mktemp("bundle") / "it")


# A detector as train makes it, but for what it has learned; its threshold lets some of its guesses through.
EXPORT = """
import sys
sys.path[:0] = {paths!r}
from plantdoc.deploy import bundle
from plantdoc.detector import detector, tf_setup
from plantdoc.core import params
from plantdoc.serving import served_model
from plantdoc.train import train_params
tf_setup.configure(2, 1)
settings = params.load(train_params.Params, {params!r})
model = settings.model.model_copy(update={{"family": "yolov8", "backbone": "yolov8"}})
config = detector.Config.of(model, 64, ("red", "green", "blue"), {{}})
bundle.export(served_model.Server(detector.Detector(config)), sys.argv[1])
"""


@pytest.fixture(scope="module")
def untrained(archive, tmp_path_factory) -> Path:
    """The same bundle around a YOLOv8 of random weights."""
    folder = tmp_path_factory.mktemp("untrained")
    shutil.copytree(archive.parent / "content", folder / "content")
    shutil.rmtree(folder / "content/1")
    script = EXPORT.format(paths=[str(ROOT / "src")], params=str(ROOT / "params.yaml"))
    subprocess.run([sys.executable, "-c", script, folder / "content/1"], check=True, capture_output=True)
    bundle.pack(folder / "content", folder / "model.tar.gz")
    return folder / "model.tar.gz"


@pytest.mark.full
def test_the_lock_is_for_the_tensorflow_of_the_container(older):
    command = [older, "-c", "from importlib.metadata import version; print(version('tensorflow_cpu'))"]
    installed = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    assert installed.startswith(f"{spec.TENSORFLOW}.")
    saved_by = re.search(r"^tensorflow(?:-cpu)?==([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    assert not saved_by.startswith(f"{spec.TENSORFLOW}."), "they are the same by now: this test is not needed"


@pytest.mark.full
@pytest.mark.parametrize(("kind", "least"), [("archive", [1, 3, 0]), ("untrained", [10, 10, 0])])
def test_a_bundle_answers_there_as_here(request, older, archive, kind, least):
    packed, answers = request.getfixturevalue(kind), []
    pictures = [file.read_bytes() for file in sorted((archive.parent / "content/examples").glob("*.jpg"))]
    pictures.append(pictures[0][: len(pictures[0]) // 2])
    for python in (sys.executable, str(older)):
        container = fake_sagemaker.start(packed.read_bytes(), {"MODEL_VERSION": "it"}, python)
        try:
            answers.append([ask(container.port, picture) for picture in pictures])
        finally:
            container.stop()
    here, there = answers
    assert all(len(answer.get("detections", ())) >= some for answer, some in zip(here, least, strict=True))
    for one, other in zip(here, there, strict=True):
        assert (one.get("error"), one.get("model")) == (other.get("error"), other.get("model"))
        for a, b in zip(one.get("detections", ()), other.get("detections", ()), strict=True):
            assert a["class_name"] == b["class_name"] and a["score"] == pytest.approx(b["score"], abs=1e-6)
            assert a["box"] == pytest.approx(b["box"], abs=1e-3)


def ask(port: int, picture: bytes) -> dict:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", picture, ALL)
    with urllib.request.urlopen(asked) as answered:
        return json.load(answered)


NO_PACKAGES = {
    # The image would run `pip install` on it: not every account's containers reach a package index, and no start waits.
    "a list to install": ("code/requirements.txt", "no package index here"),
    "nothing": ("README.md", "import of PIL halted"),
}


@pytest.mark.parametrize("kind", NO_PACKAGES)
def test_without_its_packages_it_does_not_start(archive, tmp_path, kind):
    file, said = NO_PACKAGES[kind]
    bundle.unpack(archive, tmp_path / "content")
    shutil.rmtree(tmp_path / "content/code/lib")
    (tmp_path / "content" / file).write_text("pillow\n")
    bundle.pack(tmp_path / "content", tmp_path / "model.tar.gz")
    with pytest.raises(fake_sagemaker.Refused, match=f"(?s)ping health check.*{said}"):
        fake_sagemaker.start((tmp_path / "model.tar.gz").read_bytes(), {})


def test_the_code_sees_nothing_of_this_repository(archive, tmp_path):
    """Otherwise a module that is missing in the bundle would be found here, and not on SageMaker."""
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    shutil.rmtree(tmp_path / "code/plantdoc")
    done = subprocess.run(
        [sys.executable, ROOT / "tests/support/fake_sagemaker_container.py", tmp_path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode and "No module named 'plantdoc'" in done.stderr
