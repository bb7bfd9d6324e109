"""The bundle that is to be served, and what it is known to answer to test pictures."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from plantdoc.coco import dataset
from plantdoc.core import hashing
from plantdoc.core.errors import UserError
from plantdoc.deploy import bundle, parity
from plantdoc.registry import shipped, version_tags
from plantdoc.repo import dvc_hash
from plantdoc.repo.commands import dvc

TEST, PREDICTIONS, RAW = "data/raw/test", "results/evaluate/predictions.json", "data/raw"


@dataclass(frozen=True)
class Shipped:
    """A bundle: packed as `archive` and unpacked as `folder`; `version` as answers name it; `serving` and `config` are
    its files of these names; `here` whether it is the workspace's own."""

    archive: Path
    folder: Path
    version: str
    sha256: str
    serving: dict
    config: dict
    here: bool


@dataclass(frozen=True)
class Expected:
    """Expected predictions of the endpoint: COCO results `rows` for the pictures `ids` of a split in `folder`;
    `known_by` says where they come from."""

    folder: Path
    split: dataset.Split
    ids: list[int]
    rows: list[dict]
    config: SimpleNamespace
    known_by: str


@contextlib.contextmanager
def opened(name: str | None) -> Iterator[Shipped]:
    """Find a bundle: a registered version (`detector@v1.2.0`), a model.tar.gz, a folder with one; None: models/bundle.

    Raises:
        UserError: it is not there, or no bundle.
    """
    from plantdoc.registry import bundles

    name = str(name or shipped.BUNDLE)
    found = bundles.find(name)
    archive = next((path for path in (Path(name), Path(name) / shipped.ARCHIVE) if path.is_file()), None)
    with tempfile.TemporaryDirectory() as scratch:
        if not archive:
            archive = Path(scratch) / shipped.ARCHIVE
            bundle.pack(found.folder, archive)  # names and contents alone determine it
            _check_registered(name, archive)
        sha256, own = hashing.of_file(archive), Path(shipped.BUNDLE) / shipped.ARCHIVE
        config = json.loads((found.folder / shipped.CONFIG).read_text(encoding="utf-8"))
        here = own.is_file() and hashing.of_file(own) == sha256
        yield Shipped(archive, found.folder, found.version, sha256, found.about, config, here)


@contextlib.contextmanager
def expected(given: Shipped, count: int, largest: int, threads: int) -> Iterator[Expected]:
    """Expected predictions for `count` test pictures, none of more than `largest` bytes.

    By evaluate's predictions, if the bundle is the workspace's, or a registered version whose predictions and pictures
    DVC can bring; else by the bundle itself, asked on this machine about the workspace's test pictures or, without
    these, its own examples.

    Raises:
        UserError: there is no picture to ask about.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, predictions = _evaluated(given, Path(scratch))
        if not folder:
            folder = Path(TEST) if Path(TEST, "annotations.json").is_file() else _examples(given, Path(scratch))
        split = dataset.load(folder)
        fitting = [each.id for each in split.pictures if _is_plain(folder / each.file_name, largest)]
        if not fitting:
            raise UserError(f"{folder} has no picture of less than {largest / 1e6:g} MB to ask the endpoint about")
        ids = parity.spread(fitting, count)
        known_by = PREDICTIONS if predictions else "the bundle on this machine"
        rows = (
            json.loads(predictions.read_text(encoding="utf-8"))
            if predictions
            else bundle.ask(given.folder / bundle.MODEL, folder, ids, threads)
        )
        config = SimpleNamespace(**({"nms_iou": 1.0} | given.config))
        yield Expected(folder, split, ids, rows, config, known_by)


def any_picture(largest: int) -> Path | None:
    """A test picture of the workspace that an endpoint can be asked about; None where there is none."""
    if not Path(TEST, "annotations.json").is_file():
        return None
    files = (Path(TEST) / each.file_name for each in dataset.load(TEST).pictures)
    return next((file for file in files if file.is_file() and _is_plain(file, largest)), None)


def _check_registered(name: str, archive: Path) -> None:
    if version_tags.number(name) is None:
        return
    wanted = next(each.revision.md5(shipped.BUNDLE) for each in version_tags.versions() if each.name == name)
    if dvc_hash.of_listing({shipped.ARCHIVE: dvc_hash.of_file(archive)}) != wanted:
        raise UserError(f"{name} as it lies below .dvc/tmp/plantdoc is damaged: delete that folder and run this again")


def _evaluated(given: Shipped, scratch: Path) -> tuple[Path | None, Path | None]:
    """Folder of the test pictures and file of evaluate's predictions; None, None where they cannot be had."""
    if given.here and Path(PREDICTIONS).is_file() and Path(TEST, "annotations.json").is_file():
        return Path(TEST), Path(PREDICTIONS)
    if version_tags.number(given.version) is None:
        return None, None
    try:
        predictions = scratch / "predictions.json"
        dvc("get", "--quiet", ".", PREDICTIONS, "--rev", given.version, "--out", str(predictions))
        if _same_pictures(given.version):
            return Path(TEST), predictions
        dvc("get", "--quiet", ".", TEST, "--rev", given.version, "--out", str(scratch / "test"))
        return scratch / "test", predictions
    except UserError:  # not in the remote: the bundle itself can be asked
        shutil.rmtree(scratch / "test", ignore_errors=True)
        return None, None


def _same_pictures(version: str) -> bool:
    """Whether the workspace has the version's test pictures."""
    from plantdoc.repo import revisions

    there, here = (revisions.find(name).md5(RAW) for name in (version, revisions.WORKSPACE))
    return there == here is not None and Path(TEST, "annotations.json").is_file()


def _examples(given: Shipped, scratch: Path) -> Path:
    """The bundle's own examples, laid out as a split."""
    from PIL import Image

    files = sorted((given.folder / "examples").glob("*.*"))
    if not files:
        raise UserError(
            f"there is no picture to ask the endpoint about, neither {TEST} nor examples in the bundle: `dvc repro`"
        )
    folder = scratch / "examples"
    folder.mkdir()
    pictures = []
    for number, file in enumerate(files, start=1):
        shutil.copyfile(file, folder / file.name)
        with Image.open(file) as picture:
            pictures.append(dataset.Picture(number, file.name, *picture.size))
    dataset.save(dataset.Split(tuple(given.config["classes"]), tuple(pictures)), folder)
    return folder


def _is_plain(file: Path, largest: int) -> bool:
    """Whether the picture goes through the handler as it is: others are converted, which moves the last digits."""
    from PIL import Image

    if file.stat().st_size > largest:
        return False
    with Image.open(file) as picture:
        return picture.mode in {"JPEG": ("L", "RGB"), "PNG": ("L", "LA", "P", "RGB", "RGBA")}.get(
            picture.format or "", ()
        )
