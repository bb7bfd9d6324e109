"""What all tests share: src/ on the path as the stages see it, and the real pictures where they are at hand."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def plantdoc_folder() -> Path:
    """A folder with real PlantDoc pictures in the official layout; never part of the repository."""
    folder = ROOT.parent / "shared" / "plantdoc"
    if not (folder / "TRAIN").is_dir():
        pytest.skip("real PlantDoc pictures are not at ../shared/plantdoc")
    return folder


@pytest.fixture(scope="session")
def tf():
    """TensorFlow set up as in the stages, once: its threads cannot be changed after its first op.

    KerasCV's layers draw from the global generator, which must be given where determinism is asked for.
    """
    from plantdoc import runtime

    runtime.configure(threads=2, seed=1)
    import tensorflow

    tensorflow.random.set_global_generator(tensorflow.random.Generator.from_seed(1))
    return tensorflow


@pytest.fixture(scope="session")
def keras_cv(tf):
    """KerasCV, to hold ours against."""
    import keras_cv

    return keras_cv


@pytest.fixture(scope="module")
def bench(root):
    """A benchmark's module by name."""
    sys.path.insert(0, str(root / "benchmarks"))
    yield importlib.import_module
    sys.path.remove(str(root / "benchmarks"))
