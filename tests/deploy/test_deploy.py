"""What the deploy stage leaves in a pipeline that has run, and in process what it refuses and whom it starts."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import evaluated_repo
import h5py
import pytest
import small_repo

import deploy
from plantdoc.coco import dataset
from plantdoc.core import params
from plantdoc.core.errors import UserError
from plantdoc.deploy import bundle, deploy_params, model_card

pytestmark = pytest.mark.slow(3)
CONFIG = "models/detector/config.json"
HANDLER = ["__init__", "base64_text", "content_encoding", "form", "options", "refusal", "request", "response"]
HANDLER += ["uploaded_image"]
COMPILED = "cpython-312-x86_64-linux-gnu.so"
DECODER = ["__init__", "exif", "file_kind", "jpeg_markers", "picture_decoder", "picture_error", "png_chunks", "rgb"]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Path:
    """A miniature after the whole pipeline."""
    return small_repo.finished(tmp_path_factory.mktemp("deployed") / "repository")


@pytest.fixture
def copy(deployed, tmp_path) -> Path:
    """A copy of it, to be changed: no file in it is a link into DVC's cache."""
    ignored = shutil.ignore_patterns(".git", ".dvc", "train", "tests", "tfrecords")
    return Path(shutil.copytree(deployed, tmp_path / "copy", ignore=ignored))


def test_the_bundle_has_the_containers_layout(deployed):
    classes = dataset.load(deployed / "data/raw/test").classes
    with tarfile.open(deployed / "models/bundle/model.tar.gz") as tar:
        packages = [name for name in tar.getnames() if name.startswith("code/lib/")]
        assert [name for name in tar.getnames() if name not in packages] == [
            "1/saved_model.pb",
            "1/variables/variables.data-00000-of-00001",
            "1/variables/variables.index",
            "README.md",
            "code/inference.py",
            "code/plantdoc/__init__.py",
            *(f"code/plantdoc/decoder/{name}.py" for name in DECODER),
            "code/plantdoc/serving/__init__.py",
            *(f"code/plantdoc/serving/handler/{name}.py" for name in HANDLER),
            "config.json",
            "examples/1.jpg",
            "labels.json",
            "serving.json",
        ]
        assert json.load(tar.extractfile("labels.json")) == list(classes)
        assert json.load(tar.extractfile("config.json")) == json.loads((deployed / CONFIG).read_text())
        text = tar.extractfile("README.md").read().decode()
        serving = json.load(tar.extractfile("serving.json"))
        example = tar.extractfile("examples/1.jpg").read()
    assert {"code/lib/PIL/Image.py", f"code/lib/PIL/_imaging.{COMPILED}"} <= set(packages)
    figures = json.loads((deployed / "results/evaluate/metrics.json").read_text())
    behaves = json.loads((deployed / "results/deploy/behaviour.json").read_text())
    assert serving == {
        **{key: figures[key] for key in ("threshold", "map50", "map50_low", "map50_high", "pictures")},
        "max_pixels": 64_000_000,
        "note": "drawn, not photographed",
        "attribution": "drawn by this project",
        "behaviour": behaves,
    }
    assert behaves["pictures"] == 4 and "| mirrored | " in text
    assert example in [path.read_bytes() for path in (deployed / "data/raw/test").glob("*.jpg")]
    source = ("Apache-2.0", "drawn by this project", "drawn, not photographed")
    for fact in (*source, f"{figures['map50']:.3f}", "serving_default", *classes):
        assert fact in text
    checked = json.loads((deployed / "results/deploy/check.json").read_text())
    assert checked["pictures"] == 4 and checked["detections"] > 0
    assert sorted(path.name for path in (deployed / "models").glob("[!.]*")) == ["bundle", "detector"]
    assert not list(deployed.rglob(".*.partial"))


def test_what_is_compiled_in_it_is_for_the_container(deployed):
    with tarfile.open(deployed / "models/bundle/model.tar.gz") as tar:
        compiled = {each.name: tar.extractfile(each).read(20) for each in tar if ".so" in each.name}
    assert compiled
    for name, head in compiled.items():
        assert name.endswith(COMPILED) or "/pillow.libs/" in name
        assert head[:5] == b"\x7fELF\x02" and head[18:20] == b"\x3e\0", f"{name} is not for 64 bits of x86"


@pytest.mark.full
def test_another_process_makes_the_same_bytes(copy, deployed):
    evaluated_repo.run(copy, "deploy", PYTHONHASHSEED="2")
    for name in ("models/bundle/model.tar.gz", "results/deploy/check.json"):
        assert (copy / name).read_bytes() == (deployed / name).read_bytes()


def check(folder: Path, monkeypatch, spoil: Callable[[Path], None]) -> dict:
    """What deploy's check says in `folder` of its bundle, unpacked and then spoilt."""
    monkeypatch.chdir(folder)
    bundle.unpack("models/bundle/model.tar.gz", "unpacked")
    spoil(Path("unpacked/1"))
    config = SimpleNamespace(**json.loads(Path(CONFIG).read_text()))
    return deploy.check(Path("unpacked"), config, params.load(deploy_params.Params))


