"""The bundle that is shipped, laid out as SageMaker's TensorFlow container expects.

`1/` holds the SavedModel, `code/` what that container runs before and after it, and `code/lib/` the packages for that;
labels.json, config.json, README.md (the model card), serving.json (threshold, limits, scores) and `examples/` (some
test pictures) lie beside them.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from plantdoc.archives import packed_folder
from plantdoc.archives.bounded_unpack import Bounds
from plantdoc.core.errors import UserError

MODEL = "1"  # TensorFlow Serving wants a number, the version
SERVING = "serving.json"
SRC = Path(__file__).resolve().parents[2]
HANDLER = "plantdoc/serving/handler"  # below src/ here, below code/ there
DECODER = "plantdoc/decoder"
# A bundle is some tens of megabytes, which hardly shrink when packed.
BOUNDS = Bounds(10 * 10**9, 10_000, 50, 10**8, "it is no bundle of this project")
pack = packed_folder.pack


def export(server, folder: Path | str) -> None:
    """Write plantdoc.serving.served_model.Server as a SavedModel into `folder`; equal servers give equal bytes."""
    import tensorflow as tf

    folder = Path(folder)
    for name in ("tensorflow", "absl"):  # they warn of names that they then mend themselves
        logging.getLogger(name).setLevel(logging.ERROR)
    tf.saved_model.save(server, str(folder), signatures={"serving_default": server.serve})
    (folder / "fingerprint.pb").unlink()  # a random id, new at every save, that nothing needs
    shutil.rmtree(folder / "assets")


def add_code(folder: Path | str, packages: Path | str) -> None:
    """Write `code/` into `folder`: the handler and its decoder as packages, and the packages that they import.

    Args:
        folder: the bundle's.
        packages: folder of packages for the container's Python, see plantdoc.deploy.container_packages.
    """
    code = Path(folder) / "code"
    for package in (HANDLER, DECODER):
        shutil.copytree(SRC / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    for package in Path(HANDLER).parents[:-1]:
        (code / package / "__init__.py").touch()
    (code / HANDLER / "inference.py").rename(code / "inference.py")  # where the container looks for it
    shutil.copytree(packages, code / "lib", ignore=shutil.ignore_patterns("__pycache__"))


def unpack(archive: Path | str, folder: Path | str) -> None:
    """Unpack a bundle into `folder`: regular files alone, with bounds.

    What is in it is code of whoever made it: the handler is Python, and a SavedModel can read and write files.

    Raises:
        UserError: the archive is damaged, holds a link, a device or a name that leads elsewhere, or unpacks to more
            than `BOUNDS` allows.
    """
    remedy = "it is no bundle, or a damaged one; `dvc repro -f deploy` makes it again"
    packed_folder.unpack(Path(archive), Path(folder), BOUNDS, remedy)


def ask(model: Path | str, folder: Path | str, ids: list[int], threads: int) -> list[dict]:
    """Predictions of a SavedModel for pictures `ids` of the split in `folder`, by a process that loads nothing else.

    Raises:
        UserError: the process fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "predictions.json"
        done = subprocess.run(
            [sys.executable, "-m", "plantdoc.serving.predictions", model, folder, out, str(threads), *map(str, ids)],
            env={**os.environ, "PYTHONPATH": str(SRC), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise UserError(f"the bundle does not load or answer: {done.stderr.strip()[-1500:]}")
        return json.loads(out.read_text())
