"""src/deploy.py as it is run, after src/evaluate.py, on a detector with random weights."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import judged
import miniature
import pytest

import deploy
from plantdoc import bundle, card, params
from plantdoc.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    """A folder in which evaluate has run."""
    folder = judged.make(tmp_path_factory.mktemp("evaluated"))
    judged.save_untrained(folder / "models/detector")
    judged.run(folder, "evaluate")
    return folder


@pytest.fixture(scope="module")
def deployed(evaluated) -> Path:
    """The same folder after deploy has run too."""
    judged.run(evaluated, "deploy", PYTHONHASHSEED="1")
    return evaluated


@pytest.fixture
def copy(deployed, tmp_path) -> Path:
    shutil.copytree(deployed, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_bundle_has_the_containers_layout(deployed):
    with tarfile.open(deployed / "models/bundle/model.tar.gz") as tar:
        assert tar.getnames() == [
            "1/saved_model.pb",
            "1/variables/variables.data-00000-of-00001",
            "1/variables/variables.index",
            "README.md",
            "code/inference.py",
            "code/plantdoc/__init__.py",
            *(f"code/plantdoc/{name}.py" for name in ("answer", "errors", "exif", "photo", "request")),
            "code/requirements.txt",
            "config.json",
            *(f"examples/{number}.png" for number in (1, 2, 3, 4)),
            "labels.json",
            "serving.json",
        ]
        assert json.load(tar.extractfile("labels.json")) == list(judged.CLASSES)
        assert json.load(tar.extractfile("config.json"))["made_from"] == {"seed": 1}
        text = tar.extractfile("README.md").read().decode()
        serving = json.load(tar.extractfile("serving.json"))
        example = tar.extractfile("examples/1.png").read()
    figures = json.loads((deployed / "results/evaluate/metrics.json").read_text())
    behaves = json.loads((deployed / "results/deploy/behaviour.json").read_text())
    assert serving == {
        **{key: figures[key] for key in ("threshold", "map50", "map50_low", "map50_high", "pictures")},
        "max_pixels": 50_000_000,
        "note": "drawn, not photographed",
        "attribution": "The project",
        "behaviour": behaves,
    }
    assert behaves["pictures"] == 4 and "| mirrored | not measured | 0.8 | yes |" in text  # it finds nothing right
    assert example in [path.read_bytes() for path in (deployed / "data/raw/test").glob("*.png")]
    for fact in ("CC0", "The project", "drawn, not photographed", f"{figures['map50']:.3f}", "serving_default", "blue"):
        assert fact in text
    checked = json.loads((deployed / "results/deploy/check.json").read_text())
    assert checked["pictures"] == 4 and checked["detections"] > 20
    assert sorted(path.name for path in (deployed / "models").iterdir()) == ["bundle", "detector"]


def test_another_process_makes_the_same_bytes(copy, deployed):
    judged.run(copy, "deploy", PYTHONHASHSEED="2")
    for name in ("models/bundle/model.tar.gz", "results/deploy/check.json"):
        assert (copy / name).read_bytes() == (deployed / name).read_bytes()


def check(folder: Path, monkeypatch, spoil: Callable[[Path], None]) -> None:
    """Run deploy's check in `folder` on its bundle, unpacked and then spoilt."""
    monkeypatch.chdir(folder)
    bundle.unpack("models/bundle/model.tar.gz", "unpacked")
    spoil(Path("unpacked/1"))
    config = SimpleNamespace(**json.loads(Path("models/detector/config.json").read_text()))
    deploy.check(Path("unpacked"), config, params.load())


def test_a_tampered_prediction_fails_the_check(copy, monkeypatch):
    path = copy / "results/evaluate/predictions.json"
    rows = json.loads(path.read_text())
    rows[0]["bbox"][0] += 0.5
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"does not repeat(.|\n)*01\.png: evaluate alone finds"):
        check(copy, monkeypatch, lambda model: None)


def test_a_tampered_bundle_fails_the_check(copy, monkeypatch):
    def spoil(model: Path) -> None:
        path = model / "variables/variables.data-00000-of-00001"
        data = bytearray(path.read_bytes())
        data[1000:3000] = bytes(2000)
        path.write_bytes(data)

    with pytest.raises(UserError, match="does not"):
        check(copy, monkeypatch, spoil)


def test_the_weights_of_another_training_stop_the_stage_and_leave_no_bundle(copy):
    with h5py.File(copy / "models/detector/detector.weights.h5", "r+") as file:
        kernels = []
        file.visititems(lambda _, item: kernels.append(item) if getattr(item, "ndim", 0) == 4 else None)
        for kernel in kernels:
            kernel[...] *= 1.01
    # DVC clears a stage's outputs before it runs.
    shutil.rmtree(copy / "models/bundle")
    shutil.rmtree(copy / "results/deploy")
    done = judged.run(copy, "deploy", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "deploy: the bundle does not repeat results/evaluate/predictions.json; it was not kept" in done.stdout
    assert not (copy / "models/bundle").exists() and not (copy / "results/deploy").exists()


@pytest.mark.parametrize("code", [0, 1, 3])
def test_whatever_becomes_of_serving_it_the_bundle_is_kept(copy, code):
    shutil.rmtree(copy / "models/bundle")
    (copy / "scripts").mkdir()
    (copy / "scripts/deploy.py").write_text(
        f"import sys\nprint('asked to', *sys.argv[1:], flush=True)\nsys.exit({code})\n"
    )
    miniature.set_params(copy, deploy__target="sagemaker")
    done = judged.run(copy, "deploy")
    assert "asked to deploy\n" in done.stdout
    assert ("not served: see above, then run `make deploy`" in done.stdout) == bool(code)
    assert (copy / "models/bundle/model.tar.gz").is_file() and (copy / "results/deploy/behaviour.json").is_file()


def test_behaviour_is_not_tried_where_nobody_asks(copy):
    miniature.set_params(copy, deploy__behaviour_pictures=0, deploy__examples=0)
    done = judged.run(copy, "deploy")
    assert "detect in mirrored" not in done.stdout
    assert json.loads((copy / "results/deploy/behaviour.json").read_text()) == {}


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
    text = card.model_card(config, source, scores, classes, {})
    assert "0.200 | 0.150–0.250" in text and "Singh et al." in text and "drawn" not in text
    assert "Licence: not stated" in text and "a&#124;b" in text
    assert "| rare | 0 | 0 | not measured | not measured |" in text
    assert "score says little: a|b, rare" in text and "no diagnosis" in text
    assert "## Behaviour" not in text
