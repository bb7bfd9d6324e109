"""The bundle that is shipped, laid out as SageMaker's TensorFlow container expects.

`1/` holds the SavedModel and `code/` what that container runs before and after it; labels.json, config.json, README.md
(the model card), serving.json (threshold, limits, scores) and `examples/` (some test pictures) lie beside them.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from plantdoc.core.errors import UserError

MODEL = "1"  # TensorFlow Serving wants a number, the version
SERVING = "serving.json"
SRC = Path(__file__).resolve().parents[2]
HANDLER = "plantdoc/serving/handler"  # below src/ here, below code/ there
DECODER = "plantdoc/decoder"


def export(server, folder: Path | str) -> None:
    """Write plantdoc.serving.served_model.Server as a SavedModel into `folder`; equal servers give equal bytes."""
    import tensorflow as tf

    folder = Path(folder)
    for name in ("tensorflow", "absl"):  # they warn of names that they then mend themselves
        logging.getLogger(name).setLevel(logging.ERROR)
    tf.saved_model.save(server, str(folder), signatures={"serving_default": server.serve})
    (folder / "fingerprint.pb").unlink()  # a random id, new at every save, that nothing needs
    shutil.rmtree(folder / "assets")


def add_code(folder: Path | str, lock: Path | str) -> None:
    """Write `code/` into `folder`: the handler and its decoder as packages, and what the container is to install.

    Args:
        folder: the bundle's.
        lock: requirements with hashes for the container's Python.
    """
    code = Path(folder) / "code"
    for package in (HANDLER, DECODER):
        shutil.copytree(SRC / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    for package in Path(HANDLER).parents[:-1]:
        (code / package / "__init__.py").touch()
    (code / HANDLER / "inference.py").rename(code / "inference.py")  # where the container looks for it
    shutil.copyfile(lock, code / "requirements.txt")


def pack(folder: Path | str, archive: Path | str) -> None:
    """Make a .tar.gz of all files below `folder`; names and contents alone determine its bytes."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with (
        open(archive, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in files:
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size, member.mode = path.stat().st_size, 0o644
            with open(path, "rb") as file:
                tar.addfile(member, file)


def unpack(archive: Path | str, folder: Path | str) -> None:
    """Unpack a bundle into `folder`; nothing lands outside of it.

    Raises:
        UserError: the archive is damaged, or holds links or names that lead elsewhere.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{archive} is no bundle that can be unpacked ({error}): run `dvc repro -f deploy`") from None


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
