"""The bundle that is served: found by what a person names, unpacked, and read. No TensorFlow here."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from plantdoc.core import hashing, workspace
from plantdoc.core.errors import UserError
from plantdoc.deploy import bundle
from plantdoc.registry import shipped, version_tags
from plantdoc.repo import dvc_hash
from plantdoc.repo.commands import dvc

_MAKE = "`dvc repro deploy` makes it, `make pull` brings the stored one"


@dataclass(frozen=True)
class Bundle:
    """A bundle that can be served.

    `folder` is where it is unpacked; `version` is `detector@v1.2.0` or, where it is not registered, `bundle-` and the
    first digits of the archive's SHA-256; `classes` are the names of its classes; `about` is its serving.json; `source`
    is what scripts/trace.py takes.
    """

    folder: Path
    version: str
    classes: list[str]
    about: dict
    source: str

    @property
    def model(self) -> Path:
        return self.folder / bundle.MODEL

    @property
    def examples(self) -> Path:
        return self.folder / "examples"


def find(name: str = shipped.BUNDLE) -> Bundle:
    """Bring what is named: a version, a model.tar.gz, or a folder that holds one or is one, unpacked.

    What is unpacked or brought is kept under `.dvc/tmp/plantdoc`, by its content.

    Raises:
        UserError: it is not there, it is no bundle, or there is no such version.
    """
    version, path = None, Path(name)
    if "@" in name and not path.exists():
        version, path = name, _brought(name)
    if not path.exists():
        raise UserError(f"{path} is not there: {_MAKE}; or name another, like MODEL=detector@v1.2.0")
    if path.is_dir() and (path / shipped.ARCHIVE).is_file():
        path /= shipped.ARCHIVE
    if path.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / shipped.ARCHIVE
            bundle.pack(path, archive)  # names and contents alone determine it
            return _read(path, version or _version(archive), path)
    return _read(_unpacked(path), version or _version(path), path)


def _read(folder: Path, version: str, source: Path) -> Bundle:
    if not (folder / bundle.MODEL / "saved_model.pb").is_file():
        raise UserError(f"{source} holds no bundle: {bundle.MODEL}/saved_model.pb is not in it; {_MAKE}")
    try:
        labels, about = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("labels.json", bundle.SERVING)
        )
    except (OSError, ValueError):
        raise UserError(
            f"{source} is of an older version of this project, or damaged: labels.json or {bundle.SERVING} cannot be "
            "read from it; `dvc repro deploy` makes it again"
        ) from None
    return Bundle(folder, version, labels, about, source.name if source.is_absolute() else source.as_posix())


def _brought(name: str) -> Path:
    """The archive of a registered version."""
    if version_tags.number(name) is None:
        raise UserError(f"{name} is no version: they are called like {version_tags.ARTIFACT}@v1.2.0, see `make models`")
    version = next((each for each in version_tags.versions() if each.name == name), None)
    if version is None:
        known = ", ".join(each.name for each in version_tags.versions())
        raise UserError(f"there is no {name}; there is: {known or 'none yet'}. `git fetch --tags` brings newer ones")
    md5 = version.revision.md5(shipped.BUNDLE)
    if md5 is None:
        raise UserError(f"{name} has no {shipped.BUNDLE} in its dvc.lock: `make promote` registers whole results")
    kept = _cache_folder() / f"versions/{md5.removesuffix('.dir')}"
    if not (kept / shipped.ARCHIVE).is_file():
        with _moved_to(kept) as scratch:
            dvc("get", "--quiet", ".", shipped.BUNDLE, "--rev", name, "--out", str(scratch / "out"))
            shutil.move(scratch / "out" / shipped.ARCHIVE, scratch / shipped.ARCHIVE)
            (scratch / "out").rmdir()
    return kept / shipped.ARCHIVE


def _unpacked(archive: Path) -> Path:
    kept = _cache_folder() / f"bundles/{hashing.of_file(archive)[:16]}"
    if not (kept / bundle.MODEL / "saved_model.pb").is_file():
        with _moved_to(kept) as scratch:
            bundle.unpack(archive, scratch)
    return kept


def _version(archive: Path) -> str:
    """The version that registered these bytes, or a name made of them."""
    md5 = dvc_hash.of_listing({shipped.ARCHIVE: dvc_hash.of_file(archive)})
    with contextlib.suppress(UserError, FileNotFoundError):  # no git here
        for each in reversed(version_tags.versions()):
            if each.revision.md5(shipped.BUNDLE) == md5:
                return each.name
    return f"bundle-{hashing.of_file(archive)[:12]}"


def _cache_folder() -> Path:
    root = workspace.main_root()
    return (root / ".dvc/tmp/plantdoc") if (root / ".dvc").is_dir() else Path(tempfile.gettempdir(), "plantdoc")


@contextlib.contextmanager
def _moved_to(kept: Path):
    """Yield an empty folder that becomes `kept`; another process may do the same at the same time."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, ignore_cleanup_errors=True) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        yield made
        with contextlib.suppress(OSError):  # it is there by now
            made.rename(kept)