def test_a_tampered_prediction_fails_the_check(copy, monkeypatch):
    path = copy / "results/evaluate/predictions.json"
    rows = json.loads(path.read_text())
    first = min(row["image_id"] for row in rows)
    best = max((row for row in rows if row["image_id"] == first), key=lambda row: row["score"])
    best["bbox"][0] += 0.5
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"(?s)does not repeat.*jpg: evaluate alone finds"):
        check(copy, monkeypatch, lambda model: None)


@pytest.mark.full
def test_a_tampered_bundle_fails_the_check(copy, monkeypatch):
    def spoil(model: Path) -> None:
        path = model / "variables/variables.data-00000-of-00001"
        data = bytearray(path.read_bytes())
        third = len(data) // 3
        data[third : 2 * third] = bytes(third)
        path.write_bytes(data)

    with pytest.raises(UserError, match="does not"):
        check(copy, monkeypatch, spoil)


@pytest.mark.full
def test_the_weights_of_another_training_stop_the_stage_and_leave_no_bundle(copy):
    with h5py.File(copy / "models/detector/detector.weights.h5", "r+") as file:
        kernels = []
        file.visititems(lambda _, item: kernels.append(item) if getattr(item, "ndim", 0) == 4 else None)
        for kernel in kernels:
            kernel[...] *= 1.01
    # DVC clears a stage's outputs before it runs.
    shutil.rmtree(copy / "models/bundle")
    shutil.rmtree(copy / "results/deploy")
    done = evaluated_repo.run(copy, "deploy", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "deploy: the bundle does not repeat results/evaluate/predictions.json; it was not kept" in done.stdout
    assert not (copy / "models/bundle").exists() and not (copy / "results/deploy").exists()


def put_script(folder: Path, code: int) -> None:
    """Make scripts/deploy.py in `folder` one that says what it was asked and ends with `code`."""
    shutil.rmtree(folder / "scripts", ignore_errors=True)
    (folder / "scripts").mkdir()
    (folder / "scripts/deploy.py").write_text(
        f"import sys\nprint('asked to', *sys.argv[1:], flush=True)\nsys.exit({code})\n"
    )


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_bundle_that_is_not_served_is_no_failure_and_is_told(tmp_path, monkeypatch, capfd, caplog, code):
    put_script(tmp_path, code)
    monkeypatch.chdir(tmp_path)
    deploy.bring_to_sagemaker()
    assert capfd.readouterr().out == "asked to deploy\n"
    assert ("not served: see above, then run `make deploy`" in caplog.text) == bool(code)


@pytest.mark.full
def test_the_stage_serves_what_it_has_made_without_examples_and_behaviour(copy, monkeypatch, tf, capfd):
    for output in ("models/bundle", "results/deploy"):
        shutil.rmtree(copy / output)
    put_script(copy, code=3)
    small_repo.set_params(copy, deploy__target="sagemaker", deploy__behaviour_pictures=0, deploy__examples=0)
    monkeypatch.chdir(copy)
    deploy.main()
    assert "asked to deploy\n" in capfd.readouterr().out
    assert json.loads((copy / "results/deploy/behaviour.json").read_text()) == {}
    with tarfile.open(copy / "models/bundle/model.tar.gz") as tar:
        assert not [name for name in tar.getnames() if name.startswith("examples")]
        assert "## Behaviour" not in tar.extractfile("README.md").read().decode()


def test_the_card_names_what_a_reader_must_know():
    config = {
        "family": "yolov8",
        "backbone": "mobilenet_v2",
        "size": "xs",
        "image_size": 320,
        "classes": ["a", "b"],
        "max_detections": 100,
        "score_floor": 0.001,
    }
    source = {
        "name": "PlantDoc",
        "licence": "",
        "attribution": "Singh et al.",
        "url": "https://x",
        "content": "c",
        "note": "",
    }
    scores = {
        "map": 0.1,
        "map50": 0.2,
        "map50_low": 0.15,
        "map50_high": 0.25,
        "threshold": 0.3,
        "pictures": 5,
        "boxes": 9,
    }
    classes = [
        {"class": "a|b", "pictures": 3, "boxes": 5, "ap": 0.1, "ap50": 0.2},
        {"class": "rare", "pictures": 0, "boxes": 0, "ap": None, "ap50": None},
    ]
    text = model_card.model_card(config, source, scores, classes, {})
    assert "0.200 | 0.150–0.250" in text and "Singh et al." in text and "drawn" not in text
    assert "Licence: not stated" in text and "a&#124;b" in text
    assert "| rare | 0 | 0 | not measured | not measured |" in text
    assert "score says little: a|b, rare" in text and "no diagnosis" in text
    assert "## Behaviour" not in text
