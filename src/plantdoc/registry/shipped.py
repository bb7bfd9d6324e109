"""A model as it lies on a disk: the detector's folder, or a bundle packed or unpacked; read without TensorFlow."""

from __future__ import annotations

import gzip
import json
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from plantdoc.core.errors import UserError
from plantdoc.deploy import bundle
from plantdoc.repo import dvc_hash

DETECTOR, BUNDLE = "models/detector", "models/bundle"
CONFIG, WEIGHTS, ARCHIVE = "config.json", "detector.weights.h5", "model.tar.gz"


@dataclass(frozen=True)
class Model:
    """A model that a person names.

    `output` is the path of the stage output that it is a copy of; `files` its files as they lie in that output (path →
    MD5); `source` the folder or archive with its config.json.
    """

    output: str
    files: dict[str, str]
    source: Path

    @property
    def md5(self) -> str:
        """The hash that dvc.lock has for the output."""
        return dvc_hash.of_listing(self.files)

    @cached_property
    def made_from(self) -> dict:
        """The model's own record of its inputs (plantdoc.train.lineage).

        Raises:
            UserError: there is none that can be read.
        """
        try:
            text = _from_archive(self.source) if self.source.is_file() else (self.source / CONFIG).read_bytes()
            record = json.loads(text)["made_from"]
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{self.source} is damaged: it cannot be unpacked ({error})") from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self.source}: its {CONFIG} has no `made_from` that can be read") from None
        if not isinstance(record, dict):
            raise UserError(f"{self.source}: its {CONFIG} has no `made_from` that can be read")
        return record


def read(path: Path | str) -> Model:
    """Recognise a model by its files.

    Raises:
        UserError: `path` is not there, or holds neither a detector nor a bundle.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} is not there: `dvc pull train deploy` brings the stored model and bundle")
    if path.is_file():
        if not path.name.endswith((".tar.gz", ".tgz")):
            raise UserError(f"{path} is no model: name a folder with {WEIGHTS}, or a bundle ({ARCHIVE})")
        return Model(BUNDLE, {ARCHIVE: dvc_hash.of_file(path)}, path)
    if (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
        return Model(DETECTOR, dvc_hash.listing(path), path)
    if (path / ARCHIVE).is_file():
        return Model(BUNDLE, dvc_hash.listing(path), path / ARCHIVE)
    if (path / CONFIG).is_file() and (path / bundle.MODEL / "saved_model.pb").is_file():
        # Names and contents alone determine the archive: packed again it is the one that was shipped.
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / ARCHIVE
            bundle.pack(path, archive)
            return Model(BUNDLE, {ARCHIVE: dvc_hash.of_file(archive)}, path)
    raise UserError(
        f"{path} holds no model: looked for {CONFIG} with {WEIGHTS} (a detector), {ARCHIVE} (a bundle), or {CONFIG} "
        f"with {bundle.MODEL}/saved_model.pb (an unpacked bundle)"
    )


def _from_archive(archive: Path) -> bytes:
    with tarfile.open(archive, "r:gz") as tar:
        file = tar.extractfile(CONFIG)
        if file is None:  # it is a folder
            raise KeyError(CONFIG)
        return file.read()
